"""Weights on disk. Loaded as weights only, never unpickled as code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tem_seg.core.errors import UserError


def read(path: Path) -> dict[str, Any]:
    """A checkpoint of ours → its dict ("state_dict", "tem_seg"). Raises UserError for what is not one."""
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: run the 'train' stage, or give model.weights=<file>")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a checkpoint that can be loaded as weights only ({first})") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"{path} is no checkpoint of tem_seg: it has no 'state_dict'")
    return content


def model_state(content: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of the model alone (Lightning puts "model." before each name)."""
    return {name.removeprefix("model."): value for name, value in content["state_dict"].items()}


PREDICTOR = "predictor"
"""Part of the name of the layers whose shape follows from the number of classes."""


def load(model: nn.Module, path: Path, *, categories: list[str] | None = None) -> dict[str, Any]:
    """Loads a checkpoint into ``model`` and returns what it says about itself.

    categories: the classes that it must know, in order; None: any, and layers that depend on their number keep their
    random start where they do not fit (fine-tuning). Raises UserError where architecture or classes differ.
    """
    content = read(path)
    about: dict[str, Any] = content.get("tem_seg", {})
    known = about.get("categories")
    if categories is not None and known is not None and known != categories:
        raise UserError(f"{path} knows the classes {known}, this run has {categories}")
    state, own = model_state(content), model.state_dict()
    if categories is None:
        state = {n: v for n, v in state.items() if PREDICTOR not in n or own.get(n, v).shape == v.shape}
        own_needed = {n for n in own if PREDICTOR not in n}
    else:
        own_needed = set(own)
    wrong = [f"{n}: {tuple(state[n].shape)} in the file, {tuple(own[n].shape)} in the model"
             for n in own if n in state and state[n].shape != own[n].shape]  # fmt: skip
    missing, extra = sorted(own_needed - set(state)), sorted(set(state) - set(own))
    if wrong or missing or extra:
        raise UserError(
            f"{path} holds another architecture ({about.get('backend', '?')} {about.get('backbone', '?')}): "
            f"{len(missing)} weights missing ({', '.join(missing[:3])}), "
            f"{len(extra)} unknown ({', '.join(extra[:3])}), "
            f"{len(wrong)} of other shape ({'; '.join(wrong[:3])}). Use the model settings it was trained with"
        )
    model.load_state_dict(state, strict=False)
    return about


def load_matching(model: nn.Module, state: dict[str, Tensor]) -> int:
    """Loads the weights whose name and shape fit (a pretrained start), returns how many; the rest keep their values."""
    own = model.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    return len(fitting)

"""Weights on disk: Lightning's checkpoints (.ckpt, .pth) and safetensors. Never unpickled as code."""

from __future__ import annotations

import json
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tem_seg.core.errors import UserError
from tem_seg.data.atomic import replacing

log = logging.getLogger(__name__)
SAFETENSORS = ".safetensors"
STARTER = "starter"
"""The name, in model.weights, of the weights that come with the package."""
BACKBONE = "backbone:"
"""Before a name or file in model.weights: its backbone with the feature pyramid alone."""
OF_CLASSES = re.compile(r"predictor|coarse_head\.prediction|point_head")
"""In the names of the layers whose shape follows from the number of classes."""
FREE = {"weights", "freeze", "rois_per_image", "max_instances", "min_score", "nms_iou", "num_classes", "categories",
        "seed_level", "min_area_px", "object_score", "nms_overlap", "shown_px", "context", "dropout", "mixup",
        "randaugment_ops", "randaugment_magnitude", "smoothing", "particles_per_crop"}  # fmt: skip
"""What a model may be told otherwise than the one that was trained: it changes no weight's meaning."""


def path_of(weights: str) -> Path:
    """The file that ``model.weights`` names: a path, or the package's starter weights (UserError without)."""
    if weights != STARTER:
        return Path(weights)
    path = Path(str(files("tem_seg") / "weights" / f"{STARTER}{SAFETENSORS}"))
    if not path.is_file():
        raise UserError(
            f"model.weights={STARTER}, but this installation of tem_seg has no {path}: install a release, which holds "
            "it, or give model.weights=coco, none (with model.norm=bn) or <file>"
        )
    return path


def read(path: Path) -> dict[str, Any]:
    """A checkpoint of ours → its dict: "state_dict" (tensors by name), "tem_seg" (what it says about itself), …

    Raises UserError for what is missing, damaged, or more than weights.
    """
    if not path.is_file():
        raise UserError(
            f"no checkpoint at {path}: run the 'train' stage, or give model.weights=<file>, coco, imagenet or {STARTER}"
        )
    content = _read_safetensors(path) if path.suffix == SAFETENSORS else _read_pickled(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise UserError(f"{path} is no checkpoint of tem_seg: it has no 'state_dict'")
    foreign = [name for name, value in state.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if foreign or not isinstance(content.get("tem_seg", {}), dict):
        raise UserError(f"{path} is no checkpoint of tem_seg: {foreign[:1] or 'tem_seg'} is not what it should be")
    if broken := [name for name, value in state.items() if not _finite(value)]:
        raise UserError(f"{path} is damaged: {len(broken)} weights hold values that are not finite, e.g. {broken[0]}")
    return dict(content)


def _finite(value: Tensor) -> bool:
    """As ``isfinite().all()``, in a sixth of its time for weights in half precision."""
    return not value.is_floating_point() or not value.numel() or bool(value.abs().amax().isfinite())


def about_in(path: Path) -> dict[str, Any]:
    """What a checkpoint of ours says about itself; {} where it says nothing. Of safetensors no weight is read.

    Raises UserError as :func:`read` does.
    """
    if path.suffix != SAFETENSORS or not path.is_file():
        return dict(read(path).get("tem_seg", {}))
    with _opened(path) as file:
        found = _about(file)
    if not isinstance(found, dict):
        raise UserError(f"{path} is no checkpoint of tem_seg: tem_seg is not what it should be")
    return found


def _read_pickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle makes torch raise almost anything
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a checkpoint that can be loaded as weights only ({first})") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a safetensors file that can be read ({error})") from error


def _about(file: Any) -> Any:
    return json.loads((file.metadata() or {}).get("tem_seg", "{}"))


def _read_safetensors(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        about = _about(file)
    full = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    return {"state_dict": full, "tem_seg": about}


def write(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes weights as safetensors, atomically; ``about`` (plain values) as JSON in its metadata.

    Weights of two dimensions and more in half precision; biases and norms, a few kB, stay as they are: running
    variances may leave float16's range. Raises UserError for weights that do too.
    """
    halved = {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value for name, value in state.items()
    }
    if large := [name for name, value in halved.items() if not _finite(value)]:
        raise UserError(f"{path} cannot be written: {large[0]} does not fit half precision (values beyond 65504)")
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in halved.items()}
    with replacing(path) as temporary:
        save_file(whole, temporary, {"tem_seg": json.dumps(dict(about), sort_keys=True)})


def model_state(content: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of the model alone (Lightning puts "model." before each name)."""
    return {name.removeprefix("model."): value for name, value in content["state_dict"].items()}


def load(
    model: nn.Module, path: Path, *, categories: list[str] | None = None, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Loads a checkpoint into ``model`` and returns what it says about itself.

    categories: the classes that it must know, in order; None: any, and layers that depend on their number keep their
    random start where they do not fit (fine-tuning), with a warning that names them. settings: what the model was made
    with, to be said beside the file's where they differ. Raises UserError where architecture or classes differ; the
    model is then as it was.
    """
    content = read(path)
    about: dict[str, Any] = content.get("tem_seg", {})
    known = about.get("categories")
    if categories is not None and known is not None and known != categories:
        raise UserError(f"{path} knows the classes {known}, this run has {categories}")
    other = differences(about, settings or {})
    state, own = model_state(content), model.state_dict()
    anew = [n for n, v in own.items() if OF_CLASSES.search(n) and n in state and state[n].shape != v.shape]
    if categories is None:
        state = {n: v for n, v in state.items() if n not in anew}
    misfits = _misfits(state, own, anew if categories is None else [])
    if other or misfits:
        raise UserError(
            f"{path} holds another architecture ({about.get('backend', '?')} {about.get('backbone', '?')}): "
            f"{'; '.join([*other, *misfits])}. Use the model settings it was trained with"
            + (f": model={STARTER}" if path.stem == STARTER else "")
        )
    if categories is None and anew:
        log.warning("%s was trained on other classes (%s): %s start from random weights", path, known, ", ".join(anew))
    _put(model, state)
    return about


def load_backbone(model: nn.Module, path: Path) -> None:
    """Loads the backbone (with its feature pyramid) of a checkpoint of any model of ours; the rest is left as it is.

    Raises UserError where it is another one; the model is then as it was.
    """
    state, own = ({n: v for n, v in values.items() if n.startswith("backbone.")}
                  for values in (model_state(read(path)), model.state_dict()))  # fmt: skip
    if not state or (misfits := _misfits(state, own, [])):
        raise UserError(
            f"{path} holds another backbone: {'; '.join(misfits) if state else 'none by that name'}. Set "
            "model.backbone, model.norm, model.fpn_channels and model.backend to what it was trained with"
        )
    _put(model, state)


def _put(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Weights whose names and shapes are the model's own, and so of its modules' present versions: without these
    Detectron2 takes any state for an old one, and says so."""
    present = OrderedDict(state)
    present._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(present, strict=False)


def differences(about: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Settings of the trained model and of this one that give its weights another meaning, side by side."""
    both = [key for key in settings if key in about and key not in FREE]
    return [f"{key} is {about[key]} in the file, {settings[key]} here" for key in both if about[key] != settings[key]]


def _misfits(state: Mapping[str, Tensor], own: Mapping[str, Tensor], anew: list[str]) -> list[str]:
    """Weights of a file that are missing, unknown, or of another shape; anew: those that may be missing."""
    wrong = [f"{n}: {tuple(state[n].shape)} in the file, {tuple(own[n].shape)} in the model"
             for n in own if n in state and state[n].shape != own[n].shape]  # fmt: skip
    missing, extra = sorted(set(own) - set(state) - set(anew)), sorted(set(state) - set(own))
    told = ((missing, "weights missing", ", "), (extra, "unknown", ", "), (wrong, "of other shape", "; "))
    return [f"{len(found)} {kind} ({comma.join(found[:3])})" for found, kind, comma in told if found]


def load_matching(model: nn.Module, state: dict[str, Tensor]) -> int:
    """Loads the weights whose name and shape fit (a pretrained start), returns how many; the rest keep their values."""
    own = model.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    _put(model, fitting)
    return len(fitting)

"""Initial weights of a Detectron2 network: from its model zoo, or from a checkpoint of ours."""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from tem_seg.core.errors import UserError

log = logging.getLogger(__name__)
PREDICTORS = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.")
"""Layers whose shape depends on the number of classes: another number starts them anew."""


def load_from_zoo(network: nn.Module, address: str, choice: str, timeout_s: float = 30.0) -> None:
    """Loads the file at ``address`` (downloaded once, then cached by Detectron2) into ``network``.

    Layers of another shape (other classes, narrower heads) keep their random weights; Detectron2 logs them. Raises
    UserError where the file cannot be had; ``choice`` is the value of model.weights that asked for it.
    """
    try:
        with _socket_timeout(timeout_s):
            DetectionCheckpointer(network).load(address)
    except OSError as error:
        raise UserError(
            f"model.weights={choice}: {address} cannot be downloaded ({error}). Set model.weights=none with "
            "model.norm=bn to train from scratch, or model.weights=<file> to start from a checkpoint"
        ) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Detectron2 downloads without a time limit: a network that swallows packets would hang the run."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def load_from_file(network: nn.Module, path: Path) -> None:
    """Loads a checkpoint of ours (a dict with 'state_dict') into ``network``.

    Only the class predictors may differ in shape; they then keep their random weights, and a warning names them.
    Raises UserError for a file that is missing, unreadable, or of another network.
    """
    state = _read_state(path)
    wanted = network.state_dict()
    shaped = {key: value for key, value in state.items() if key in wanted and value.shape == wanted[key].shape}
    lacking = [key for key in wanted if key not in shaped]
    foreign = [key for key in state if key not in wanted]
    anew = [key for key in lacking if key.startswith(PREDICTORS) and key in state]
    if len(anew) < len(lacking) or foreign:
        wrong = [key for key in lacking if key not in anew] + foreign
        raise UserError(
            f"model.weights={path} holds another network: {len(wrong)} layers do not fit, the first is {wrong[0]}. "
            "Set model.backbone, model.norm, the widths and model.masks as in the run that made it"
        )
    if anew:
        log.warning("%s was trained on other classes: %s start from random weights", path, ", ".join(anew))
    network.load_state_dict(shaped, strict=False)


def _read_state(path: Path) -> dict[str, Tensor]:
    """The network's part of a checkpoint, whether the model or the training module around it was saved."""
    if not path.is_file():
        raise UserError(f"model.weights={path}: no such file (and not one of coco, imagenet, none)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"model.weights={path} is not a readable checkpoint: {(str(error) or 'it is empty').splitlines()[0]}"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise UserError(f"model.weights={path} is no checkpoint of tem_seg: it holds no 'state_dict'")
    keys = {key: key.removeprefix("model.").removeprefix("network.") for key in content["state_dict"]}
    return {short: content["state_dict"][key] for key, short in keys.items()}

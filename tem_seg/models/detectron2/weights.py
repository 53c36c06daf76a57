"""Initial weights of a Detectron2 network from its model zoo."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from tem_seg.core.errors import UserError
from tem_seg.models.contract import RcnnSpec, SegmentationModel
from tem_seg.models.detectron2.config import rcnn_config
from tem_seg.models.detectron2.rcnn import Detectron2Rcnn


def start_from(model: SegmentationModel, spec: RcnnSpec) -> None:
    """Loads imagenet or coco weights into ``model`` where the spec asks for them. Raises UserError for no download."""
    address = rcnn_config(spec).MODEL.WEIGHTS
    if address:
        assert isinstance(model, Detectron2Rcnn)
        load_from_zoo(model.network, address, spec.weights)


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

"""Pretrained starts for the torchvision back end, fetched by torchvision (or found in torch's cache)."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from torch import Tensor
from torchvision.models import get_model_weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, MaskRCNN_ResNet50_FPN_Weights

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint
from tem_seg.models.contract import RcnnSpec, SegmentationModel

WRAPPED = ("rpn.head.", "roi_heads.box_predictor.", "roi_heads.mask_predictor.")
"""Heads that our model holds inside a wrapper (float32 outputs)."""


def start_from(model: SegmentationModel, spec: RcnnSpec) -> None:
    """Loads ``spec.weights`` (none, imagenet, coco or a file) into ``model``.

    Raises UserError where they cannot be had.
    """
    if spec.weights == "imagenet":
        state = _download(get_model_weights(spec.backbone).DEFAULT.get_state_dict, spec)  # type: ignore[attr-defined]
        checkpoint.load_matching(model, {f"backbone.body.{name}": value for name, value in state.items()})
    elif spec.weights == "coco":
        checkpoint.load_matching(model, _renamed(_download(_coco_source(spec), spec)))
    elif spec.weights != "none":
        checkpoint.load(model, Path(spec.weights))


def _coco_source(spec: RcnnSpec) -> Callable[..., dict[str, Tensor]]:
    if spec.backbone != "resnet50":
        raise UserError(
            f"torchvision has COCO weights for resnet50 only, not {spec.backbone}: set model.backbone=resnet50 "
            "and model.norm=frozen_bn, or model.weights=imagenet, or model.weights=none with model.norm=bn"
        )
    source = MaskRCNN_ResNet50_FPN_Weights if spec.masks else FasterRCNN_ResNet50_FPN_Weights
    return source.COCO_V1.get_state_dict  # type: ignore[no-any-return]


def _download(get_state: Callable[..., dict[str, Tensor]], spec: RcnnSpec) -> dict[str, Tensor]:
    try:
        return dict(get_state(progress=False, check_hash=True))
    except (URLError, OSError, HTTPException, RuntimeError) as error:  # RuntimeError: torch's "invalid hash value"
        raise UserError(
            f"the {spec.weights} weights of {spec.backbone} cannot be downloaded ({error}). Train from random weights "
            "with model.weights=none model.norm=bn, or give model.weights=<file>, or use profile=laptop"
        ) from error


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    def ours(name: str) -> str:
        for prefix in WRAPPED:
            if name.startswith(prefix):
                return f"{prefix}head.{name.removeprefix(prefix)}"
        return name

    return {ours(name): value for name, value in state.items()}

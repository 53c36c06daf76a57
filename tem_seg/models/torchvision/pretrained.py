"""Pretrained starts for the torchvision back end, fetched by torchvision (or found in torch's cache)."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from urllib.error import URLError

from torch import Tensor
from torchvision.models import get_model_weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, MaskRCNN_ResNet50_FPN_Weights

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint
from tem_seg.models.contract import RcnnSpec, SegmentationModel

BACKBONES = ("resnet16", "resnet18", "resnet34", "resnet50", "resnet101")
GROUPS = 32
"""Of group norm."""
WRAPPED = ("rpn.head.", "roi_heads.box_predictor.", "roi_heads.mask_predictor.")
"""Heads that our model holds inside a wrapper (float32 outputs)."""


def start_from(model: SegmentationModel, spec: RcnnSpec) -> None:
    """Loads imagenet or coco weights into ``model`` where the spec asks for them. Raises UserError for no download."""
    if spec.weights == "imagenet":
        state = _download(get_model_weights(spec.backbone).DEFAULT.get_state_dict, spec)  # type: ignore[attr-defined]
        checkpoint.load_matching(model, {_place(name, spec): value for name, value in state.items()})
    elif spec.weights == "coco":
        checkpoint.load_matching(model, _renamed(_download(_coco_source(spec), spec)))


def refuse(spec: RcnnSpec) -> None:
    """Raises UserError for what this back end cannot build, before any work."""
    if spec.backbone not in BACKBONES:
        raise UserError(
            f"model.backbone={spec.backbone} is unknown to torchvision's back end: choose one of {', '.join(BACKBONES)}"
        )
    if spec.weights == "coco" and (spec.backbone != "resnet50" or spec.architecture != "fpn"):
        raise UserError(
            f"torchvision has COCO weights for resnet50 with fpn only, not {spec.backbone} with {spec.architecture}: "
            "set model.backbone=resnet50, model.architecture=fpn and model.norm=frozen_bn, or model.weights=imagenet, "
            "or model.weights=none with model.norm=bn"
        )
    if spec.weights == "imagenet" and spec.backbone == "resnet16":
        raise UserError("there are no ImageNet weights for resnet16: set model.backbone=resnet18 or model.weights=none")
    if spec.weights in ("coco", "imagenet") and spec.norm == "gn":
        raise UserError(f"model.weights={spec.weights} was trained with batch norm: set model.norm to frozen_bn or bn")
    if spec.norm == "gn" and spec.architecture == "fpn" and spec.fpn_channels % GROUPS:
        raise UserError(
            f"model.norm=gn needs model.fpn_channels that is a multiple of {GROUPS}, got {spec.fpn_channels}"
        )


def _place(name: str, spec: RcnnSpec) -> str:
    """Where a ResNet's weight lies in our model."""
    in_heads = spec.architecture == "c4" and name.startswith("layer4.")
    return f"roi_heads.box_head.{name}" if in_heads else f"backbone.body.{name}"


def _coco_source(spec: RcnnSpec) -> Callable[..., dict[str, Tensor]]:
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

"""ResNets of torchvision, with random weights, as the bodies of R-CNNs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torchvision
from torch import nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d

from tem_seg.models.contract import RcnnSpec

NORMS: dict[str, Callable[..., nn.Module]] = {
    "frozen_bn": FrozenBatchNorm2d,
    "bn": nn.BatchNorm2d,
    "gn": partial(nn.GroupNorm, 32),
}


def build_body(spec: RcnnSpec) -> ResNet:
    """The whole ResNet of ``spec.backbone``. resnet16: resnet18 without its last block, 6.5 M parameters, not 11.2."""
    norm = NORMS[spec.norm]
    if spec.backbone == "resnet16":
        return ResNet(BasicBlock, [2, 2, 2, 1], norm_layer=norm)
    body: ResNet = torchvision.models.get_model(spec.backbone, weights=None, norm_layer=norm)
    return body


@dataclass(frozen=True, slots=True)
class Parts:
    """What an architecture decides of an R-CNN. box_width and mask_width: channels that the heads hand on."""

    backbone: nn.Module
    """Images (B, 3, H, W) → maps by name."""
    pooled: tuple[str, ...]
    """Names of the maps that regions are pooled from, finest first."""
    strides: tuple[int, ...]
    """Of those maps, px."""
    channels: int
    """Of every map."""
    box_head: nn.Module
    box_width: int
    mask_head: nn.Module | None
    """None without masks."""
    mask_width: int
    box_bins: int = 7


def build_pyramid(spec: RcnnSpec) -> Parts:
    """ResNet with a pyramid of five levels; regions are pooled from the first four (strides 4 to 32)."""
    backbone, width = build_backbone(spec), spec.fpn_channels
    return Parts(backbone, ("0", "1", "2", "3"), (4, 8, 16, 32), width, **plain_heads(spec, width))


def plain_heads(spec: RcnnSpec, width: int) -> dict[str, Any]:
    """The heads of FPN and DC5 on maps of ``width`` channels, as Parts takes them."""
    layers = [spec.mask_head_channels] * spec.mask_head_layers
    return {
        "box_head": TwoMLPHead(width * 49, spec.box_head_width), "box_width": spec.box_head_width,
        "mask_head": MaskRCNNHeads(width, layers, 1) if spec.masks else None, "mask_width": spec.mask_head_channels,
    }  # fmt: skip


def build_backbone(spec: RcnnSpec) -> BackboneWithFPN:
    """ResNet with a feature pyramid of five levels (strides 4 to 64), random weights."""
    body = build_body(spec)
    widths = [body.inplanes // 8, body.inplanes // 4, body.inplanes // 2, body.inplanes]
    layers = {f"layer{level + 1}": str(level) for level in range(4)}
    norm = None if spec.norm == "frozen_bn" else NORMS[spec.norm]
    return BackboneWithFPN(body, layers, widths, spec.fpn_channels, norm_layer=norm)

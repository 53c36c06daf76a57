"""What a model is: losses when training, Predictions when not. Adapters keep this and take values, never a cfg."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NotRequired, Self, TypedDict

import torch
from torch import Tensor, nn

from tem_seg.core.types import Prediction
from tem_seg.models.freezing import hold_norms


class Target(TypedDict):
    """Truth of one training crop (H, W).

    boxes (N, 4) float32 xyxy px, half-open, each with area; labels (N,) int64 in 0..C-1;
    masks (N, H, W) uint8 in {0, 1}, dense because a crop is small; rotated_boxes (N, 5) float32
    [cx, cy, w, h, angle_deg ccw]. N = 0 is a negative example. maps: what a model of every pixel compares its own maps
    with, float32, of any kind (..., h, w): made of the masks, in their place, by the model's ``encoder``.
    """

    boxes: Tensor
    labels: Tensor
    masks: NotRequired[Tensor]
    rotated_boxes: NotRequired[Tensor]
    maps: NotRequired[Tensor]


class SegmentationModel(nn.Module, ABC):
    """Base of every trainable model.

    images: list of (1, H, W) float32 in [-headroom, 1 + headroom] (data.images.normalise), sizes may differ.
    """

    headroom: float = 0.0
    """How far beyond a micrograph's 1st and 99th percentile the model sees, in units of what lies between them."""

    def train(self, mode: bool = True) -> Self:
        """As in torch, but batch norms whose weights are frozen never update their statistics."""
        super().train(mode)
        hold_norms(self)
        return self

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None, frames: list[tuple[int, int]] | None = None
    ) -> dict[str, Tensor] | list[Prediction]:
        """Named scalar losses in training mode (targets needed), else one Prediction an image."""
        if self.training:
            if targets is None:
                raise ValueError("a model in training mode needs targets")
            return self.losses(images, targets)
        return self.predict(images, frames)

    @property
    def device(self) -> torch.device:
        """Where its images have to be."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def encoder(self) -> Callable[[Target], Target] | None:
        """What loader processes make of a target before it is batched, or None; it can be pickled."""
        return None

    @abstractmethod
    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Named scalar losses; their sum is minimised."""

    @abstractmethod
    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        """One Prediction an image, scores descending, masks as RLE.

        frames: (H, W) px of the frame that boxes and masks are returned in, where an image shows a micrograph
        that has been rescaled; default: the image's own.
        """


@dataclass(frozen=True, slots=True)
class RcnnSpec:
    """All that defines an R-CNN, for either back end. One max_instances drives every cap (proposals, detections)."""

    num_classes: int
    masks: bool = True
    """True: Mask R-CNN; False: Faster R-CNN."""
    rotated: bool = False
    """Anchors, proposals and boxes turn with the particles."""
    backbone: str = "resnet50"
    """resnet18, resnet34, resnet50 or resnet101; resnet16 (6.5 M parameters) on torchvision only."""
    architecture: str = "fpn"
    """fpn: feature pyramid. c4: one map of stride 16, the ResNet's last stage in the heads. dc5: that stage dilated."""
    norm: str = "frozen_bn"
    """frozen_bn (only with pretrained weights), bn or gn."""
    fpn_channels: int = 256
    box_head_width: int = 1024
    mask_head_layers: int = 4
    mask_head_channels: int = 256
    refine_masks: bool = True
    """Masks are looked at again near their edges, down to a pixel; without, they have 28 x 28 cells."""
    anchor_sizes_px: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """fpn: one size a pyramid level, finest first (five levels: strides 4 to 64). c4, dc5: all sizes on the one map."""
    anchor_aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    anchor_angles_deg: tuple[float, ...] = ()
    """rotated: every anchor is turned by each, counter-clockwise; long over short side is the ratio, at 0 it stands."""
    rois_per_image: int = 512
    """Proposals an image that train the heads."""
    max_instances: int = 1000
    min_score: float = 0.05
    nms_iou: float = 0.5
    weights: str = "none"
    """coco, imagenet, none, starter, or a file (a checkpoint of ours)."""
    freeze: tuple[str, ...] | None = None
    """What keeps its start (models/freezing.py); None: the first layers of coco and imagenet weights, else nothing."""

    def __post_init__(self) -> None:
        for name in ("anchor_sizes_px", "anchor_aspect_ratios", "anchor_angles_deg"):  # lists, from a YAML
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if self.norm not in ("frozen_bn", "bn", "gn"):
            raise ValueError(f"norm must be frozen_bn, bn or gn, got {self.norm!r}")
        if self.architecture not in ("fpn", "c4", "dc5"):
            raise ValueError(f"architecture must be fpn, c4 or dc5, got {self.architecture!r}")
        if not self.anchor_sizes_px:
            raise ValueError("anchor_sizes_px is empty: give the sizes of the boxes that proposals start from, px")
        if self.architecture == "fpn" and len(self.anchor_sizes_px) != 5:
            raise ValueError(f"anchor_sizes_px needs five sizes, one a pyramid level, got {self.anchor_sizes_px}")
        if self.rotated != bool(self.anchor_angles_deg):
            raise ValueError(
                f"rotated={self.rotated} with anchor_angles_deg={list(self.anchor_angles_deg)}: rotated boxes need "
                "angles ([-90, -60, -30, 0, 30, 60]), upright ones have none"
            )
        if self.rotated and self.architecture != "fpn":
            raise ValueError(f"rotated boxes come with architecture=fpn only, not {self.architecture}")
        if self.rotated and self.masks and self.refine_masks:
            raise ValueError("masks in rotated boxes are not refined: set refine_masks=false")
        if self.max_instances < 1:
            raise ValueError(f"max_instances must be at least 1, got {self.max_instances}")
        if self.norm == "frozen_bn" and self.weights == "none":
            raise ValueError("frozen_bn with random weights diverges at once: use norm=bn or gn, or pretrained weights")
        if self.freeze is not None:
            object.__setattr__(self, "freeze", tuple(self.freeze))
        if self.freeze and self.weights == "none":
            raise ValueError(f"freeze={list(self.freeze)} keeps weights as they start, and weights=none is random")

    @property
    def proposals_a_map(self) -> int:
        """Proposals that a feature map gives before overlapping ones are dropped: as many in all as five maps give."""
        return self.max_instances * (1 if self.architecture == "fpn" else 5)

    @property
    def predicting_proposals(self) -> tuple[int, int]:
        """When predicting: proposals of a map, and of all after overlapping ones are dropped.

        Several lie on each particle. With one a particle, 951 particles at 2048² got a proposal in 34 % of cases, with
        two in 48 %, with four in 65 %; on gold_aunp AP rose from 0.567 to 0.574 with four, at twice the time.
        """
        return 4 * self.proposals_a_map, 2 * self.max_instances

"""What a model is: losses when training, Predictions when not. Adapters keep this and take values, never a cfg."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from torch import Tensor, nn

from tem_seg.core.types import Prediction


class Target(TypedDict):
    """Truth of one training crop (H, W).

    boxes (N, 4) float32 xyxy px, half-open, each with area; labels (N,) int64 in 0..C-1;
    masks (N, H, W) uint8 in {0, 1}, dense because a crop is small; rotated_boxes (N, 5) float32
    [cx, cy, w, h, angle_deg ccw]. N = 0 is a negative example.
    """

    boxes: Tensor
    labels: Tensor
    masks: NotRequired[Tensor]
    rotated_boxes: NotRequired[Tensor]


class SegmentationModel(nn.Module, ABC):
    """Base of every trainable model.

    images: list of (1, H, W) float32 in [0, 1] (data.images.normalise), sizes may differ.
    """

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None, frames: list[tuple[int, int]] | None = None
    ) -> dict[str, Tensor] | list[Prediction]:
        """Named scalar losses in training mode (targets needed), else one Prediction an image."""
        if self.training:
            if targets is None:
                raise ValueError("a model in training mode needs targets")
            return self.losses(images, targets)
        return self.predict(images, frames)

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
    backbone: str = "resnet50"
    """resnet18, resnet34, resnet50 or resnet101, with FPN."""
    norm: str = "frozen_bn"
    """frozen_bn (only with pretrained weights), bn or gn."""
    fpn_channels: int = 256
    box_head_width: int = 1024
    mask_head_layers: int = 4
    mask_head_channels: int = 256
    anchor_sizes_px: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """One size a pyramid level, finest first (five levels: strides 4 to 64)."""
    anchor_aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rois_per_image: int = 512
    """Proposals an image that train the heads."""
    max_instances: int = 1000
    min_score: float = 0.05
    nms_iou: float = 0.5
    weights: str = "none"
    """coco, imagenet, none, or a file (a checkpoint of ours)."""

    def __post_init__(self) -> None:
        for name in ("anchor_sizes_px", "anchor_aspect_ratios"):  # lists where they come from a YAML
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if self.norm not in ("frozen_bn", "bn", "gn"):
            raise ValueError(f"norm must be frozen_bn, bn or gn, got {self.norm!r}")
        if len(self.anchor_sizes_px) != 5:
            raise ValueError(f"anchor_sizes_px needs five sizes, one a pyramid level, got {self.anchor_sizes_px}")
        if self.max_instances < 1:
            raise ValueError(f"max_instances must be at least 1, got {self.max_instances}")
        if self.norm == "frozen_bn" and self.weights == "none":
            raise ValueError("frozen_bn with random weights diverges at once: use norm=bn or gn, or pretrained weights")

"""RoIAlign (He et al., Mask R-CNN, 2017) as one weighted table look-up.

torchvision's operator walks channel by channel over an image-major array; on a CPU its backward pass alone took 28 % of
a training step. Here every bin is a weighted sum of feature vectors, which embedding_bag computes row by row: the same
numbers (aligned=False), 4 times faster on a CPU. On a GPU torchvision's kernel is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import _convert_to_roi_format, initLevelMapper


def _taps(start: Tensor, length: Tensor, bins: int, samples: int, limit: int) -> tuple[Tensor, Tensor]:
    """Along one axis: the two pixels of every bilinear sample and their weights, both (K, bins, 2 * samples)."""
    steps = (torch.arange(bins * samples, device=start.device) + 0.5) / (bins * samples)
    place = start[:, None] + length[:, None] * steps
    inside = (place >= -1) & (place <= limit)
    place = place.clamp(min=0, max=limit - 1)
    low = place.floor()
    weight_high = (place - low) * inside
    weight_low = (1 - (place - low)) * inside
    pixels = torch.stack([low, (low + 1).clamp(max=limit - 1)], dim=-1).long()
    weights = torch.stack([weight_low, weight_high], dim=-1)
    shape = (len(start), bins, 2 * samples)
    return pixels.view(shape), weights.view(shape)


def roi_align(features: Tensor, rois: Tensor, bins: int, scale: float, samples: int) -> Tensor:
    """features (B, C, H, W); rois (K, 5) float32 [image, x1, y1, x2, y2] px → (K, C, bins, bins) float32.

    samples: bilinear samples a bin along each axis. Equal to ``torchvision.ops.roi_align(..., aligned=False)``.
    """
    if features.device.type != "cpu" or torch.onnx.is_in_onnx_export():  # ONNX has RoIAlign, but no embedding_bag
        # float32, as torchvision does under autocast: in bfloat16 a box at 300 px is a multiple of 2 px
        on_gpu: Tensor = torchvision.ops.roi_align(features.float(), rois.float(), bins, scale, samples)
        return on_gpu
    batch, channels, height, width = features.shape
    count, taps = len(rois), 2 * samples
    x1, y1, x2, y2 = (rois[:, 1:].float() * scale).unbind(1)
    columns, weights_x = _taps(x1, (x2 - x1).clamp(min=1), bins, samples, width)
    rows, weights_y = _taps(y1, (y2 - y1).clamp(min=1), bins, samples, height)
    pixels = rows.view(count, bins, 1, taps, 1) * width + columns.view(count, 1, bins, 1, taps)
    pixels = pixels + rois[:, 0].long().view(count, 1, 1, 1, 1) * (height * width)
    weights = weights_y.view(count, bins, 1, taps, 1) * weights_x.view(count, 1, bins, 1, taps) / samples**2
    table = features.permute(0, 2, 3, 1).reshape(batch * height * width, channels).float()
    with torch.autocast("cpu", enabled=False):
        pooled = F.embedding_bag(
            pixels.reshape(count * bins * bins, taps * taps), table, mode="sum",
            per_sample_weights=weights.reshape(count * bins * bins, taps * taps),
        )  # fmt: skip
    return pooled.view(count, bins, bins, channels).permute(0, 3, 1, 2)


class PyramidRoIAlign(MultiScaleRoIAlign):
    """torchvision's MultiScaleRoIAlign (same level assignment) over :func:`roi_align`, for maps of known strides.

    torchvision infers a stride from the sizes of map and image, and takes the padding of a small image (66 px filled up
    to 96) for another stride.
    """

    def __init__(self, names: Sequence[str], bins: int, samples: int, strides: Sequence[int]) -> None:
        super().__init__(list(names), bins, samples)
        self.scales = [1 / stride for stride in strides]
        coarsest, finest = (round(math.log2(stride)) for stride in (strides[-1], strides[0]))
        self.map_levels = initLevelMapper(finest, coarsest, self.canonical_scale, self.canonical_level)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Feature maps by name, boxes (N_i, 4) px an image → (sum N_i, C, bins, bins) float32."""
        levels = [x[name] for name in self.featmap_names]
        rois, level_of = _convert_to_roi_format(boxes), self.map_levels(boxes)
        bins = self.output_size[0]
        pooled: Tensor = rois.new_zeros(rois.shape[0], levels[0].shape[1], bins, bins, dtype=torch.float32)
        for index, (level, scale) in enumerate(zip(levels, self.scales, strict=True)):
            chosen = torch.where(level_of == index)[0]
            # in place: of 2,000 proposals each copy would be 25 MB
            pooled.index_copy_(0, chosen, roi_align(level, rois[chosen], bins, scale, self.sampling_ratio).float())
        return pooled

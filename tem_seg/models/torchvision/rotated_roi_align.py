"""RoIAlign in rotated boxes, as one weighted table look-up (see roi_align.py), on any device.

The numbers of Detectron2's ROIAlignRotated: half-pixel centres ("aligned"), no least size, zero beyond one pixel
outside the feature map. Rows of a region run along its side h, columns along w.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tem_seg.models.torchvision.rotated_boxes import axes

CANONICAL_PX, CANONICAL_LEVEL, FINEST_LEVEL = 224.0, 4, 2
"""Lin et al., "Feature pyramid networks", 2017, eq. 1."""


def taps(boxes: Tensor, bins: int, samples: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixels r·width + c and weights, both (K, bins * bins, 4 * samples²), that make a rotated region's bins.

    boxes (K, 5) [cx, cy, w, h, angle_deg] in px of the map (height, width); the weights of a bin sum to one inside it.
    """
    count = bins * samples
    steps = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count - 0.5
    cosine, sine = (value[:, None, None] for value in axes(boxes))
    cx, cy, w, h = (value[:, None, None] for value in boxes[:, :4].unbind(1))
    across, along = w * steps, h * steps[:, None]
    x = cx - 0.5 + across * cosine + along * sine
    y = cy - 0.5 - across * sine + along * cosine
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    pixels, weights = _bilinear(x.clamp(0, width - 1), y.clamp(0, height - 1), inside, height, width)
    grouped = (len(boxes), bins, samples, bins, samples, 4)

    def by_bin(values: Tensor) -> Tensor:
        return values.view(grouped).permute(0, 1, 3, 2, 4, 5).reshape(len(boxes), bins * bins, 4 * samples**2)

    return by_bin(pixels), by_bin(weights / samples**2)


def _bilinear(x: Tensor, y: Tensor, inside: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Places (K, n, n) within the map → the four pixels around each and their weights, (K, n, n, 4)."""
    left, top = x.floor(), y.floor()
    right_share, low_share = (x - left) * inside, y - top
    left_share = inside.to(x.dtype) - right_share
    column, row = left.long(), top.long()
    next_column, next_row = (column + 1).clamp(max=width - 1), (row + 1).clamp(max=height - 1)
    row, next_row = row * width, next_row * width
    pixels = torch.stack([row + column, row + next_column, next_row + column, next_row + next_column], dim=-1)
    upper_share = 1 - low_share
    weights = [left_share * upper_share, right_share * upper_share, left_share * low_share, right_share * low_share]
    return pixels, torch.stack(weights, dim=-1)


def rotated_roi_align(features: Tensor, rois: Tensor, bins: int, scale: float, samples: int = 2) -> Tensor:
    """features (B, C, H, W); rois (K, 6) [image, cx, cy, w, h, angle_deg] px of the image → (K, C, bins, bins).

    scale: of the map over the image. samples: bilinear samples a bin along each axis. Differentiable in the features;
    float32 unless both are float64. Equal to Detectron2's ROIAlignRotated.
    """
    batch, channels, height, width = features.shape
    exact = features.dtype if features.dtype in (torch.float32, torch.float64) else torch.float32
    boxes = rois[:, 1:].detach().to(exact)
    boxes = torch.cat([boxes[:, :4] * scale, boxes[:, 4:]], dim=1)
    pixels, weights = taps(boxes, bins, samples, height, width)
    pixels = pixels + rois[:, 0].long()[:, None, None] * (height * width)
    table = features.permute(0, 2, 3, 1).reshape(batch * height * width, channels).to(exact)
    with torch.autocast(features.device.type, enabled=False):
        pooled = F.embedding_bag(
            pixels.flatten(0, 1), table, mode="sum", per_sample_weights=weights.flatten(0, 1).to(exact)
        )
    return pooled.view(len(rois), bins, bins, channels).permute(0, 3, 1, 2)


def crop_masks(masks: Tensor, owner: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """masks (N, H, W) in {0, 1}; boxes (K, 5) px, box k of mask owner[k] → shares (K, bins, bins) float32 in [0, 1].

    What a mask head shall predict: each bin's share of its particle. Looks up single pixels, copies no mask.
    """
    if not len(boxes):
        return boxes.new_zeros(0, bins, bins)
    height, width = masks.shape[1:]
    pixels, weights = taps(boxes.float(), bins, 2, height, width)
    values = masks.reshape(-1)[pixels + owner[:, None, None] * (height * width)]
    return (values * weights).sum(-1).clamp(max=1).view(-1, bins, bins)


def levels_of(boxes: Tensor, count: int) -> Tensor:
    """Pyramid level (N,) int64 in 0..count-1 (0: stride 4) that boxes are pooled from, by the root of their area."""
    size = (boxes[:, 2] * boxes[:, 3]).sqrt()
    level = torch.floor(CANONICAL_LEVEL + torch.log2(size / CANONICAL_PX + 1e-8) + 1e-6)
    return level.clamp(FINEST_LEVEL, FINEST_LEVEL + count - 1).long() - FINEST_LEVEL


def pool_pyramid(levels: list[Tensor], boxes: list[Tensor], bins: int, samples: int = 2) -> Tensor:
    """Feature maps at strides 4, 8, …; boxes (N_i, 5) px an image → (sum N_i, C, bins, bins) float32."""
    together = torch.cat(boxes)
    image = torch.cat([together.new_full((len(own), 1), index) for index, own in enumerate(boxes)])
    rois, level_of = torch.cat([image, together], dim=1), levels_of(together, len(levels))
    pooled = levels[0].new_zeros(len(rois), levels[0].shape[1], bins, bins, dtype=torch.float32)
    for index, level in enumerate(levels):
        chosen = torch.where(level_of == index)[0]
        values = rotated_roi_align(level, rois[chosen], bins, 0.25 / 2**index, samples)
        pooled = pooled.index_copy(0, chosen, values)
    return pooled

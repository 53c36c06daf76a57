"""Soft masks in boxes → RLEs in the image's frame, one box-sized crop at a time: never a dense (N, H, W) stack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tem_seg.core.types import Rle
from tem_seg.data.rle import encode_crops


def masks_to_rles(probabilities: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> list[Rle]:
    """probabilities (N, h, w) in [0, 1] on the boxes (N, 4) xyxy px of a frame ``size`` (H, W) → N Rles.

    Sampled as Detectron2's ``paste_masks_in_image`` does: bilinear at pixel centres, zero beyond the soft mask, a
    pixel belongs to the particle where the value reaches ``threshold``. Pixels outside their box or the frame are
    never set; a box without area, or a soft mask below the threshold, gives an empty mask. Raises ValueError for
    shapes that do not fit and for boxes that are not finite.
    """
    if probabilities.ndim != 3 or boxes.shape != (len(probabilities), 4):
        raise ValueError(
            f"expected probabilities (N, h, w) and boxes (N, 4), got {list(probabilities.shape)}, {list(boxes.shape)}"
        )
    soft = probabilities.detach().float().cpu().numpy()
    corners = boxes.detach().double().cpu().numpy()
    if not np.isfinite(corners).all():
        raise ValueError(f"box {int(np.flatnonzero(~np.isfinite(corners).all(axis=1))[0])} is not finite")
    x0, columns = _interpolation(corners[:, 0], corners[:, 2], size[1], soft.shape[2])
    y0, rows = _interpolation(corners[:, 1], corners[:, 3], size[0], soft.shape[1])
    crops = [rows[index] @ mask @ columns[index].T >= threshold for index, mask in enumerate(soft)]
    return encode_crops(crops, x0, y0, size)


def _interpolation(
    low: NDArray[np.float64], high: NDArray[np.float64], limit: int, bins: int
) -> tuple[NDArray[np.int64], list[NDArray[np.float32]]]:
    """For N intervals [low, high) px: first pixel inside [0, limit) (N,), and N bilinear weights (pixels, bins).

    Linear interpolation is a sum of hat functions, which are zero beyond the last bin by themselves. Zero pixels
    for an interval that is empty or lies outside.
    """
    first = np.clip(np.floor(low), 0, limit).astype(np.int64)
    count = np.clip(np.ceil(high), first, limit).astype(np.int64) - first
    count[high <= low] = 0
    ends = np.cumsum(count)
    owner = np.repeat(np.arange(len(low)), count)
    centre = np.arange(len(owner)) + (first - ends + count)[owner] + 0.5
    position = ((centre - low[owner]) / (high - low)[owner] * bins - 0.5).astype(np.float32)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(bins, dtype=np.float32)))
    return first, np.split(weights, ends[:-1])

"""Soft masks in rotated boxes → the pixels of a frame, one box-sized crop at a time: never a dense (N, H, W) stack."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tem_seg.core.geometry import enclosing_boxes
from tem_seg.models.postprocess import SoftCrops


def rotated_soft_crops(
    probabilities: Tensor, boxes: Tensor, size: tuple[int, int], scale: tuple[float, float] = (1.0, 1.0)
) -> SoftCrops:
    """probabilities (N, h, w) in [0, 1] on boxes (N, 5) [cx, cy, w, h, angle_deg] px → their pixels in a frame (H, W).

    The columns of a soft mask run along its box's side w. scale: px of the frame per px of the boxes, (x, y). Every
    pixel centre is mapped into the box, exactly also for unequal scales, and the soft mask read there: bilinear, zero
    beyond. A box without area, or outside the frame, gives an empty crop. Raises ValueError for shapes that do not fit
    and for boxes that are not finite.
    """
    if probabilities.ndim != 3 or boxes.shape != (len(probabilities), 5):
        raise ValueError(
            f"expected probabilities (N, h, w) and boxes (N, 5), got {list(probabilities.shape)}, {list(boxes.shape)}"
        )
    soft = probabilities.detach().float().cpu()
    rotated = boxes.detach().double().cpu().numpy()
    if not np.isfinite(rotated).all():
        raise ValueError(f"box {int(np.flatnonzero(~np.isfinite(rotated).all(axis=1))[0])} is not finite")
    around = enclosing_boxes(rotated) * [*scale, *scale]
    limit = np.array([size[1], size[0]])
    low = np.clip(np.floor(around[:, :2]), 0, limit).astype(np.int64)
    high = np.clip(np.ceil(around[:, 2:]), low, limit).astype(np.int64)
    high[(rotated[:, 2:4] <= 0).any(axis=1)] = 0
    high = np.maximum(high, low)
    crops = [
        _crop(mask, box, *window, scale)
        for mask, box, window in zip(soft, rotated, zip(low, high, strict=True), strict=True)
    ]
    return SoftCrops(crops, low[:, 0], low[:, 1])


def _crop(
    mask: Tensor, box: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64], scale: tuple[float, float]
) -> NDArray[np.float32]:
    """The soft mask at the pixel centres of the window from ``low`` to ``high`` (x, y) px."""
    width, height = (high - low).tolist()
    if not width or not height:
        return np.zeros((height, width), np.float32)
    x = (np.arange(low[0], high[0]) + 0.5) / scale[0] - box[0]
    y = ((np.arange(low[1], high[1]) + 0.5) / scale[1] - box[1])[:, None]
    cosine, sine = np.cos(np.deg2rad(box[4])), np.sin(np.deg2rad(box[4]))
    # -1 to 1 from edge to edge of the box, as grid_sample counts
    places = np.stack([(x * cosine - y * sine) * (2 / box[2]), (x * sine + y * cosine) * (2 / box[3])], axis=-1)
    grid = torch.from_numpy(places.astype(np.float32))[None]
    found = F.grid_sample(mask[None, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    crop: NDArray[np.float32] = found[0, 0].numpy()
    return crop

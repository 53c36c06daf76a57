"""Soft masks in boxes → masks and outlines in the image's frame, one box-sized crop at a time.

Never a dense (N, H, W) stack.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours
from torch import Tensor

from tem_seg.core.types import Prediction, Rle
from tem_seg.data.rle import encode_crops

THRESHOLD = 0.5
"""A pixel belongs to the particle where the soft mask reaches it."""
SIMPLIFIED_PX = 0.05
"""Points of a contour that lie closer to the line between their neighbours are left out."""


@dataclasses.dataclass(frozen=True, slots=True)
class SoftCrops:
    """N soft masks at the pixels of a frame: crops[i] (h, w) float32 in [0, 1], top-left pixel (x0[i], y0[i])."""

    crops: list[NDArray[np.float32]]
    x0: NDArray[np.int64]
    y0: NDArray[np.int64]


def soft_crops(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> SoftCrops:
    """probabilities (N, h, w) in [0, 1] on the boxes (N, 4) xyxy px of a frame ``size`` (H, W).

    Sampled as Detectron2's ``paste_masks_in_image`` does: bilinear at pixel centres, zero beyond the soft mask. A box
    without area, or outside the frame, gives an empty crop. Raises ValueError for shapes that do not fit and for boxes
    that are not finite.
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
    return SoftCrops([rows[index] @ mask @ columns[index].T for index, mask in enumerate(soft)], x0, y0)


def to_rles(found: SoftCrops, size: tuple[int, int]) -> list[Rle]:
    """N Rles of the frame. What lies below the threshold everywhere gives an empty mask."""
    return encode_crops([crop >= THRESHOLD for crop in found.crops], found.x0, found.y0, size)


def outline(crop: NDArray[np.float32], x0: int, y0: int) -> tuple[NDArray[np.float32], float]:
    """A soft crop (h, w) in [0, 1] with top-left pixel (x0, y0) → (contour (K, 2) float32 x, y px, edge_sd_px).

    The contour runs between pixels where the soft mask crosses the threshold (marching squares; the largest where there
    are several). edge_sd_px: where the true edge is normally distributed around it, the soft mask p falls across it as
    the cumulative distribution, of which the integral of p (1 - p) is σ / √π: so σ = √π Σ p (1 - p) / length of the
    contour. (0, 2) and NaN for an empty mask.
    """
    if crop.size == 0 or crop.max() < THRESHOLD:
        return np.zeros((0, 2), np.float32), float("nan")
    lines = find_contours(np.pad(crop, 1), THRESHOLD)
    if not lines:  # the maximum is the threshold itself
        return np.zeros((0, 2), np.float32), float("nan")
    points = max(lines, key=lambda line: abs(_area(line)))
    length = float(np.hypot(*np.diff(points, axis=0).T).sum())
    spread = float(np.sqrt(np.pi) * np.sum(crop * (1 - crop), dtype=np.float64) / length)
    closed = (points[:-1, ::-1] + (x0 - 0.5, y0 - 0.5)).astype(np.float32)
    kept = cv2.approxPolyDP(closed[:, None], SIMPLIFIED_PX, True)[:, 0]
    return kept, spread


def _area(points: NDArray[np.float64]) -> float:
    """Of a closed line (K, 2), signed, px."""
    x, y = points[:, 1], points[:, 0]
    return 0.5 * float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))


def with_masks(prediction: Prediction, parts: Iterable[tuple[Tensor, SoftCrops]], size: tuple[int, int]) -> Prediction:
    """The prediction with masks, contours and edge_sd_px in a frame ``size`` (H, W).

    parts: (which of its particles (k,) int64, their soft masks), each particle once.
    """
    masks: list[Any] = [None] * len(prediction)
    contours: list[Any] = [None] * len(prediction)
    spread = np.zeros(len(prediction), np.float32)
    for chosen, found in parts:
        places = zip(found.crops, found.x0.tolist(), found.y0.tolist(), strict=True)
        for index, rle, place in zip(chosen.tolist(), to_rles(found, size), places, strict=True):
            masks[index] = rle
            contours[index], spread[index] = outline(*place)
    return dataclasses.replace(prediction, masks=masks, contours=contours, edge_sd_px=spread)


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

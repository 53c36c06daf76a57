"""Crops turned by any angle: pixels, masks and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.geometry import pixel_corners, rotated_box_of_points, rotated_boxes_corners, shown_part
from tem_seg.core.types import Rle
from tem_seg.data.rle import decode_crop
from tem_seg.training.window import Window

HALF_PIXEL = np.array([0.5, 0.5])


def _of_indices(matrix: NDArray[np.float64], from_shift: NDArray[Any], to_shift: NDArray[Any]) -> NDArray[np.float64]:
    """A map of points between pixels → one of pixel numbers, as OpenCV counts, of arrays that start at the shifts."""
    offset = matrix[:, :2] @ (from_shift + HALF_PIXEL) + matrix[:, 2] - to_shift - HALF_PIXEL
    return np.column_stack([matrix[:, :2], offset])


def turned_crop(pixels: NDArray[np.floating], window: Window) -> NDArray[np.float32]:
    """pixels (H, W) → (out_height, out_width) float32 before orienting; NaN beyond the micrograph.

    First resized, by area when shrinking, then turned: turning alone would take single pixels where it shrinks.
    """
    matrix = window.matrix()
    x, y, width, height = window.reach()
    low = np.maximum([x - 1, y - 1], 0)
    high = np.minimum([x + width + 1, y + height + 1], pixels.shape[::-1])
    part = pixels[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    size = np.maximum(np.round((high - low) * window.scales), 1).astype(int)
    shrinks = window.out_width < window.width
    resized = cv2.resize(part, size.tolist(), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    to_source = np.diag((high - low) / size)
    residual = np.column_stack([matrix[:, :2] @ to_source, matrix[:, :2] @ low + matrix[:, 2]])
    warped = cv2.warpAffine(
        resized, _of_indices(residual, np.zeros(2), np.zeros(2)), (window.out_width, window.out_height),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    warped[~_known(pixels.shape, window)] = np.nan
    return np.asarray(warped, np.float32)


def _known(shape: tuple[int, ...], window: Window) -> NDArray[np.bool_]:
    """(out_height, out_width) bool: pixels whose centre lies in a micrograph (H, W)."""
    inverse = cv2.invertAffineTransform(window.matrix())
    x, y = np.arange(window.out_width) + 0.5, (np.arange(window.out_height) + 0.5)[:, None]
    known: NDArray[np.bool_] = np.ones((window.out_height, window.out_width), bool)
    for row, limit in zip(inverse, shape[::-1], strict=True):
        place = row[0] * x + row[1] * y + row[2]
        known &= (place >= 0) & (place <= limit)
    return known


def turned_patch(segmentation: Rle, window: Window) -> tuple[NDArray[np.bool_], int, int] | None:
    """What the window shows of one particle, cut to its place: (h, w) bool, x, y before orienting; None if outside."""
    crop, x0, y0 = decode_crop(segmentation)
    if not crop.size:
        return None
    matrix = window.matrix()
    corners = np.array([x0, y0]) + np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * crop.shape[::-1]
    placed = corners @ matrix[:, :2].T + matrix[:, 2]
    low = np.maximum(np.floor(placed.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(placed.max(axis=0)).astype(int), [window.out_width, window.out_height])
    if (high <= low).any():
        return None
    local = _of_indices(matrix, np.array([x0, y0]), low)
    found = cv2.warpAffine(crop.astype(np.uint8) * 255, local, (high - low).tolist())
    return np.greater(found, 127), int(low[0]), int(low[1])


def rotated_boxes_of_masks(masks: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Minimum-area rectangles (N, 5) float32 of masks (N, h, w), none empty, that lie in boxes (N, 4) xyxy px."""
    found = np.zeros((len(masks), 5), np.float32)
    for index, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        found[index] = rotated_box_of_points(pixel_corners(masks[index, y1:y2, x1:x2].view(np.bool_), x1, y1))
    return found


def crop_boxes(
    corners: NDArray[np.float64], window: Window, min_area_px: float = 8.0
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[int]]:
    """Boxes by their corners (N, 4, 2) x, y px of the micrograph → (upright, rotated, which of them) in the crop.

    upright (M, 4) xyxy and rotated (M, 5): of the part that the crop shows. A box of fewer than min_area_px px² there
    is left out. For datasets that know boxes and no masks.
    """
    upright, rotated, chosen = [], [], []
    for index, placed in enumerate(window.place(corners)):
        points = shown_part(placed, window.size, min_area_px)
        if points is None:
            continue
        upright.append([*points.min(axis=0), *points.max(axis=0)])
        rotated.append(rotated_box_of_points(points))
        chosen.append(index)
    return np.array(upright, np.float32).reshape(-1, 4), np.array(rotated, np.float32).reshape(-1, 5), chosen


def corners_of(annotations: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """(N, 4, 2) x, y px: of the annotations' rotated boxes, else of their upright ones."""
    found = np.zeros((len(annotations), 5))
    for index, entry in enumerate(annotations):
        x, y, w, h = entry["bbox"]
        found[index] = entry.get("rotated_box") or (x + w / 2, y + h / 2, w, h, 0.0)
    return rotated_boxes_corners(found)

"""Boxes and angles. The only place where an angle's sense is converted (docs/conventions.md)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def box_of_crop(crop: NDArray[np.bool_], x0: int, y0: int) -> tuple[float, float, float, float]:
    """crop (h, w) bool with top-left pixel (x0, y0) → (x1, y1, x2, y2) px, half-open; zeros for an empty crop."""
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(x0 + columns[0]), float(y0 + rows[0]), float(x0 + columns[-1] + 1), float(y0 + rows[-1] + 1)


def xyxy_to_xywh(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, 4) [x1, y1, x2, y2] → (N, 4) [x, y, w, h]."""
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)


def pixel_corners(crop: NDArray[np.bool_], x0: int, y0: int) -> NDArray[np.float32]:
    """Corners (K, 2) float32 x, y px of the outermost True pixels of every row: enough for hulls and rectangles."""
    rows = np.flatnonzero(crop.any(axis=1))
    if not len(rows):
        return np.zeros((0, 2), np.float32)
    first = crop[rows].argmax(axis=1)
    last = crop.shape[1] - crop[rows][:, ::-1].argmax(axis=1)
    x = np.concatenate([first, last, first, last]) + x0
    y = np.concatenate([rows, rows, rows + 1, rows + 1]) + y0
    return np.stack([x, y], axis=1).astype(np.float32)


def rotated_box_of_points(points: NDArray[np.floating]) -> tuple[float, float, float, float, float]:
    """Minimum-area rectangle of points (K, 2) x, y → (cx, cy, w, h, angle_deg), w <= h, angle in [-90, 90).

    angle_deg counts counter-clockwise as displayed, from the upright box (Detectron2's sense): at 0 the long
    side h stands vertically. OpenCV's angle is clockwise as displayed.
    """
    (cx, cy), (w, h), clockwise_deg = cv2.minAreaRect(np.asarray(points, np.float32))
    angle_deg = -clockwise_deg
    if w > h:
        w, h, angle_deg = h, w, angle_deg + 90.0
    return float(cx), float(cy), float(w), float(h), wrap_half_turn(angle_deg)


def wrap_half_turn(angle_deg: float) -> float:
    """Angle of an axis (a rod has no head): into [-90, 90)."""
    turned = float((angle_deg + 90.0) % 180.0 - 90.0)
    return -90.0 if turned >= 90.0 else turned  # -1e-17 % 180 is 180


def rotated_box_corners(box: NDArray[np.floating]) -> NDArray[np.float64]:
    """(5,) [cx, cy, w, h, angle_deg ccw] → corners (4, 2) x, y px."""
    corners: NDArray[np.float64] = rotated_boxes_corners(np.asarray(box)[None])[0]
    return corners


def rotated_boxes_corners(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 5) [cx, cy, w, h, angle_deg ccw] → corners (N, 4, 2) x, y px, in one sense around each box."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 5)
    cosine, sine = np.cos(np.deg2rad(boxes[:, 4:])), np.sin(np.deg2rad(boxes[:, 4:]))
    x, y = boxes[:, 2:3] * [-0.5, 0.5, 0.5, -0.5], boxes[:, 3:4] * [-0.5, -0.5, 0.5, 0.5]
    # y points down, so a counter-clockwise turn as displayed is x' = x cos + y sin, y' = -x sin + y cos
    return np.stack([boxes[:, 0:1] + x * cosine + y * sine, boxes[:, 1:2] - x * sine + y * cosine], axis=2)


def canonical_rotated_boxes(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 5) [cx, cy, w, h, angle_deg ccw], any angle and order of sides → the same boxes with w <= h, angle in
    [-90, 90)."""
    boxes = np.array(boxes, np.float64).reshape(-1, 5)
    swapped = boxes[:, 2] > boxes[:, 3]
    boxes[swapped, 2], boxes[swapped, 3] = boxes[swapped, 3], boxes[swapped, 2]
    turned = (boxes[:, 4] + np.where(swapped, 180.0, 90.0)) % 180.0 - 90.0
    boxes[:, 4] = np.where(turned >= 90.0, -90.0, turned)
    return boxes


def enclosing_boxes(rotated: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 5) rotated boxes → the smallest upright boxes around them (N, 4) xyxy px."""
    corners = rotated_boxes_corners(rotated)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def shown_part(
    corners: NDArray[np.floating], size: tuple[int, int], min_area_px: float = 0.0
) -> NDArray[np.float32] | None:
    """Of a convex outline (K, 2) x, y px, the part (L, 2) inside a frame (H, W); None below ``min_area_px`` px²."""
    height, width = size
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area, found = cv2.intersectConvexConvex(np.asarray(corners, np.float32), frame)
    return None if found is None or area <= 0 or area < min_area_px else np.asarray(found[:, 0], np.float32)

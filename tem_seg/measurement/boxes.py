"""Sizes from rotated boxes alone, where no mask is needed: rods (paper 001 measures them so)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.geometry import canonical_rotated_boxes, enclosing_boxes


def measure_rotated_boxes(boxes: NDArray[np.floating], size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Boxes (N, 5) [cx, cy, w, h, angle_deg ccw] px in a frame (H, W) → the keys of ``measure_masks``: (N,).

    A convex particle that touches all four sides has a min Feret diameter of at most the short side and a max Feret
    diameter of at least the long one; for a rod they are its width and its length, and so they are named here.
    Orientation is that of the long side, NaN for a square. What no box knows is NaN: area, equivalent diameter,
    solidity, circularity (an ellipse and a rectangle in the same box differ by 27 % in area).
    """
    found = canonical_rotated_boxes(np.asarray(boxes, np.float64))
    width, length = found[:, 2], found[:, 3]
    left, top, right, low = enclosing_boxes(found).T
    unknown = np.full(len(found), np.nan)
    # at angle 0 the long side stands upright: 90° from the x axis
    along = np.where(width < length, found[:, 4] % 180.0 - 90.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # a box without width
        ratio = length / width
    return {
        "area_px": unknown,
        "equivalent_diameter_px": unknown,
        "min_feret_px": width,
        "max_feret_px": length,
        "aspect_ratio": np.where(width > 0, ratio, np.nan),
        "solidity": unknown,
        "circularity": unknown,
        "orientation_deg": along,
        "centroid_x_px": found[:, 0],
        "centroid_y_px": found[:, 1],
        "touches_border": (left <= 0) | (top <= 0) | (right >= size[1]) | (low >= size[0]),
    }

"""Sizes from rotated boxes alone, where no mask is needed: rods (paper 001 measures them so)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.geometry import canonical_rotated_boxes, enclosing_boxes
from tem_seg.measurement.masks import LENGTHS, SHAPES
from tem_seg.measurement.shape_class import ROD


def measure_rotated_boxes(
    boxes: NDArray[np.floating], size: tuple[int, int], border_px: int = 0
) -> dict[str, NDArray[Any]]:
    """Boxes (N, 5) [cx, cy, w, h, angle_deg ccw] px in a frame (H, W) → the keys of ``measure_masks``: (N,).

    A convex particle that touches all four sides has a min Feret diameter of at most the short side and a max Feret
    diameter of at least the long one; for a rod they are its width and its length, and so they are named here.
    Orientation is that of the long side, NaN for a square. What no box knows is NaN: area and perimeter, and all that
    is made of them (an ellipse and a rectangle in the same box differ by 27 % in area), and the fitted ellipse.
    border_px: how close to the frame a box touches it.
    """
    found = canonical_rotated_boxes(np.asarray(boxes, np.float64))
    width, length = found[:, 2], found[:, 3]
    left, top, right, low = enclosing_boxes(found).T
    # at angle 0 the long side stands upright: 90° from the x axis
    along = np.where(width < length, found[:, 4] % 180.0 - 90.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # a box without width
        ratio = np.where(width > 0, length / width, np.nan)
        across = (right - left) / (low - top)
    known = {
        "min_feret_px": width,
        "max_feret_px": length,
        "max_feret_orthogonal_px": width,
        "x_size_px": right - left,
        "y_size_px": low - top,
        "rectangle_width_px": width,
        "rectangle_length_px": length,
        "aspect_ratio": ratio,
        "aspect_ratio_xy": across,
        "orientation_deg": along,
        "centroid_x_px": found[:, 0],
        "centroid_y_px": found[:, 1],
        "shape_class": np.array(["rod" if value > ROD else None for value in ratio], object),
        "outline": np.full(len(found), "box", object),
        "touches_border": np.minimum.reduce([left, top, size[1] - right, size[0] - low]) <= border_px,
    }
    unknown = np.full(len(found), np.nan)
    return {name: known.get(name, unknown) for name in (*(f"{key}_px" for key in LENGTHS), *SHAPES)}

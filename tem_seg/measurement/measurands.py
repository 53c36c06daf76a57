"""Measurands, one function each: Runs of N masks → (N,) float64, NaN for an empty mask. Lengths in px.

Feret diameters and convexity are in :mod:`tem_seg.measurement.hull`. Terms follow ISO 9276-6:2008.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tem_seg.measurement.runs import Runs

FloatArray = NDArray[np.float64]
ISOTROPIC = 1e-9
"""Second moments that differ by less than this share of their sum have no long axis."""


def area_px(runs: Runs) -> FloatArray:
    """Number of pixels; 0 for an empty mask."""
    return runs.total(runs.bottom - runs.top)


def equivalent_diameter(area: FloatArray) -> FloatArray:
    """Diameter of the disc of the same area, √(4 A / π) (ISO 9276-6, area-equivalent diameter)."""
    return np.where(area > 0, np.sqrt(4.0 * area / np.pi), np.nan)


def centroid_px(runs: Runs) -> tuple[FloatArray, FloatArray]:
    """Centre of mass x, y; a pixel's mass sits in its centre (c + 0.5, r + 0.5)."""
    length = runs.bottom - runs.top
    area = _or_nan(runs.total(length))
    return runs.total(length * (runs.column + 0.5)) / area, runs.total(length * (runs.top + runs.bottom) / 2.0) / area


def orientation_deg(runs: Runs) -> FloatArray:
    """Angle of the long axis from the x axis, counter-clockwise as displayed, in [-90, 90).

    The long axis is that of the second moments (of the ellipse of the same moments). NaN for a mask without one, such
    as a pixel, a square or a disc.
    """
    x, y = centroid_px(runs)
    length = runs.bottom - runs.top
    dx = runs.column + 0.5 - x[runs.particle]
    dy = (runs.top + runs.bottom) / 2.0 - y[runs.particle]
    xx, xy = runs.total(length * dx**2), runs.total(length * dx * dy)
    yy = runs.total(length * dy**2 + (length**3 - length) / 12.0)  # a run's own spread about its middle
    # y points down, so the angle of the moments turns clockwise as displayed
    angle = -0.5 * np.rad2deg(np.arctan2(2.0 * xy, xx - yy))
    return np.where(np.hypot(2.0 * xy, xx - yy) > ISOTROPIC * (xx + yy), (angle + 90.0) % 180.0 - 90.0, np.nan)


def perimeter_px(runs: Runs) -> FloatArray:
    """Crofton's perimeter from the intercepts along 4 directions (0°, 45°, 90°, 135°), holes' edges included.

    P = π/4 · (n_0 + n_90 + (n_45 + n_135) / √2), n the number of particle pixels whose neighbour in that direction
    is none. Equals skimage.measure.perimeter_crofton(directions=4). S. Rivollier, thesis, Saint-Étienne (2010).
    """
    stride = runs.size[0] + 2  # a free row above and below: nothing is the neighbour of the next column
    offset = (runs.particle * (runs.size[1] + 1) + runs.column) * stride + 1
    start, end = offset + runs.top, offset + runs.bottom
    area = runs.total(end - start)
    edges = np.stack([start, end], axis=1).ravel()
    before = np.stack([np.cumsum(end - start) - (end - start), np.cumsum(end - start)], axis=1).ravel()

    def intercepts(shift: int) -> FloatArray:
        if not len(edges):
            return area
        shared = np.interp(end + shift, edges, before) - np.interp(start + shift, edges, before)
        return area - runs.total(shared)

    upright = intercepts(1) + intercepts(stride)
    diagonal = intercepts(stride + 1) + intercepts(stride - 1)
    return np.where(area > 0, np.pi / 4.0 * (upright + diagonal / np.sqrt(2.0)), np.nan)


def circularity(area: FloatArray, perimeter: FloatArray) -> FloatArray:
    """√(4 π A / P²) in (0, 1], 1 for a disc (ISO 9276-6).

    At most 1 by definition; estimated from pixels, a disc of few pixels would exceed it (1.01 at 20 px diameter,
    1.3 for a single pixel), so the value is cut there.
    """
    return np.minimum(np.sqrt(4.0 * np.pi * area) / perimeter, 1.0)


def touches_border(runs: Runs) -> NDArray[np.bool_]:
    """The mask has a pixel in the outermost row or column of the frame (N,) bool; False for an empty mask."""
    height, width = runs.size
    at_border = (runs.column == 0) | (runs.column == width - 1) | (runs.top == 0) | (runs.bottom == height)
    return runs.total(at_border.astype(np.float64)) > 0


def _or_nan(area: FloatArray) -> FloatArray:
    return np.where(area > 0, area, np.nan)

"""Measurands, one function each: N particles → (N,) float64, NaN for an empty mask. Lengths in px.

Feret diameters and rectangles are in :mod:`tem_seg.measurement.hull`, ellipses in :mod:`tem_seg.measurement.moments`.
Terms follow ISO 9276-6:2008; formulas, standards and what each is for: docs/measurands.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tem_seg.measurement.hull import Polygons
from tem_seg.measurement.runs import Runs

FloatArray = NDArray[np.float64]


def area_px(runs: Runs) -> FloatArray:
    """Number of pixels; 0 for an empty mask."""
    return runs.total(runs.bottom - runs.top)


def equivalent_diameter(area: FloatArray) -> FloatArray:
    """Diameter of the disc of the same area, √(4 A / π) (ISO 9276-6, area-equivalent diameter)."""
    return np.where(area > 0, np.sqrt(4.0 * area / np.pi), np.nan)


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


def convex_perimeter_px(hulls: Polygons) -> FloatArray:
    """Crofton's perimeter, in the same 4 directions, of the convex hull (of pixel centres) of N masks.

    A line meets a convex shape once, so the intercepts are the lines between the first and the last pixel. That makes
    the convexity of a mask without dents 1 at any angle, where an exact perimeter over Crofton's would be 1 ± 5 %.
    """
    result = np.full(len(hulls.first) - 1, np.nan)
    some = hulls.corners > 0
    if not some.any():
        return result
    x, y = hulls.points[:, 0], hulls.points[:, 1]
    places = np.stack([x, y, x + y, x - y])
    ends = [function.reduceat(places, hulls.first[:-1][some], axis=1) for function in (np.maximum, np.minimum)]
    lines = ends[0] - ends[1] + 1
    result[some] = np.pi / 4.0 * (lines[0] + lines[1] + (lines[2] + lines[3]) / np.sqrt(2.0))
    return result


def polygon_perimeter(polygons: Polygons) -> FloatArray:
    """Length of the outline of N polygons."""
    edges = polygons.points[polygons.following()] - polygons.points
    length = polygons.total(np.sqrt((edges**2).sum(axis=1)))
    return np.where(polygons.corners > 0, length, np.nan)


def polygon_sizes(polygons: Polygons) -> tuple[FloatArray, FloatArray]:
    """Extents (N,) along x and y of N polygons."""
    result = np.full((2, len(polygons.first) - 1), np.nan)
    some = polygons.corners > 0
    if some.any():
        first = polygons.first[:-1][some]
        low, high = (function.reduceat(polygons.points, first) for function in (np.minimum, np.maximum))
        result[:, some] = (high - low).T
    return result[0], result[1]


def form_factor(area: FloatArray, perimeter: FloatArray) -> FloatArray:
    """4 π A / P² in (0, 1], 1 for a disc; paper 003 calls it roundness, skimage users circularity.

    At most 1 by definition; estimated from pixels, a disc of few pixels would exceed it (1.02 at 20 px diameter,
    1.6 for a single pixel), so the value is cut there.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(4.0 * np.pi * area / perimeter**2, 1.0)


def circularity(area: FloatArray, perimeter: FloatArray) -> FloatArray:
    """√(4 π A / P²) in (0, 1], 1 for a disc (ISO 9276-6): the square root of the form factor."""
    return np.sqrt(form_factor(area, perimeter))


def roundness(area: FloatArray, longest: FloatArray) -> FloatArray:
    """4 A / (π Fmax²) in (0, 1], 1 for a disc: the square of ISO 9276-6's compactness. longest: max Feret diameter."""
    return np.minimum(4.0 * area / (np.pi * longest**2), 1.0)


def touches_border(runs: Runs, border_px: int = 0) -> NDArray[np.bool_]:
    """The mask has a pixel in the outermost row or column of the frame, or in the ``border_px`` next to them (N,) bool;
    False for an empty mask.
    """
    (height, width), room = runs.size, border_px
    across = (runs.column <= room) | (runs.column >= width - 1 - room)
    at_border = across | (runs.top <= room) | (runs.bottom >= height - room)
    return runs.total(at_border.astype(np.float64)) > 0

"""Moments of area of N shapes, masks or polygons, and what follows from them: centroid, orientation, ellipse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tem_seg.measurement.hull import Polygons
from tem_seg.measurement.runs import Runs

FloatArray = NDArray[np.float64]
ISOTROPIC = 1e-9
"""Second moments that differ by less than this share of their sum have no long axis."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of N shapes (N,): area px², 0 for an empty one; centre of mass x, y px; second moments about it per area, px².

    All but the area are NaN for an empty shape.
    """

    area: FloatArray
    x: FloatArray
    y: FloatArray
    xx: FloatArray
    xy: FloatArray
    yy: FloatArray


def of_runs(runs: Runs) -> Moments:
    """Sums over pixels, each a point of mass 1 in its centre (c + 0.5, r + 0.5), as scikit-image has it.

    A mask is a sampling at pixel centres, and such sums are the unbiased estimate of the sampled shape's integrals: a
    pixel's own extent (1/12 px²) would make every particle too large.
    """
    length = runs.bottom - runs.top
    total = runs.total(length)
    area = np.where(total > 0, total, np.nan)
    middle = (runs.top + runs.bottom) / 2.0
    x, y = runs.total(length * (runs.column + 0.5)) / area, runs.total(length * middle) / area
    dx, dy = runs.column + 0.5 - x[runs.particle], middle - y[runs.particle]
    spread = (length**3 - length) / 12.0  # of a run's pixels about its middle
    xx, xy = runs.total(length * dx**2) / area, runs.total(length * dx * dy) / area
    return Moments(total, x, y, xx, xy, runs.total(length * dy**2 + spread) / area)


def of_polygons(polygons: Polygons) -> Moments:
    """Exact integrals over N simple polygons, in either sense (Green's theorem; Steger 1996, TUM FGBV-96-05)."""
    corners = np.where(polygons.corners > 0, polygons.corners, np.nan)
    x0, y0 = (polygons.total(polygons.points[:, axis]) / corners for axis in (0, 1))
    owner, following = polygons.owner(), polygons.following()
    x, y = polygons.points[:, 0] - x0[owner], polygons.points[:, 1] - y0[owner]  # small numbers: differences stay exact
    u, v = x[following], y[following]
    cross = x * v - u * y
    doubled = polygons.total(cross)
    with np.errstate(divide="ignore", invalid="ignore"):  # a polygon without area
        cx, cy = polygons.total((x + u) * cross) / (3 * doubled), polygons.total((y + v) * cross) / (3 * doubled)
        xx = polygons.total((x * x + x * u + u * u) * cross) / (6 * doubled) - cx**2
        yy = polygons.total((y * y + y * v + v * v) * cross) / (6 * doubled) - cy**2
        xy = polygons.total((2 * x * y + x * v + u * y + 2 * u * v) * cross) / (12 * doubled) - cx * cy
    return Moments(np.abs(doubled) / 2, x0 + cx, y0 + cy, xx, xy, yy)


def orientation_deg(moments: Moments) -> FloatArray:
    """Angle of the long axis from the x axis (N,), counter-clockwise as displayed, in [-90, 90).

    The long axis is that of the second moments (of the ellipse of the same moments). NaN for a shape without one, such
    as a pixel, a square or a disc.
    """
    xx, xy, yy = moments.xx, moments.xy, moments.yy
    # y points down, so the angle of the moments turns clockwise as displayed
    angle = -0.5 * np.rad2deg(np.arctan2(2.0 * xy, xx - yy))
    return np.where(np.hypot(2.0 * xy, xx - yy) > ISOTROPIC * (xx + yy), (angle + 90.0) % 180.0 - 90.0, np.nan)


def ellipse_axes(moments: Moments) -> tuple[FloatArray, FloatArray]:
    """Long and short axis (whole, not half) of the ellipse of the same second moments, each (N,): 4 √λ.

    Legendre's ellipse of inertia in ISO 9276-6; scikit-image's axis_major_length and axis_minor_length.
    """
    mean = (moments.xx + moments.yy) / 2.0
    apart = np.hypot((moments.xx - moments.yy) / 2.0, moments.xy)
    return 4.0 * np.sqrt(mean + apart), 4.0 * np.sqrt(np.maximum(mean - apart, 0.0))


def affine_invariant(moments: Moments) -> FloatArray:
    """(μ20 μ02 - μ11²) / μ00⁴ (N,), the same however a shape is stretched or sheared (Flusser and Suk 1993).

    1 / 16π² for every ellipse, 1/144 for every parallelogram, 1/108 for every triangle.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return (moments.xx * moments.yy - moments.xy**2) / moments.area**2

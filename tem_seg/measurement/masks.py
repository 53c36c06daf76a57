"""Everything that is measured of an outline: of masks, and more finely of the subpixel contours of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tem_seg.core.types import Rle
from tem_seg.data.rle import encode_crop
from tem_seg.measurement import hull, measurands, moments, shape_class
from tem_seg.measurement.hull import Polygons, joined
from tem_seg.measurement.runs import Runs, runs_of

FloatArray = NDArray[np.float64]
Measured = dict[str, NDArray[Any]]
LENGTHS = {
    "area": 2, "equivalent_diameter": 1, "min_feret": 1, "max_feret": 1, "max_feret_orthogonal": 1, "x_size": 1,
    "y_size": 1, "rectangle_width": 1, "rectangle_length": 1, "ellipse_major": 1, "ellipse_minor": 1, "perimeter": 1,
}  # fmt: skip
"""Measurands with a unit, and the power of the pixel size that turns them into nm."""
SHAPES = (
    "aspect_ratio", "aspect_ratio_xy", "ellipse_ratio", "solidity", "extent", "convexity", "circularity", "form_factor",
    "roundness", "orientation_deg", "centroid_x_px", "centroid_y_px", "shape_class", "outline", "touches_border",
)  # fmt: skip
"""Measurands without a unit of their own."""
SAME_AREA = 0.25
"""A contour stands for its mask where it encloses the same area to this share of a pixel along its length."""


def measure_masks(
    masks: Sequence[Rle], size: tuple[int, int], contours: Sequence[ArrayLike | None] | None = None
) -> Measured:
    """N masks of one frame ``size`` (H, W) → measurand: (N,); lengths in px, NaN for an empty mask (its area is 0).

    Keys: those of LENGTHS with ``_px``, and SHAPES. contours: outlines (K, 2) x, y px of the same particles, None or
    without points where there is none. Where one encloses what the mask does (not so for a mask with holes or of
    several parts) all is measured on it, and ``outline`` says "contour" instead of "mask"; the border flag is always
    the mask's.
    """
    return measure_runs(runs_of(masks, size), contours)


def measure_mask(crop: NDArray[np.bool_], x0: int, y0: int, size: tuple[int, int]) -> dict[str, Any]:
    """One mask, cut out as crop (h, w) bool with its top-left pixel at (x0, y0) of a frame (H, W)."""
    return {name: values.tolist()[0] for name, values in measure_masks([encode_crop(crop, x0, y0, size)], size).items()}


def measure_runs(runs: Runs, contours: Sequence[ArrayLike | None] | None = None) -> Measured:
    """As :func:`measure_masks`, of masks that have been taken apart."""
    found = _of_pixels(runs)
    if contours is None:
        return found
    finer = measure_polygons(polygons_of(contours))
    apart = np.abs(finer["area_px"] - found["area_px"])
    taken = (finer["area_px"] > 0) & (apart <= SAME_AREA * finer["perimeter_px"])
    return found | {name: np.where(taken, finer[name], found[name]) for name in finer}


def _of_pixels(runs: Runs) -> Measured:
    hulls = hull.centre_hulls(runs)
    x_size, y_size = (extent + 1 for extent in measurands.polygon_sizes(hulls))  # from centres to edges
    perimeter = measurands.perimeter_px(runs)
    with np.errstate(invalid="ignore"):  # 0 / 0 of an empty mask
        ratios = {
            "solidity": measurands.area_px(runs) / hull.convex_area_px(hulls),
            "convexity": np.minimum(measurands.convex_perimeter_px(hulls) / perimeter, 1.0),
            "touches_border": measurands.touches_border(runs),
            "outline": np.full(runs.count, "mask", object),
        }
    found = moments.of_runs(runs)
    return _classified(_measured(found, hull.outlines(hulls), x_size, y_size, perimeter) | ratios, found)


def measure_polygons(polygons: Polygons) -> Measured:
    """N simple polygons, in px, → what :func:`measure_masks` says of masks but for ``touches_border``."""
    convex = _convex(polygons)
    perimeter = measurands.polygon_perimeter(polygons)
    found = moments.of_polygons(polygons)
    with np.errstate(divide="ignore", invalid="ignore"):  # without corners, or without area
        ratios = {
            "solidity": np.minimum(found.area / moments.of_polygons(convex).area, 1.0),
            "convexity": np.minimum(measurands.polygon_perimeter(convex) / perimeter, 1.0),
            "outline": np.full(len(perimeter), "contour", object),
        }
    return _classified(_measured(found, convex, *measurands.polygon_sizes(polygons), perimeter) | ratios, found)


def polygons_of(contours: Sequence[ArrayLike | None]) -> Polygons:
    """Contours (K, 2), not closed → Polygons; fewer than 3 points enclose nothing and count as none."""
    points = [np.asarray([] if line is None else line, np.float64).reshape(-1, 2) for line in contours]
    return joined([line if len(line) > 2 else line[:0] for line in points], 2)


def _convex(polygons: Polygons) -> Polygons:
    ends = zip(polygons.first[:-1].tolist(), polygons.first[1:].tolist(), strict=True)
    parts = [polygons.points[start:end] for start, end in ends]
    kept = [cv2.convexHull((p - p[0]).astype(np.float32), returnPoints=False)[:, 0] if len(p) else p for p in parts]
    return joined([part[index] if len(part) else part for part, index in zip(parts, kept, strict=True)], 2)


def _measured(
    found: moments.Moments, outlines: Polygons, x_size: FloatArray, y_size: FloatArray, perimeter: FloatArray
) -> Measured:
    """What masks and contours share, from their moments and the convex polygons around them."""
    min_feret, width, length = hull.calipers(outlines)
    max_feret, across = hull.longest(outlines)
    major, minor = moments.ellipse_axes(found)
    with np.errstate(divide="ignore", invalid="ignore"):  # a line of pixels has no minor axis
        measured: Measured = {
            "area_px": found.area,
            "equivalent_diameter_px": measurands.equivalent_diameter(found.area),
            "min_feret_px": min_feret,
            "max_feret_px": max_feret,
            "max_feret_orthogonal_px": across,
            "x_size_px": x_size,
            "y_size_px": y_size,
            "rectangle_width_px": width,
            "rectangle_length_px": length,
            "ellipse_major_px": major,
            "ellipse_minor_px": minor,
            "perimeter_px": perimeter,
            "aspect_ratio": max_feret / min_feret,
            "aspect_ratio_xy": x_size / y_size,
            "ellipse_ratio": minor / major,
            "extent": found.area / (x_size * y_size),
            "circularity": measurands.circularity(found.area, perimeter),
            "form_factor": measurands.form_factor(found.area, perimeter),
            "roundness": measurands.roundness(found.area, max_feret),
            "orientation_deg": moments.orientation_deg(found),
            "centroid_x_px": found.x,
            "centroid_y_px": found.y,
        }
    return measured


def _classified(measured: Measured, found: moments.Moments) -> Measured:
    with np.errstate(divide="ignore", invalid="ignore"):
        filled = measured["area_px"] / (measured["rectangle_width_px"] * measured["rectangle_length_px"])
    invariant = moments.affine_invariant(found)
    named = shape_class.classify(
        found.area, measured["solidity"], measured["aspect_ratio"], measured["ellipse_ratio"], filled, invariant
    )
    return measured | {"shape_class": named}

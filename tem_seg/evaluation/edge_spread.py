"""How honest a prediction's edge_sd_px is: one factor, fitted on validation, between what it says and what is so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import erf
from skimage.measure import find_contours

from tem_seg.core.types import Rle
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import by_image
from tem_seg.data.rle import decode_crop
from tem_seg.evaluation.inputs import is_crowd
from tem_seg.evaluation.matching import Matching

ARCS, POINTS = 8, 8
"""Parts that an outline is cut into, and points looked at on each: the mean over an arc does not see single pixels."""
STAIRS_PX, RIM = 0.7, 4
"""True masks are blurred with this standard deviation, on a crop with this rim: from outside, the nearest point of an
outline of stairs is always a corner, 0.1 px too near. It pulls the outline of a disc in by 0.25 px² / radius."""
FEWEST = 20
"""Particles that the factor needs."""
WITHIN_ONE_SD = float(erf(np.sqrt(0.5)))
"""68.3 %."""
HALF_DIGIT = 5e-4
"""edge_sd_px is written with three decimals."""


def edge_figures(
    dataset: CocoDataset, results: list[dict[str, Any]], matchings: Mapping[int, Matching], *, min_score: float = 0.0
) -> dict[str, Any]:
    """edge_sd_factor, edge_n (particles), edge_note (why the factor is None, or None).

    Over matched particles of at least min_score: the outline is cut into eight arcs, d is an arc's mean distance from
    the true outline. The factor f is the one with 68.3 % of all |d| ≤ f · edge_sd_px, as a normal distribution has it;
    a root mean square would be that of the few particles whose mask is wrong altogether.
    """
    ratios: list[NDArray[np.float64]] = []
    for row, truth in _pairs(dataset, results, matchings, min_score):
        distances = arc_distances(np.asarray(row["contour"], np.float64), truth["segmentation"])
        known = distances[np.isfinite(distances)]
        if len(known):
            ratios.append(np.abs(known) / max(float(row["edge_sd_px"]), HALF_DIGIT))
    if len(ratios) < FEWEST:
        note = (
            f"{len(ratios)} particles of the validation split are matched and carry contour and edge_sd_px: "
            f"calibrating edges needs {FEWEST}"
        )
        return {"edge_sd_factor": None, "edge_n": len(ratios), "edge_note": note}
    factor = float(np.quantile(np.concatenate(ratios), WITHIN_ONE_SD))
    return {"edge_sd_factor": factor, "edge_n": len(ratios), "edge_note": None}


def _pairs(
    dataset: CocoDataset, results: list[dict[str, Any]], matchings: Mapping[int, Matching], min_score: float
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Matched predictions that know their edge, and their truths."""
    grouped = by_image(results, [image.id for image in dataset.images])
    for image_id, matching in matchings.items():
        for index in np.flatnonzero((matching.matched >= 0) & (matching.scores >= min_score)):
            row = grouped[image_id][matching.positions[index]]
            truth = dataset.annotations[image_id][matching.matched[index]]
            if row.get("edge_sd_px") is not None and len(row.get("contour") or []) > 2 and not is_crowd(truth):
                yield row, truth


def arc_distances(contour: NDArray[np.float64], truth: Rle) -> NDArray[np.float64]:
    """contour (K, 2) x, y px between pixels, not closed, and the true mask → (8,) px, each arc's mean distance from the
    true outline, positive where the contour lies outside.

    The true outline is where the mask, without its stairs, crosses 0.5 (marching squares; the largest of several). NaN
    for an arc along the frame's edge, which is no outline, and for an empty mask.
    """
    crop, x0, y0 = decode_crop(truth)
    soft = gaussian_filter(np.pad(crop, RIM).astype(np.float32), STAIRS_PX)
    rings = find_contours(soft, 0.5)  # type: ignore[no-untyped-call]
    shift = (x0 - RIM + 0.5, y0 - RIM + 0.5)
    polygons = [shapely.Polygon(ring[:, ::-1] + shift) for ring in rings if len(ring) > 3]
    if not polygons:
        return np.full(ARCS, np.nan)
    wanted = max(polygons, key=lambda polygon: float(polygon.area))
    shapely.prepare(wanted)
    points = evenly_spaced(contour, ARCS * POINTS)
    inside = shapely.contains_xy(wanted, points[:, 0], points[:, 1])
    distances = shapely.distance(shapely.points(points), wanted.exterior) * np.where(inside, -1.0, 1.0)
    height, width = truth["size"]
    at_edge = (points < 1).any(axis=1) | (points > (width - 1, height - 1)).any(axis=1)
    arcs, kept = np.where(at_edge, 0.0, distances).reshape(ARCS, POINTS), (~at_edge).reshape(ARCS, POINTS).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(kept > POINTS // 2, arcs.sum(axis=1) / kept, np.nan), np.float64)


def evenly_spaced(contour: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """A closed line (K, 2), its first point not repeated → (count, 2) points at equal steps along it."""
    closed = np.concatenate([contour, contour[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = (np.arange(count) + 0.5) / count * along[-1]
    return np.stack([np.interp(at, along, closed[:, axis]) for axis in (0, 1)], axis=1)

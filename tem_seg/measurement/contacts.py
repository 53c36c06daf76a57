"""Which particles touch or overlap, the agglomerates that they make, and how far the next one is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from tem_seg.core.components import components
from tem_seg.measurement.runs import Runs

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ADJACENT = 1.5
"""Centres of pixels that share an edge or a corner are nearer than this, px."""


@dataclass(frozen=True, slots=True)
class Contacts:
    """Pairs of N particles that touch: first < second (P,), and shared (P,), the pixels in both, 0 without overlap."""

    count: int
    first: IntArray
    second: IntArray
    shared: FloatArray

    @property
    def overlaps(self) -> NDArray[np.bool_]:
        """(N,) shares pixels with another particle."""
        return self._flag(self.shared > 0)

    @property
    def touches(self) -> NDArray[np.bool_]:
        """(N,) lies against another particle (an edge or a corner of a pixel in common) without sharing pixels with it.

        A particle may touch one and overlap another.
        """
        return self._flag(self.shared == 0)

    def agglomerates(self) -> IntArray:
        """The agglomerate (N,) of each particle, from 1: what touches or overlaps, in chains too, is one."""
        return components(self.count, self.first, self.second) + 1

    def _flag(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        flags = np.zeros(self.count, bool)
        flags[self.first[chosen]] = flags[self.second[chosen]] = True
        return flags


def of_runs(runs: Runs) -> Contacts:
    """Contacts of N masks: 8-connected neighbours and overlaps, found from runs in neighbouring columns."""
    stride = runs.size[0] + 4  # no run reaches the next column when it is made longer by a pixel at both ends
    start, end = runs.column * stride + runs.top + 2, runs.column * stride + runs.bottom + 2
    shared = _meeting(start, end, start, end)
    touching = [_meeting(start - 1 + shift, end + 1 + shift, start, end) for shift in (-stride, 0, stride)]
    a, b = np.concatenate([[*pair] for pair in touching], axis=1)
    first, second = runs.particle[a], runs.particle[b]
    keys = np.unique((first * runs.count + second)[first < second])
    a, b = shared
    other = runs.particle[a] < runs.particle[b]
    a, b = a[other], b[other]
    pixels = (np.minimum(end[a], end[b]) - np.maximum(start[a], start[b])).astype(np.float64)
    place = np.searchsorted(keys, runs.particle[a] * runs.count + runs.particle[b])
    totals = np.bincount(place, weights=pixels, minlength=len(keys)).astype(np.float64)
    return Contacts(runs.count, keys // max(runs.count, 1), keys % max(runs.count, 1), totals)


def _meeting(start: IntArray, end: IntArray, other: IntArray, other_end: IntArray) -> tuple[IntArray, IntArray]:
    """Every pair (k, m) of half-open intervals [start, end) (K,) and [other, other_end) (M,) that meet, once.

    Of two that meet the one that begins later begins inside the other.
    """
    pairs = []
    for strict, (a, a_end, b) in enumerate(((start, end, other), (other, other_end, start))):
        order = np.argsort(b, kind="stable")
        low = np.searchsorted(b[order], a, side="right" if strict else "left")
        count = np.maximum(np.searchsorted(b[order], a_end, side="left") - low, 0)
        inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        pair = np.repeat(np.arange(len(a)), count), order[inside]
        pairs.append(pair[::-1] if strict else pair)
    return np.concatenate([pairs[0][0], pairs[1][0]]), np.concatenate([pairs[0][1], pairs[1][1]])


def covered_px(runs: Runs) -> float:
    """Number of pixels of the frame that lie in at least one of N masks."""
    stride = runs.size[0] + 1
    start, end = runs.column * stride + runs.top, runs.column * stride + runs.bottom
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    reached = np.maximum.accumulate(np.r_[np.int64(0), end])[:-1]
    return float(np.maximum(end - np.maximum(start, reached), 0).sum())


def nearest_centre(points: FloatArray) -> FloatArray:
    """Distance (N,) from each of N points (N, 2) to the nearest other one; NaN for a lone point."""
    from scipy.spatial import cKDTree  # 0.1 s, which the start of an analysis need not wait for

    if len(points) < 2:
        return np.full(len(points), np.nan)
    return np.asarray(cKDTree(points).query(points, k=2)[0])[:, 1].astype(np.float64)


def nearest_edge(runs: Runs, contacts: Contacts) -> FloatArray:
    """Distance (N,) px from each mask's edge to that of the nearest other one; 0 where they touch, NaN for a lone one.

    The smallest distance of two pixel centres, less one pixel: half a pixel from either centre to its edge.
    """
    from scipy.spatial import cKDTree

    points = boundaries(runs)
    real = np.array([len(each) > 0 for each in points], bool)
    ends = [np.r_[each.min(axis=0), each.max(axis=0)] if len(each) else np.full(4, np.inf) for each in points]
    boxes = np.array(ends, np.float64).reshape(-1, 4)
    best = np.full(runs.count, np.inf)
    best[contacts.first] = best[contacts.second] = 0.0
    trees: dict[int, cKDTree] = {}
    for one in np.flatnonzero((best > 0) & real).tolist():
        gaps = _box_gaps(boxes, one)
        for other in np.argsort(gaps, kind="stable").tolist():
            if not gaps[other] < best[one]:
                break
            if other not in trees:
                trees[other] = cKDTree(points[other])
            found = trees[other].query(points[one], distance_upper_bound=best[one] + 1.0)[0]
            distance = float(np.min(found)) - 1.0
            best[one], best[other] = min(best[one], distance), min(best[other], distance)
    return np.where(np.isfinite(best), best, np.nan)


def _box_gaps(boxes: FloatArray, one: int) -> FloatArray:
    """The least (N,) that the edge of each particle can be away from that of ``one``, from their boxes xyxy (N, 4)."""
    with np.errstate(invalid="ignore"):  # empty masks are infinitely far away
        apart = np.maximum(np.maximum(boxes[:, :2] - boxes[one, 2:], boxes[one, :2] - boxes[:, 2:]), 0.0)
    gaps: FloatArray = np.nan_to_num(np.hypot(apart[:, 0], apart[:, 1]), nan=np.inf) - 1.0
    gaps[one] = np.inf
    return gaps


def boundaries(runs: Runs) -> list[FloatArray]:
    """Of N masks the pixels (K, 2) column, row, that have a 4-neighbour outside the mask."""
    stride, columns = runs.size[0] + 2, runs.size[1] + 2  # free rows and columns around each mask
    offset = (runs.particle * columns + runs.column + 1) * stride + 1
    start, end = offset + runs.top, offset + runs.bottom
    pieces = [(start, start + 1), (end - 1, end)]
    pieces += [_without(start, end, start + shift, end + shift) for shift in (stride, -stride)]
    low, high = np.concatenate([[*piece] for piece in pieces], axis=1)
    length = high - low
    flat = np.unique(np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length) + np.repeat(low, length))
    column, row = np.divmod(flat, stride)
    particle, column = np.divmod(column, columns)
    points = np.stack([column - 1, row - 1], axis=1).astype(np.float64)
    return np.split(points, np.searchsorted(particle, np.arange(1, runs.count))) if runs.count else []


def _without(start: IntArray, end: IntArray, other: IntArray, other_end: IntArray) -> tuple[IntArray, IntArray]:
    """What of the intervals [start, end) lies in none of the others; either kind does not overlap itself."""
    at = np.concatenate([start, end, other, other_end])
    order = np.argsort(at, kind="stable")
    steps = np.repeat([[1, -1, 0, 0], [0, 0, 1, -1]], [len(start), len(end), len(other), len(other)], axis=1)[:, order]
    inside, covered = np.cumsum(steps, axis=1)[:, :-1]
    low, high = at[order][:-1], at[order][1:]
    kept = (inside > 0) & (covered == 0) & (high > low)
    return low[kept], high[kept]


# ---------------------------------------------------------------------------------------------- of rotated boxes


def of_polygons(corners: FloatArray) -> tuple[Contacts, FloatArray]:
    """N convex polygons of M corners (N, M, 2) x, y px → their contacts, and the distance (N,) px to the nearest other.

    shared is in px²; 0 where edges meet and no more.
    """
    shapes = shapely.polygons(corners) if len(corners) else np.empty(0, object)
    tree = shapely.STRtree(shapes)
    first, second = tree.query(shapes, predicate="intersects")
    first, second = first[first < second], second[first < second]
    shared = np.asarray(shapely.area(shapely.intersection(shapes[first], shapes[second])), np.float64)
    found = Contacts(len(shapes), first.astype(np.int64), second.astype(np.int64), shared)
    nearest = np.full(len(shapes), np.nan)
    if len(shapes) > 1:
        (place, _), apart = tree.query_nearest(shapes, exclusive=True, return_distance=True, all_matches=False)
        nearest[place] = apart
    nearest[found.first] = nearest[found.second] = 0.0  # of two that are equal as well, which the search leaves out
    return found, nearest

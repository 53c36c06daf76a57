"""Which of many star-convex polygons are particles: greedy suppression by overlap, as in the ``stardist`` package.

In descending score, a polygon drops all that overlap it by more than a share of the smaller area. Three things make
that fast without changing what remains: a few polygons stand for all (:func:`survivors`), boxes tell most that are
apart, and the area that a polygon shares with one around the same point is a sum over its corners. Only what is nearly
decided by that is cut exactly. Corners of the package's polygons are rounded to whole px; ours are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]
AROUND = 5
"""Of so many cells along a side, the best one stands for the others at first."""
MARGIN, DOUBT = 0.1, 0.03
"""A share of the smaller area that comes so near to the overlap asked for, or changes so much with the number of points
that it is estimated from, is computed exactly."""
CHUNK = 8192
"""Pairs at once: what they need fits a processor's cache."""


@dataclass(frozen=True, slots=True)
class Stars:
    """N star-convex polygons. centres (N, 2) float64 row, column px; radii (N, rays) float64 > 0 px."""

    centres: Reals
    radii: Reals

    def corners(self) -> Reals:
        """(N, rays, 2) x, y px."""
        turns = np.arange(self.radii.shape[1]) * (2 * np.pi / self.radii.shape[1])
        turned = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return np.asarray(self.centres[:, None, ::-1] + self.radii[..., None] * turned, np.float64)

    def areas(self) -> Reals:
        """(N,) px: triangles between neighbouring rays."""
        apart = np.sin(2 * np.pi / self.radii.shape[1])
        return np.asarray(0.5 * apart * (self.radii * np.roll(self.radii, -1, axis=1)).sum(axis=1), np.float64)


def survivors(stars: Stars, overlap: float, spacing: float = 1.0) -> Index:
    """Of N polygons in descending score, which remain: indices, ascending.

    overlap: polygons that share more than that of the smaller one's area are the same. spacing: of the grid that the
    centres lie on, px.

    Some stand for all: the best of their surroundings. Where the greedy choice among them alone drops every other
    polygon, each by a better one, the greedy choice among all is the same, by induction from the best down. What is
    not dropped joins them, and the choice is made again.
    """
    pool = _Pool(stars, overlap)
    cells = np.round(stars.centres / spacing).astype(np.int64)
    standing = _best_around(cells, np.ones(len(cells), bool))
    dropped_by = np.full(len(cells), -1, np.int64)
    while True:
        chosen = np.flatnonzero(standing)
        winners = pool.greedy(chosen)
        wins = np.zeros(len(cells), bool)
        wins[winners] = True
        open_ = ~standing & ~((dropped_by >= 0) & wins[dropped_by])
        first, second = pool.dropped(winners, open_)
        dropped_by[second] = first
        open_[second] = False
        if not open_.any():
            return winners
        standing |= _best_around(cells, open_)


def ious(stars: Stars, others: Stars) -> Reals:
    """IoU of each of P polygons with the other of its place (P,), 0 to 1; nearly: from twice as many points as rays."""
    found = np.zeros(len(stars.radii))
    for part in (slice(start, start + CHUNK) for start in range(0, len(found), CHUNK)):
        one, other = (Stars(each.centres[part], each.radii[part]) for each in (stars, others))
        areas = np.stack([one.areas(), other.areas()])
        shared = np.minimum(_shared_nearly(one, other.corners())[0], areas.min(axis=0))
        found[part] = shared / np.maximum(areas.sum(axis=0) - shared, np.finfo(np.float64).tiny)
    return found


def _best_around(cells: Index, among: Flags) -> Flags:
    """Which polygons (N,), in descending score, are the best of those ``among`` in the cells around theirs."""
    found = np.zeros(len(cells), bool)
    index = np.flatnonzero(among)
    if not len(index):
        return found
    places = cells[index] - cells[index].min(axis=0)
    ranks = np.zeros(places.max(axis=0) + 1, np.float32)  # exact up to 16 million
    np.maximum.at(ranks, tuple(places.T), len(cells) - index.astype(np.float32))
    best = cv2.dilate(ranks, np.ones((AROUND, AROUND), np.uint8))
    found[index] = best[tuple(places.T)] == len(cells) - index
    return found


def _area(points: NDArray[np.float32]) -> Reals:
    """Of closed lines (P, K, 2), signed (P,), px."""
    x, y = points[..., 0], points[..., 1]
    return np.asarray(0.5 * (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1), np.float64)


def _shared_nearly(hull: Stars, corners: Reals) -> tuple[Reals, Reals]:
    """Area (P,) that each polygon ``hull`` and that of the corners (P, rays, 2) share, px, and from half the points.

    Corners, and the middles of sides, that lie outside ``hull`` are drawn in along rays from its centre. Drawing in
    every point of the outline would give the very area: it moves nothing across what they share.
    """
    rays = hull.radii.shape[1]
    step = 2 * np.pi / rays
    ends = (corners - hull.centres[:, None, ::-1]).astype(np.float32)
    middles = (ends + np.roll(ends, -1, axis=1)) / 2
    points = np.stack([ends, middles], axis=2).reshape(len(ends), 2 * rays, 2)
    x, y = points[..., 0], points[..., 1]
    turn = np.arctan2(y, x) * np.float32(1 / step)
    ray = np.floor(turn)
    past = (turn - ray) * np.float32(step)
    place = ray.astype(np.int64) % rays + (np.arange(len(ends)) * rays)[:, None]
    mine = hull.radii.astype(np.float32)
    near, next_ = mine.ravel()[place], np.roll(mine, -1, axis=1).ravel()[place]
    edge = near * next_ * np.float32(np.sin(step)) / (near * np.sin(past) + next_ * np.sin(np.float32(step) - past))
    inward = np.minimum(1, edge / np.maximum(np.hypot(x, y), np.float32(1e-6)))
    drawn = points * inward[..., None]
    return _area(drawn), _area(drawn[:, ::2])


class _Pool:
    def __init__(self, stars: Stars, overlap: float) -> None:
        self._stars, self._overlap = stars, overlap
        self._corners, self._areas = stars.corners(), stars.areas()
        self._boxes = np.concatenate([self._corners.min(axis=1), self._corners.max(axis=1)], axis=1)
        self._frames = shapely.box(*self._boxes.T)

    def greedy(self, chosen: Index) -> Index:
        """Those of the chosen (ascending) that no better one of them drops."""
        first, second = self._near(chosen, chosen)
        first, second = first[second > first], second[second > first]
        same = self._same(first, second)
        first, second = first[same], second[same]
        order = np.lexsort((second, first))
        alive = np.ones(len(self._areas), bool)
        for winner, other in zip(first[order].tolist(), second[order].tolist(), strict=True):
            if alive[winner]:  # in order of the winners: theirs is settled
                alive[other] = False
        return chosen[alive[chosen]]

    def dropped(self, winners: Index, among: Flags) -> tuple[Index, Index]:
        """(winner, other) for the others ``among`` all that some better winner drops; each once or more."""
        first, second = self._near(winners, np.flatnonzero(among))
        first, second = first[second > first], second[second > first]
        same = self._same(first, second)
        return first[same], second[same]

    def _near(self, some: Index, others: Index) -> tuple[Index, Index]:
        """Pairs whose boxes meet."""
        one, other = shapely.STRtree(self._frames[others]).query(self._frames[some])
        return some[one], others[other]

    def _same(self, first: Index, second: Index) -> Flags:
        """Which pairs (P,) share more than the overlap of the smaller one's area."""
        smaller = np.minimum(self._areas[first], self._areas[second])
        one, other = self._boxes[first], self._boxes[second]
        sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
        near = np.flatnonzero(sides.clip(0).prod(axis=1) > self._overlap * smaller)
        same = np.zeros(len(first), bool)
        for part in np.split(near, range(CHUNK, len(near), CHUNK)):
            larger = self._areas[first[part]] >= self._areas[second[part]]
            hull, held = np.where(larger, [first[part], second[part]], [second[part], first[part]])
            whole = Stars(self._stars.centres[hull], self._stars.radii[hull])
            share, coarse = (each / smaller[part] for each in _shared_nearly(whole, self._corners[held]))
            same[part] = share > self._overlap + MARGIN
            rest = part[(np.abs(share - self._overlap) <= MARGIN) | (np.abs(share - coarse) > DOUBT)]
            same[rest] = self._shared(first[rest], second[rest]) > self._overlap * smaller[rest]
        return same

    def _shared(self, first: Index, second: Index) -> Reals:
        """Area that both of each pair (P,) cover, px; exact."""
        if not len(first):
            return np.zeros(0)
        used, place = np.unique(np.concatenate([first, second]), return_inverse=True)
        polygons = shapely.polygons(self._corners[used])
        bad = ~shapely.is_valid(polygons)  # rays of no length
        polygons[bad] = shapely.make_valid(polygons[bad])
        one, other = polygons[place[: len(first)]], polygons[place[len(first) :]]
        areas: Reals = shapely.area(shapely.intersection(one, other))
        return areas

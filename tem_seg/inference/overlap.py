"""How much particles of one micrograph share, for the pairs that may share anything: never all against all."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from tem_seg.core.geometry import rotated_boxes_corners
from tem_seg.core.types import Prediction, Rle
from tem_seg.data.rle import column_pieces

Areas = NDArray[np.float64]
Index = NDArray[np.int64]
PIECES_AT_ONCE = 1 << 22
SLACK = 1e-9
"""Of a bound, for rounding."""


class Cover(Protocol):
    """What N particles cover, as masks or as boxes. Windows are (P, 4) int64 xyxy px, half-open, one a pair."""

    extents: Areas
    """(N, 4) xyxy px: nothing lies outside."""

    def areas(self, index: Index, windows: Index | None = None) -> Areas:
        """px covered by the particles ``index`` (P,), inside ``windows`` if given → (P,)."""
        ...

    def shared(self, first: Index, second: Index) -> Areas:
        """px covered by both particles of each pair → (P,)."""
        ...


def cover_of(prediction: Prediction) -> Cover:
    """Masks where there are any, else rotated boxes, else boxes: rods side by side at 45° share most of their upright
    boxes and none of their area."""
    if prediction.masks is not None:
        return MaskCover(prediction.masks)
    if prediction.rotated_boxes is not None:
        return PolygonCover(_rotated(prediction.rotated_boxes))
    return PolygonCover(_upright(prediction.boxes))


def pairs(cover: Cover) -> tuple[Index, Index]:
    """Pairs (i, j), i < j, (P,) each, of all particles whose extents meet, in order of i, then j."""
    x1, y1, x2, y2 = cover.extents.T
    some = np.flatnonzero((x2 > x1) & (y2 > y1))
    frames = shapely.box(x1[some], y1[some], x2[some], y2[some])
    one, other = shapely.STRtree(frames).query(frames)
    first, second = some[one], some[other]
    ordered = first < second
    first, second = first[ordered], second[ordered]
    order = np.lexsort((second, first))
    return first[order], second[order]


def iou(cover: Cover, first: Index, second: Index) -> Areas:
    """Intersection over union of each pair (P,) in [0, 1]; 0 where neither covers anything."""
    shared = cover.shared(first, second)
    union = cover.areas(first) + cover.areas(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def may_reach(cover: Cover, first: Index, second: Index, threshold: float) -> NDArray[np.bool_]:
    """Which pairs (P,) can have an IoU of ``threshold``, by their areas and extents alone."""
    one, other = cover.extents[first], cover.extents[second]
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    areas = cover.areas(np.arange(len(cover.extents)))
    most = np.minimum(np.maximum(sides, 0.0).prod(axis=1), np.minimum(areas[first], areas[second]))
    return np.asarray(most * (1 + SLACK) >= threshold * (areas[first] + areas[second] - most), np.bool_)


class MaskCover:
    """Masks as vertical runs, all in one sorted list: a pair costs the runs of its second mask."""

    def __init__(self, masks: list[Rle]) -> None:
        height, width = masks[0]["size"] if masks else (0, 0)
        owner, column, top, bottom = column_pieces(masks)
        self._column, self._top, self._bottom = column, top, bottom
        self._first = np.searchsorted(owner, np.arange(len(masks) + 1))
        # one axis for all masks: pixel (row, column) of mask i lies at (i * width + column) * height + row
        self._origin = np.arange(len(masks)) * (width * height)
        self._height = height
        self._starts = self._origin[owner] + column * height + top
        self._lengths = bottom - top
        self._before = np.cumsum(self._lengths) - self._lengths
        self.extents = self._extents(len(masks))

    def _extents(self, count: int) -> Areas:
        extents = np.zeros((count, 4))
        some = np.flatnonzero(np.diff(self._first))
        begin, end = self._first[some], self._first[some + 1] - 1
        if len(some):
            extents[some, 0], extents[some, 2] = self._column[begin], self._column[end] + 1
            extents[some, 1] = np.minimum.reduceat(self._top, begin)
            extents[some, 3] = np.maximum.reduceat(self._bottom, begin)
        return extents

    def areas(self, index: Index, windows: Index | None = None) -> Areas:
        """See Cover."""
        if windows is None:
            ends = np.r_[self._before, self._lengths.sum()]
            covered: Index = ends[self._first[index + 1]] - ends[self._first[index]]
            return covered.astype(np.float64)
        place, owner = self._pieces(index)
        x0, y0, x1, y1 = windows[owner].T
        rows = np.minimum(self._bottom[place], y1) - np.maximum(self._top[place], y0)
        inside = (self._column[place] >= x0) & (self._column[place] < x1) & (rows > 0)
        return np.bincount(owner, weights=np.where(inside, rows, 0), minlength=len(index)).astype(np.float64)

    def shared(self, first: Index, second: Index) -> Areas:
        """See Cover."""
        pieces = np.cumsum(np.diff(self._first)[second])
        found, begin = [np.zeros(0)], 0
        while begin < len(first):  # so many pairs at once as fit into memory
            done = pieces[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(pieces, done + PIECES_AT_ONCE)))
            found.append(self._shared(first[begin:end], second[begin:end]))
            begin = end
        return np.concatenate(found)

    def _shared(self, first: Index, second: Index) -> Areas:
        place, owner = self._pieces(second)
        start = self._origin[first][owner] + self._column[place] * self._height + self._top[place]
        covered = self._covered_before(start + self._lengths[place]) - self._covered_before(start)
        return np.bincount(owner, weights=covered, minlength=len(first)).astype(np.float64)

    def _covered_before(self, position: Index) -> Index:
        """Number of pixels, of all masks, that lie before a position on the common axis."""
        run = np.searchsorted(self._starts, position, side="right") - 1
        return np.where(run >= 0, self._before[run] + np.minimum(position - self._starts[run], self._lengths[run]), 0)

    def _pieces(self, index: Index) -> tuple[Index, Index]:
        """Runs of the masks ``index`` (P,), and which of the P each belongs to."""
        counts = np.diff(self._first)[index]
        owner = np.repeat(np.arange(len(index)), counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._first[index][owner] + number, owner


class PolygonCover:
    """Convex polygons, exact; an empty one covers nothing."""

    def __init__(self, polygons: NDArray[np.object_]) -> None:
        self._polygons = polygons
        self.extents = np.nan_to_num(shapely.bounds(self._polygons).reshape(-1, 4))

    def areas(self, index: Index, windows: Index | None = None) -> Areas:
        """See Cover."""
        found = self._polygons[index]
        if windows is not None:
            found = shapely.intersection(found, shapely.box(*windows.astype(np.float64).T))
        return np.asarray(shapely.area(found), np.float64)

    def shared(self, first: Index, second: Index) -> Areas:
        """See Cover."""
        return np.asarray(shapely.area(shapely.intersection(self._polygons[first], self._polygons[second])), np.float64)


def _polygons(corners: Areas, solid: NDArray[np.bool_]) -> NDArray[np.object_]:
    """(N, 4, 2) x, y px → polygons; empty ones where a box has no sides to speak of."""
    polygons = np.full(len(corners), shapely.Polygon(), object)
    polygons[solid] = shapely.polygons(corners[solid])
    return polygons


def _rotated(boxes: NDArray[np.float32]) -> NDArray[np.object_]:
    solid = np.asarray(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:4] > 0).all(axis=1))
    return _polygons(rotated_boxes_corners(np.where(solid[:, None], boxes, 0.0)), solid)


def _upright(boxes: NDArray[np.float32]) -> NDArray[np.object_]:
    solid = np.asarray(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    corners = boxes.astype(np.float64)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    return _polygons(corners, solid)

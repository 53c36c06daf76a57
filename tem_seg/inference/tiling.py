"""Micrographs too large to be looked at in one piece: overlapping tiles, and particles put together across seams.

A particle that a tile's seam cuts is seen whole by a neighbour, if it is no larger than the overlap; the cut one then
yields. A larger one is cut in every tile: its pieces, which agree wherever two tiles see the same ground, are joined,
whatever class each was given. Particles that touch share no ground, so they stay apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from tem_seg.core.components import components
from tem_seg.core.geometry import rotated_box_corners, rotated_box_of_points
from tem_seg.core.types import Prediction, Rle
from tem_seg.data import rle
from tem_seg.inference.instances import by_score, concatenate, keep, shifted
from tem_seg.inference.merging import without_repetitions
from tem_seg.inference.overlap import Areas, Cover, Index, cover_of, may_reach, pairs

STEP_PX = 64
"""Tiles begin at multiples of the pyramid's coarsest stride, so that anchors lie where they lie in the whole."""
SEAM_PX = 2.0
SEAM_SHARE = 0.1
"""A box that comes closer to a seam than so many px of the look, or this share of its own side, is cut by it."""
CUT_RANK = 0.5
"""What is cut counts with this share of its score where it stands against what is whole: soft at seams."""
INSIDE = 0.7
"""A cut piece that lies in another particle with this share of its area is a part of it."""
SLIVER_PX = 8.0
"""Of a piece that reaches no further from its seam, px of the look, the box decides: a mask of it is guesswork."""


def tiles(size: tuple[int, int], tile_px: int, overlap_px: int, scale: float = 1.0) -> Index:
    """Windows (T, 4) int64 xyxy px of a micrograph ``size`` (H, W) that cover it, row by row.

    tile_px, overlap_px: px as shown at the magnification ``scale``: no tile is larger, neighbours overlap by at least
    so much (to the rounding of one px). One window, the whole, where it is no larger than a tile.
    """
    rows, columns = (_spans(length, tile_px, overlap_px, scale) for length in size)
    return np.array([[x0, y0, x1, y1] for y0, y1 in rows for x0, x1 in columns], np.int64)


def _spans(length: int, tile_px: int, overlap_px: int, scale: float) -> list[tuple[int, int]]:
    shown = round(length * scale)
    if shown <= tile_px:
        return [(0, length)]
    longest = (tile_px - overlap_px) // STEP_PX * STEP_PX
    if longest < STEP_PX:
        raise ValueError(f"tiles of {tile_px} px cannot overlap by {overlap_px} px: {STEP_PX} px have to be left")
    count = math.ceil((shown - overlap_px) / longest)
    step = math.ceil((shown - overlap_px) / count / STEP_PX) * STEP_PX  # tiles of about the same size
    starts = range(0, shown - overlap_px, step)
    ends = [round((start + step + overlap_px) / scale) for start in starts[:-1]]
    return list(zip((round(start / scale) for start in starts), [*ends, length], strict=True))


def joined(
    found: Sequence[Prediction], windows: Index, size: tuple[int, int], threshold: float, scale: float = 1.0
) -> Prediction:  # fmt: skip
    """What was found in each of T windows (T, 4), in the window's own frame → one prediction of the micrograph (H, W).

    threshold: the IoU from which two are the same particle. Every particle once, in descending score; see the module.
    """
    seen = [_at_seams(part, window, size, scale) for part, window in zip(found, windows.tolist(), strict=True)]
    parts = [shifted(part, window[0], window[1], size) for part, window in zip(found, windows.tolist(), strict=True)]
    everything = concatenate(parts)
    cut, sliver = np.concatenate([each[0] for each in seen]), np.concatenate([each[1] for each in seen])
    rank = everything.scores * np.where(cut, CUT_RANK, 1.0)
    order = np.argsort(-rank, kind="stable")
    tile = np.repeat(np.arange(len(found)), [len(part) for part in found])[order]
    pool = _Pool(keep(everything, order), tile, windows, cut[order], sliver[order], threshold)
    return without_repetitions(pool.resolved(), threshold)


def _at_seams(
    found: Prediction, window: list[int], size: tuple[int, int], scale: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which particles (N,) of a window reach one of its inner sides, and which are slivers there.

    Boxes are in the window's own frame.
    """
    x0, y0, x1, y1 = window
    boxes = found.boxes.astype(np.float64)
    near = np.maximum(SEAM_PX / scale, SEAM_SHARE * (boxes[:, 2:] - boxes[:, :2]))
    from_start, from_end = boxes[:, :2], [x1 - x0, y1 - y0] - boxes[:, 2:]
    starts, ends = np.array([x0, y0]) > 0, np.array([x1, y1]) < [size[1], size[0]]
    at_start, at_end = (from_start <= near) & starts, (from_end <= near) & ends
    thin = SLIVER_PX / scale
    sliver = (at_start & (boxes[:, 2:] <= thin)) | (at_end & ([x1 - x0, y1 - y0] - boxes[:, :2] <= thin))
    return np.asarray((at_start | at_end).any(axis=1), bool), np.asarray(sliver.any(axis=1), bool)


class _Pool:
    """Everything that any tile saw, in the micrograph's frame, best rank first."""

    def __init__(
        self, found: Prediction, tile: Index, windows: Index, cut: NDArray[np.bool_], sliver: NDArray[np.bool_],
        threshold: float,
    ) -> None:  # fmt: skip
        self._found, self._tile, self._windows, self._threshold = found, tile, windows, threshold
        self._cut, self._sliver = cut, sliver
        cover = cover_of(found)
        first, second = pairs(cover)
        seams = (tile[first] != tile[second]) & (cut[first] | cut[second])
        likely = seams | may_reach(cover, first, second, threshold)
        self._first, self._second, self._seams = first[likely], second[likely], seams[likely]
        self._alike, self._agree, self._inside = self._compare(cover)

    def _compare(self, cover: Cover) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each pair: the same (class and IoU); the same on the ground that both tiles see; the later one a part of
        the earlier."""
        first, second = self._first, self._second
        shared = cover.shared(first, second)
        whole, other = cover.areas(first), cover.areas(second)
        same_class = self._found.labels[first] == self._found.labels[second]
        alike = same_class & _reach(shared, whole + other - shared, self._threshold)
        one, two = self._windows[self._tile[first]], self._windows[self._tile[second]]
        ground = np.concatenate([np.maximum(one[:, :2], two[:, :2]), np.minimum(one[:, 2:], two[:, 2:])], axis=1)
        either = cover.areas(first, ground) + cover.areas(second, ground) - shared
        agree = self._seams & _reach(shared, either, self._threshold)
        boxed = self._sliver[second] & _reach(*self._shared_boxes(), INSIDE)
        inside = self._seams & self._cut[second] & (boxed | _reach(shared, other, INSIDE))
        return alike, agree, inside

    def _shared_boxes(self) -> tuple[Areas, Areas]:
        """Of each pair: what the boxes share, and the later one's box, px."""
        one, two = (self._found.boxes[index].astype(np.float64) for index in (self._first, self._second))
        sides = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])
        return np.maximum(sides, 0.0).prod(axis=1), (two[:, 2:] - two[:, :2]).prod(axis=1)

    def resolved(self) -> Prediction:
        """Whole particles, what stays cut, and what was joined."""
        kept = np.ones(len(self._found), bool)
        links: list[tuple[int, int]] = []
        relations = zip(
            self._first.tolist(), self._second.tolist(), self._alike.tolist(), self._agree.tolist(),
            self._inside.tolist(), strict=True,
        )  # fmt: skip
        for better, other, alike, agree, inside in relations:
            if not kept[better] or not kept[other]:
                continue
            if agree and self._cut[better]:
                links.append((better, other))
            elif alike or inside or (agree and self._cut[other]):
                kept[other] = False
        return self._joined(kept, [link for link in links if kept[link[0]] and kept[link[1]]])

    def _joined(self, kept: NDArray[np.bool_], links: list[tuple[int, int]]) -> Prediction:
        one, other = np.array(links, np.int64).reshape(-1, 2).T
        group = components(len(kept), one, other)
        members = np.bincount(group, weights=kept, minlength=len(kept))[group]
        single = keep(self._found, kept & (members == 1))
        several = np.flatnonzero(kept & (members > 1))
        groups: dict[int, list[int]] = {}
        for index in several.tolist():
            groups.setdefault(int(group[index]), []).append(index)
        unions = [_union(keep(self._found, np.array(found))) for found in groups.values()]
        return concatenate([single, *unions]) if unions else single


def _reach(part: Areas, whole: Areas, share: float) -> NDArray[np.bool_]:
    return (whole > 0) & (part >= share * whole)


# ----------------------------------------------------------------------------------------------------- unions


def _union(pieces: Prediction) -> Prediction:
    """Pieces of one particle → the particle, with the best piece's score and class.

    Its outline is that of the pieces' outlines together, its edge as uncertain as that of the most uncertain piece.
    """
    best = keep(by_score(pieces), np.array([0]))
    low, high = pieces.boxes[:, :2].min(axis=0), pieces.boxes[:, 2:].max(axis=0)
    changes: dict[str, object] = {"boxes": np.concatenate([low, high])[None].astype(np.float32)}
    if pieces.masks is not None:
        changes["masks"] = [_merged(pieces.masks)]
    if pieces.rotated_boxes is not None:
        corners = np.concatenate([rotated_box_corners(box) for box in pieces.rotated_boxes])
        changes["rotated_boxes"] = np.array([rotated_box_of_points(corners)], np.float32)
    if pieces.contours is not None:
        changes["contours"] = [_outer(pieces.contours)]
    if pieces.edge_sd_px is not None:
        changes["edge_sd_px"] = np.array([np.fmax.reduce(pieces.edge_sd_px)], np.float32)
    return dataclasses.replace(best, **changes)  # type: ignore[arg-type]


def _merged(masks: list[Rle]) -> Rle:
    """Union, as large in memory as the box around."""
    crops = [rle.decode_crop(mask) for mask in masks]
    x0, y0 = min(x for crop, x, _ in crops if crop.size), min(y for crop, _, y in crops if crop.size)
    width = max(x + crop.shape[1] for crop, x, _ in crops) - x0
    height = max(y + crop.shape[0] for crop, _, y in crops) - y0
    canvas = np.zeros((height, width), bool)
    for crop, x, y in crops:
        canvas[y - y0 : y - y0 + crop.shape[0], x - x0 : x - x0 + crop.shape[1]] |= crop
    return rle.encode_crop(canvas, x0, y0, (masks[0]["size"][0], masks[0]["size"][1]))


def _outer(contours: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Outline of the union of outlines: its largest part, without holes, running as the first one does."""
    areas = [shapely.make_valid(shapely.Polygon(contour)) for contour in contours if len(contour) > 2]
    together = shapely.get_parts(shapely.union_all(areas)) if areas else np.array([])
    if not len(together):
        return np.zeros((0, 2), np.float32)
    largest = together[np.argmax(shapely.area(together))]
    if largest.geom_type != "Polygon":
        return np.zeros((0, 2), np.float32)
    given = next(contour for contour in contours if len(contour) > 2)
    points = np.asarray(largest.exterior.coords, np.float32)[:-1]
    return points if largest.exterior.is_ccw == shapely.LinearRing(given).is_ccw else points[::-1]

"""Lines of text beside a scale bar, as coverages: what is ink is guessed in several ways, and each is tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.data.scalebar_bars import Bar, Grey, Mask
from tem_seg.data.scalebar_glyphs import Coverage

FRACTIONS = (0.5, 0.7, 0.85)
"""Where between background and ink the letters are cut out."""
HEIGHTS = (6, 0.16)
"""Of a line: px, and share of the image's height."""
LEAST_INK = 20.0
"""Grey levels between background and ink."""
MOST_PARTS, MOST_IN_LINE = 600, 24
REACH = 0.17
"""How far beyond the bar's rectangle a label may end: share of the image's height; twice that sideways."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text: ink (h, w) in [0, 1], boxes (N, 4) x0, y0, x1, y1 of its parts in it.

    place: its rectangle in the image. beside: it stands left or right of the bar, not above or below.
    """

    ink: Coverage
    boxes: NDArray[np.intp]
    place: tuple[int, int, int, int]
    beside: bool
    ground: float
    """Grey level of its background."""


def lines_near(grey: Grey, bar: Bar) -> Iterator[Line]:
    """Lines of text that may be the bar's label, darker and brighter than what surrounds them."""
    x0, y0, x1, y1 = bar.box
    reach = round(REACH * grey.shape[0])
    left, top = max(0, x0 - 2 * reach), max(0, y0 - reach)
    region = grey[top : y1 + reach, left : x1 + 2 * reach]
    moved = (x0 - left, y0 - top, x1 - left, y1 - top)
    ground = _ground(region, moved)
    for bright in (bar.bright, not bar.bright):
        level = bar.grey if bright == bar.bright else float(np.percentile(region, 99.5 if bright else 0.5))
        if (level - ground) * (1 if bright else -1) < LEAST_INK:
            continue
        for fraction in FRACTIONS:
            cut = ground + fraction * (level - ground)
            mask = region > cut if bright else region < cut
            mask[max(moved[1] - 1, 0) : moved[3] + 1, max(moved[0] - 1, 0) : moved[2] + 1] = False
            yield from _lines(region, mask, moved, (left, top), HEIGHTS[1] * grey.shape[0])


def _ground(region: Grey, bar: tuple[int, int, int, int]) -> float:
    """The grey right around the bar: an info strip's, not the micrograph's above it."""
    wide = max(6, 2 * (bar[3] - bar[1]))
    around = np.zeros(region.shape, bool)
    around[max(bar[1] - wide, 0) : bar[3] + wide, max(bar[0] - wide, 0) : bar[2] + wide] = True
    around[max(bar[1] - 2, 0) : bar[3] + 2, max(bar[0] - 2, 0) : bar[2] + 2] = False
    return float(np.median(region[around]))


def _lines(
    region: Grey, mask: Mask, bar: tuple[int, int, int, int], corner: tuple[int, int], highest: float
) -> Iterator[Line]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    size = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    keep = (size[:, 1] <= highest) & (size[:, 0] <= 6 * highest) & (stats[:, cv2.CC_STAT_AREA] >= 3)
    keep[0] = False
    which = np.flatnonzero(keep)
    if not 0 < len(which) <= MOST_PARTS:
        return
    boxes = np.concatenate([stats[which, :2], stats[which, :2] + size[which]], axis=1).astype(np.intp)
    for group in _groups(boxes):
        place = _place(boxes[group], bar)
        if place is not None:
            line = _cut_out(region, np.asarray(labels, np.int32), which[group], boxes[group], corner, place)
            if line is not None:
                yield line


def _groups(boxes: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Parts that stand in one line: side by side, at like heights."""
    x0, y0, x1, y1 = (boxes[:, k].astype(np.float64) for k in range(4))
    height = y1 - y0
    gap = np.maximum(x0[:, None], x0[None]) - np.minimum(x1[:, None], x1[None])
    shared = np.minimum(y1[:, None], y1[None]) - np.maximum(y0[:, None], y0[None])
    tall, small = np.maximum(height[:, None], height[None]), np.minimum(height[:, None], height[None])
    linked = (gap <= 0.95 * tall) & (shared >= 0.5 * small) & (tall <= 12 * small)
    left = np.ones(len(boxes), bool)
    while left.any():
        group = np.zeros(len(boxes), bool)
        group[np.argmax(left)] = True
        while (grown := group | linked[group].any(axis=0)).sum() > group.sum():
            group = grown
        left &= ~group
        if 2 <= group.sum() <= MOST_IN_LINE:
            yield np.flatnonzero(group)


def _place(boxes: NDArray[np.intp], bar: tuple[int, int, int, int]) -> bool | None:
    """False: above or below the bar, True: beside it, None: not its label."""
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = boxes[:, 2:].max(axis=0)
    height = int((boxes[:, 3] - boxes[:, 1]).max())
    if height < HEIGHTS[0] or x1 - x0 < height:
        return None
    shared = min(x1, bar[2]) - max(x0, bar[0])
    gap_y = max(y0 - bar[3], bar[1] - y1)
    if shared >= 0.5 * min(x1 - x0, bar[2] - bar[0]) and gap_y <= 3 * height:
        return False if gap_y >= 1 else None  # a letter's foot is no bar
    middle = (bar[1] + bar[3]) / 2
    gap_x = max(x0 - bar[2], bar[0] - x1)
    if y0 - 0.5 * height <= middle <= y1 + 0.5 * height and 0 <= gap_x <= 4 * height:
        return True
    return None


def _cut_out(
    region: Grey, labels: NDArray[np.int32], which: NDArray[np.intp], boxes: NDArray[np.intp],
    corner: tuple[int, int], beside: bool,
) -> Line | None:  # fmt: skip
    """The line's ink over its own background, nothing else in it."""
    margin = 3
    x0, y0 = np.maximum(boxes[:, :2].min(axis=0) - margin, 0)
    x1, y1 = boxes[:, 2:].max(axis=0) + margin
    here = region[y0:y1, x0:x1].astype(np.float32)
    ink = np.isin(labels[y0:y1, x0:x1], which)
    near = cv2.dilate(ink.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if near.all():
        return None
    ground = float(np.median(here[~near]))
    difference = here - np.float32(ground)
    sign = 1.0 if float(np.median(difference[ink])) > 0 else -1.0
    full = float(np.percentile(sign * difference[ink], 80))
    if full < LEAST_INK:
        return None
    coverage = np.clip(sign * difference / full, 0.0, 1.0) * near
    shifted = boxes - np.array([x0, y0, x0, y0])
    place = (int(x0) + corner[0], int(y0) + corner[1], int(x1) + corner[0], int(y1) + corner[1])
    return Line(coverage.astype(np.float32), shifted, place, beside, ground)

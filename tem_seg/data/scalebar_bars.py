"""Burnt-in scale bars: long, thin, uniform, horizontal rectangles, and their lengths to ± 1 px."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]

LEVELS = (250, 228, 200, 170, 140)
"""Grey levels from which a pixel may belong to a bright bar; 255 − level and less for dark ones."""
SHORTEST_PX = 10
SHARE_OF_WIDTH = (0.03, 0.6)
THICKEST = 0.34
"""Of the length."""
END_TOLERANCE_PX = 2
UNIFORM_SD = 16.0
CONTRAST = 24.0
"""Grey levels between the bar and what lies beside it."""
CLEAR_SIDE = 0.65
"""Share of a long side along which the bar must stand out (letters may touch it)."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar's rectangle (x0, y0, x1, y1 px, half-open), its grey, its length and how well that is known (± px)."""

    box: tuple[int, int, int, int]
    grey: float
    contrast: float
    length_px: float = 0.0
    error_px: float = 1.0
    cut: bool = False
    """It reaches the image's border: how long it was is not known."""

    @property
    def ground(self) -> float:
        """Grey level above and below it."""
        return self.grey - self.contrast

    @property
    def bright(self) -> bool:
        """Whether it is lighter than the ground above and below it."""
        return self.contrast > 0


def find_bars(grey: Grey) -> list[Bar]:
    """grey (H, W) uint8 → the bars in it, strongest contrast first."""
    found: list[Bar] = []
    seen: set[tuple[int, int, int, int]] = set()
    for bright in (True, False):
        for level in LEVELS:
            mask = grey >= level if bright else grey <= 255 - level
            for box in set(_rectangles(mask)) - seen:
                seen.add(box)
                bar = _judge(grey, box)
                if bar is not None and bar.bright == bright:
                    found.append(bar)
    found.sort(key=lambda bar: (-abs(bar.contrast), bar.box))
    kept: list[Bar] = []
    for bar in found:
        if not any(overlap(bar.box, other.box) > 0.4 for other in kept):
            kept.append(bar)
    return [_measured(grey, bar) for bar in kept]


def _rectangles(mask: Mask) -> Iterator[tuple[int, int, int, int]]:
    """Rectangles of rows whose runs of True begin and end alike."""
    low, high = (share * mask.shape[1] for share in SHARE_OF_WIDTH)
    open_: list[list[int]] = []  # x0, y0, x1, y1, growing downwards
    rows, starts, ends = _runs(mask, max(SHORTEST_PX, low))
    for y, x0, x1 in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
        for done in [box for box in open_ if box[3] < y]:
            open_.remove(done)
            yield done[0], done[1], done[2], done[3]
        if x1 - x0 > high:
            continue
        for box in open_:
            if max(abs(box[0] - x0), abs(box[2] - x1)) <= END_TOLERANCE_PX:
                box[0], box[2], box[3] = min(box[0], x0), max(box[2], x1), y + 1
                break
        else:
            open_.append([x0, y, x1, y + 1])
    for box in open_:
        yield box[0], box[1], box[2], box[3]


def _runs(mask: Mask, shortest: float) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows, starts and ends (half-open) of the runs of True of at least ``shortest`` px, row by row."""
    framed = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    framed[:, 1:-1] = mask
    steps = np.diff(framed, axis=1)
    begin, end = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    long = end - begin >= shortest
    rows, starts = np.divmod(begin[long], steps.shape[1])
    return rows, starts, end[long] - rows * steps.shape[1]


def _judge(grey: Grey, box: tuple[int, int, int, int]) -> Bar | None:
    """The rectangle as a bar, where it is thin, uniform and stands out on all sides that it has."""
    x0, y0, x1, y1 = box
    if not 0 < y1 - y0 <= THICKEST * (x1 - x0):
        return None
    inside = grey[y0:y1, x0 + 1 : x1 - 1].astype(np.float32)
    level = float(np.median(inside))
    if np.abs(inside - level).mean() > UNIFORM_SD:
        return None
    sides = [grey[max(y0 - 3, 0) : max(y0 - 1, 0), x0:x1], grey[y1 + 1 : y1 + 3, x0:x1]]
    if not all(side.size for side in sides):
        return None  # at the very border: what is there may be the edge of a box
    steps = [level - side.astype(np.float32).mean(axis=0) for side in sides]
    bright = float(np.median(np.concatenate(steps))) > 0
    for step in steps:
        if np.mean((step if bright else -step) > CONTRAST) < CLEAR_SIDE:
            return None
    middle = slice(y0 + (y1 - y0) // 4, max(y0 + 1, y1 - (y1 - y0) // 4))
    ends = [grey[middle, max(x0 - 4, 0) : max(x0 - 1, 0)], grey[middle, x1 + 1 : x1 + 4]]
    for end in ends:
        if end.size and abs(level - float(end.mean())) < CONTRAST:
            return None
    contrast = float(np.median(np.concatenate(steps)))
    cut = x0 <= 0 or x1 >= grey.shape[1]
    return Bar(box, level, contrast, cut=cut)


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Shared area over the smaller rectangle's."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))


def _measured(grey: Grey, bar: Bar) -> Bar:
    """Ends where the grey is half-way between the bar and its surroundings; with end ticks from middle to middle."""
    x0, y0, x1, y1 = bar.box
    quarter = (y1 - y0) // 4
    profile = grey[y0 + quarter : max(y1 - quarter, y0 + quarter + 1)].mean(axis=0)
    left, right = _edge(profile[::-1], grey.shape[1] - x0, bar.grey), _edge(profile, x1, bar.grey)
    length = right - (grey.shape[1] - left)
    tick = _tick_px(grey, bar)
    return replace(bar, length_px=length - tick, error_px=max(1.0, tick))


def _edge(profile: NDArray[np.floating], end: int, level: float) -> float:
    """Where a profile that is the bar's grey before about pixel ``end`` falls to half; ``end`` at the border."""
    beyond = profile[end + 2 : end + 8]
    if beyond.size == 0:
        return float(end)
    half = (level + float(np.median(beyond))) / 2.0
    sign = 1.0 if level > half else -1.0
    above = sign * (profile - half)
    for x in range(max(end - 4, 1), min(end + 4, len(profile))):
        if above[x] < 0 <= above[x - 1]:
            return x + 0.5 - float(above[x] / (above[x] - above[x - 1]))  # pixel x has its centre at x + 0.5
    return float(end)


def _tick_px(grey: Grey, bar: Bar) -> float:
    """Mean width of the upright strokes at both ends of the bar; 0 where it has none."""
    x0, y0, x1, y1 = bar.box
    half = bar.grey - bar.contrast / 2.0
    reach = 2 + (y1 - y0)
    most = max(4, (x1 - x0) // 12)
    widths = []
    for rows in (slice(max(y0 - reach, 0), max(y0 - 1, 0)), slice(y1 + 1, y1 + reach)):
        side = grey[rows, x0:x1].astype(np.float32)
        if not len(side):
            continue
        ink: Mask = np.asarray((side > half if bar.bright else side < half).all(axis=0))
        ends = [int(np.argmin(run)) for run in (ink, ink[::-1])] if not ink.all() else [0, 0]
        if min(ends) > 0 and max(ends) <= most and ink[most:-most].mean() < 0.1:
            widths.append(sum(ends) / 2.0)
    return max(widths, default=0.0)

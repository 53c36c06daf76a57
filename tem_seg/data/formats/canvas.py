"""Outlines on their way to masks: checked, drawn, and every fault of a file said at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Rle
from tem_seg.data import rle
from tem_seg.data.formats.model import PARTICLE, Annotated, Size, Source
from tem_seg.data.images import MOST_PIXELS
from tem_seg.data.validation import polygon_faults

Part = Sequence[Sequence[float]]
"""Rings of one part of a particle, each [x1, y1, x2, y2, …] px: the outline, then its holes."""
MOST_POINTS = 10**6
MOST_OUTLINE_PX = 2e6
"""Length of one ring: rasterising takes memory in proportion."""
ELLIPSE_POINTS = 360
SHOWN = 20


class Canvas:
    """The particles of one micrograph: ``add`` what has an area, ``skip`` what has none, then ``annotated``."""

    def __init__(self, source: Source, name: str, size: Size) -> None:
        self.source, self.name, self.size = source, name, size
        if not all(isinstance(side, int) and side > 0 for side in size) or size[0] * size[1] > MOST_PIXELS:
            raise UserError(
                f"{source.path}: {name} is said to be {size[1]} × {size[0]} px: no micrograph is, correct the file"
            )
        self.masks: list[Rle] = []
        self.categories: list[str] = []
        self.scores: list[float | None] = []
        self._faults: list[str] = []
        self._skipped: Counter[str] = Counter()

    def add(self, parts: Sequence[Part], what: str, category: Any = None, score: Any = None) -> None:
        """A particle of several parts. what: names it in faults ("shape 3")."""
        faults = [fault for part in parts for fault in self._faults_of(part)]
        self._faults += [f"{what}: {fault}" for fault in faults[:1]]
        if not faults:
            self.put(union([drawn(part, self.size) for part in parts]), what, category, score)

    def put(self, mask: Rle, what: str, category: Any = None, score: Any = None) -> None:
        """A particle whose mask is known."""
        if not rle.area_px(mask):
            self.skip("outline that covers no pixel's centre")
            return
        self.masks.append(mask)
        self.categories.append(str(category) if category not in (None, "") else PARTICLE)
        self.scores.append(self._score(score, what))

    def skip(self, kind: str) -> None:
        """Something that is no particle ("point")."""
        self._skipped[kind] += 1

    def fault(self, text: str) -> None:
        """Something that makes the file unusable."""
        self._faults.append(text)

    def _faults_of(self, part: Part) -> list[str]:
        for ring in part:
            if len(ring) > 2 * MOST_POINTS:
                return [f"an outline of {len(ring) // 2:,} points: no particle needs more than {MOST_POINTS:,}"]
            if faults := list(polygon_faults([list(ring)], *self.size)):
                return faults
            if _length(ring) > MOST_OUTLINE_PX:
                return [f"an outline {_length(ring):.3g} px long: its points are in no order around the particle"]
        return [] if part else ["no outline"]

    def _score(self, score: Any, what: str) -> float | None:
        if score in (None, ""):
            return None
        try:
            value = float(score)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not 0.0 <= value <= 1.0:
            self._faults.append(f"{what}: score must lie between 0 and 1, got {str(score)[:40]!r}")
        return value

    def annotated(self, *, pixel_size_nm: Any = None, frame: int | None = None) -> Annotated:
        """The particles. UserError with all faults. pixel_size_nm: as the file states it."""
        size_nm = self._pixel_size(pixel_size_nm)
        if self._faults:
            more = [f"… and {len(self._faults) - SHOWN} more"] if len(self._faults) > SHOWN else []
            shown = "\n  ".join(self._faults[:SHOWN] + more)
            raise UserError(f"{self.source.path} has {len(self._faults)} fault(s) in {self.name}:\n  {shown}")
        origin = None if size_nm is None else f"stated in {self.source.path.name}"
        return Annotated(self.name, self.size, self.masks, self.categories, self.scores, size_nm, origin, frame,
                         self.source.path)  # fmt: skip

    def _pixel_size(self, value: Any) -> float | None:
        if value in (None, ""):
            return None
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not 0.0 < found < math.inf:
            self._faults.append(f"pixel_size_nm must be a positive number of nm, got {str(value)[:40]!r}")
        return found

    @property
    def notes(self) -> list[str]:
        """What was left out, one sentence a kind."""
        return [f"{self.source.path}: {self.name}: {count} × {kind}: no particle, left out"
                for kind, count in sorted(self._skipped.items())]  # fmt: skip


def _length(ring: Sequence[float]) -> float:
    points = np.asarray(ring, np.float64).reshape(-1, 2)
    return float(np.hypot(*(np.roll(points, -1, axis=0) - points).T).sum())


# ------------------------------------------------------------------------------------------------------- drawing


def drawn(part: Part, size: Size) -> Rle:
    """Pixels whose centre lies in an odd number of the rings, as pycocotools rasterises each."""
    rings = [rle.from_polygons([list(map(float, ring))], size) for ring in part]
    return rings[0] if len(rings) == 1 else _combined(rings, np.logical_xor)


def union(masks: Sequence[Rle]) -> Rle:
    """Pixels of any of the masks, which are of one frame."""
    return masks[0] if len(masks) == 1 else _combined(masks, np.logical_or)


def _combined(masks: Sequence[Rle], how: np.ufunc) -> Rle:
    crops = [found for found in map(rle.decode_crop, masks) if found[0].size]
    if not crops:
        return masks[0]
    left, top = min(x for _, x, _ in crops), min(y for _, _, y in crops)
    right = max(x + crop.shape[1] for crop, x, _ in crops)
    low = max(y + crop.shape[0] for crop, _, y in crops)
    whole: NDArray[np.bool_] = np.zeros((low - top, right - left), bool)
    for crop, x, y in crops:
        view = whole[y - top : y - top + crop.shape[0], x - left : x - left + crop.shape[1]]
        how(view, crop, out=view)
    return rle.encode_crop(whole, left, top, (masks[0]["size"][0], masks[0]["size"][1]))


def flattened(points: Any) -> list[Any]:
    """[[x, y], …] of a file → [x, y, …]; what is no list of pairs comes out too short, and is a fault then."""
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) >= 2 for point in points):
        return []
    return list(chain.from_iterable(point[:2] for point in points))


def zipped(xs: Any, ys: Any) -> list[Any]:
    """Lists of x and y → [x, y, …]; [] where they do not fit together, which is a fault then."""
    if not (isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys)):
        return []
    return list(chain.from_iterable(zip(xs, ys, strict=True)))


def numbers(*values: Any) -> tuple[float, ...] | None:
    """Finite numbers of a file, or None."""
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return None
    try:
        found = tuple(map(float, values))
    except OverflowError:
        return None
    return found if all(map(math.isfinite, found)) else None


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    """The outline of a rectangle with its top-left corner at (x, y) px."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def ellipse(x: float, y: float, a: float, b: float, turn_rad: float = 0.0) -> list[float]:
    """The outline of an ellipse around (x, y) with half-axes a, b px, turned clockwise as displayed."""
    angle = np.linspace(0.0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)
    along, across = a * np.cos(angle), b * np.sin(angle)
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    points = np.stack([x + along * cos - across * sin, y + along * sin + across * cos], axis=1)
    return [float(value) for value in points.ravel()]

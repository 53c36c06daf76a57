"""The label of a scale bar: which letters a line of ink is, read as number and unit or not at all.

The line is cut into pieces where little ink is, runs of neighbouring pieces are judged as letters, and a beam search
keeps the most probable sequences that are a length: number, then nm, µm, um, Å or mm. What is left over beside the
label (a digit that was not understood) makes the line unreadable.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.units import to_nm
from tem_seg.data.scalebar_glyphs import ABOVE, CLASSES, DIGIT_ROWS, Coverage, log_probabilities, normalised, patches

LABEL = re.compile(r"(0\.\d{1,3}|[1-9]\d{0,3}(?:\.\d{1,2})?)(nm|µm|um|Å|mm)")
PREFIX = re.compile(r"(0|0\.\d{0,3}|[1-9]\d{0,3}|[1-9]\d{0,3}\.\d{0,2})?")
UNITS = ("nm", "µm", "um", "Å", "mm")
BEAM = 24
DIGITS, LEAST_LOG_P = 10, -6.0
"""How many of the network's outputs are digits; a label less probable than this (sum over its letters) is none."""
MOST_PIECES = 6
"""Of one letter."""
PIECE_GAP, DIGIT_GAP, LETTER_GAP, UNIT_GAP = 0.15, 0.4, 0.6, 1.3
"""Widest empty space within a letter, between digits (more: a point may have been lost), between letters, and between
number and unit; in heights of a digit."""
CLEAR_LEFT, CLEAR_POINT, CLEAR_RIGHT = 0.9, 0.5, 0.25
"""Ink as high as CLEAR_HEIGHT that close to a label, or any ink CLEAR_POINT before it (the point of 0.5), belongs to it
and was not understood; in heights of a digit."""
CLEAR_HEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Label:
    """What a line says: log_p is the sum over its letters, weakest the least certain letter's probability.

    margin: log_p over that of the best reading of another length.
    """

    number: str
    unit: str
    log_p: float
    weakest: float
    margin: float

    @property
    def value_nm(self) -> float:
        """The length that the label gives, nm."""
        return to_nm(float(self.number), self.unit)

    def __str__(self) -> str:
        return f"{self.number} {self.unit}"


@dataclass(frozen=True, slots=True, order=True)
class _Path:
    """A beginning of a label that ends with piece ``end`` (half-open)."""

    log_p: float
    weakest: float
    text: str
    end: int


def read_line(ink: Coverage, boxes: NDArray[np.intp]) -> Label | None:
    """One line of text → its label, or None. ink (h, w) in [0, 1], boxes (N, 4) x0, y0, x1, y1 of its connected parts.

    Every part that may be the first digit is tried: its height is the measure of all others.
    """
    paths: list[_Path] = []
    tried: list[tuple[int, int, int]] = []
    heights = boxes[:, 3] - boxes[:, 1]
    for x0, top, _, bottom in boxes[heights >= max(5, 0.45 * heights.max())].tolist():
        if not any(abs(x0 - t[0]) <= 1 and abs(top - t[1]) + abs(bottom - t[2]) <= 1 for t in tried):
            tried.append((x0, top, bottom))
            paths += _read_from(ink, x0, top, bottom)
    return _best(paths)


def _best(paths: list[_Path]) -> Label | None:
    """The most probable reading and its lead over the next one of another length."""
    readings = sorted((_label(path) for path in paths), key=lambda label: -label.log_p)
    if not readings:
        return None
    best = readings[0]
    others = [label.log_p for label in readings if label.value_nm != best.value_nm]
    return Label(best.number, best.unit, best.log_p, best.weakest, best.log_p - max(others, default=-50.0))


def _label(path: _Path) -> Label:
    match = LABEL.fullmatch(path.text)
    assert match is not None
    return Label(match[1], match[2], path.log_p, path.weakest, 0.0)


def _read_from(ink: Coverage, x0: int, top: int, bottom: int) -> list[_Path]:
    """Readings whose first digit begins at column x0 and spans rows top to bottom."""
    line = normalised(ink, top, bottom)
    pieces = _pieces(line)
    scale = DIGIT_ROWS / (bottom - top)
    first = next((k for k, (start, _) in enumerate(pieces) if abs(start - x0 * scale) <= 0.08 * DIGIT_ROWS + 1), None)
    if first is None or _crowded(line, pieces, range(first), pieces[first][0], CLEAR_LEFT, CLEAR_POINT):
        return []
    segments = list(_segments(pieces, first))
    scores = _scored(line, pieces, [segment for segment in segments if segment[0] == first])
    if not any(score[:DIGITS].max() > LEAST_LOG_P for score in scores.values()):
        return []
    scores |= _scored(line, pieces, [segment for segment in segments if segment[0] > first])
    paths = _search(pieces, first, scores)
    clear = {
        end
        for end in {path.end for path in paths}
        if not _crowded(line, pieces, range(end, len(pieces)), pieces[end - 1][1], CLEAR_RIGHT, 0.0)
    }
    return [path for path in paths if path.end in clear]


def _scored(
    line: Coverage, pieces: list[tuple[int, int]], segments: list[tuple[int, int]]
) -> dict[tuple[int, int], NDArray[np.float64]]:
    spans = [(pieces[i][0], pieces[j - 1][1]) for i, j in segments]
    return dict(zip(segments, log_probabilities(patches(line, spans)), strict=True)) if spans else {}


def _pieces(line: Coverage) -> list[tuple[int, int]]:
    """Column ranges (half-open) of ink, cut also where a wide one is thinnest."""
    amount = (line > 0.5).sum(axis=0)
    edges = np.flatnonzero(np.diff(np.r_[0, amount > 0, 0]))
    out: list[tuple[int, int]] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        cuts = [start, *_cuts(amount, line, start, end), end]
        out += pairwise(cuts)
    return out


def _cuts(amount: NDArray[np.intp], line: Coverage, start: int, end: int) -> list[int]:
    """Columns at which touching letters may part: the least ink within a quarter of a digit's height."""
    if end - start < 0.55 * DIGIT_ROWS:
        return []
    reach = DIGIT_ROWS // 8
    found: list[int] = []
    soft = line.sum(axis=0)
    for x in range(start + 4, end - 3):
        around = soft[max(start, x - reach) : min(end, x + reach + 1)]
        if soft[x] <= around.min() and amount[x] <= 0.5 * DIGIT_ROWS and (not found or x - found[-1] > 3):
            found.append(x)
    return found


def _crowded(
    line: Coverage, pieces: list[tuple[int, int]], which: range, edge: int, clear: float, clear_any: float
) -> bool:
    """Whether ink of some height, or any ink, stands too close to the column where a label begins or ends."""
    for k in which:
        start, end = pieces[k]
        gap = start - edge if start >= edge else edge - end
        rows = np.flatnonzero((line[ABOVE // 2 : ABOVE + DIGIT_ROWS + 4, start:end] > 0.5).any(axis=1))
        tall = bool(rows.size) and rows[-1] - rows[0] >= CLEAR_HEIGHT * DIGIT_ROWS
        if (tall and gap < clear * DIGIT_ROWS) or (rows.size and gap < clear_any * DIGIT_ROWS):
            return True
    return False


def _segments(pieces: list[tuple[int, int]], first: int) -> Iterator[tuple[int, int]]:
    """Runs i to j (half-open) of pieces that one letter could be."""
    for i in range(first, len(pieces)):
        for j in range(i + 1, min(i + MOST_PIECES, len(pieces)) + 1):
            if j - 1 > i and pieces[j - 1][0] - pieces[j - 2][1] > PIECE_GAP * DIGIT_ROWS:
                break
            if pieces[j - 1][1] - pieces[i][0] > 1.65 * DIGIT_ROWS:
                break
            yield i, j


def _search(
    pieces: list[tuple[int, int]], first: int, scores: dict[tuple[int, int], NDArray[np.float64]]
) -> list[_Path]:
    """The most probable labels that begin with piece ``first``."""
    beams: dict[int, list[_Path]] = {first: [_Path(0.0, 1.0, "", first)]}
    complete: list[_Path] = []
    for at in range(first, len(pieces)):
        for path in heapq.nlargest(BEAM, beams.pop(at, [])):
            for end in range(at + 1, min(at + MOST_PIECES, len(pieces)) + 1):
                if (at, end) not in scores:
                    break
                for k in np.flatnonzero(scores[at, end][:-1] > LEAST_LOG_P - path.log_p).tolist():
                    text, log_p = path.text + CLASSES[k], float(scores[at, end][k])
                    if not _may_follow(path.text, CLASSES[k], pieces, at):
                        continue
                    longer = _Path(path.log_p + log_p, min(path.weakest, float(np.exp(log_p))), text, end)
                    (complete if LABEL.fullmatch(text) else beams.setdefault(end, [])).append(longer)
    return complete


def _may_follow(text: str, letter: str, pieces: list[tuple[int, int]], at: int) -> bool:
    """Whether text + letter begins a length, with gaps as letters have them."""
    gap = (pieces[at][0] - pieces[at - 1][1]) / DIGIT_ROWS if text else 0.0
    return gap <= _widest_gap(text + letter)


@cache
def _widest_gap(beginning: str) -> float:
    """The widest gap before the last letter of the beginning of a length, heights of a digit; -1: it begins none."""
    if PREFIX.fullmatch(beginning):
        return DIGIT_GAP
    number = beginning.rstrip("nmµuÅ")
    unit = beginning[len(number) :]
    if not PREFIX.fullmatch(number) or number in ("", "0") or number.endswith("."):
        return -1.0
    if not any(known.startswith(unit) for known in UNITS):
        return -1.0
    return UNIT_GAP if len(unit) == 1 else LETTER_GAP

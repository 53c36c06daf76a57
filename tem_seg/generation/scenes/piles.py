"""Where rods lie that were dropped on each other: crossing in piles, side by side in bundles, or alone.

Unlike placement.place there is no limit on overlap between two rods; there is one on how many lie over a point, and two
rods never cover each other along their whole length, because nobody could tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

TRIES = 40
CELLS = 1024  # of the longer side of the board, at most
ALIKE_DEG = 8.0


@dataclass(frozen=True, slots=True)
class Piling:
    """How rods lie. piled, bundled: shares 0-1 of all rods that lie in piles / side by side with another.

    layers: rods over a point in the middle of a pile, on average; most_layers: at most, anywhere. piles: their number.
    order_deg: standard deviation of the angle of piled rods around their pile's direction.
    """

    piled: float
    bundled: float
    layers: float
    most_layers: int
    piles: int
    order_deg: float


@dataclass(slots=True)
class _Heap:
    """Rods put down so far. board (h, w) uint8: rods over a cell.

    rows (most, 5): x, y, angle (rad), length, width in cells, of which the first ``count`` are of rods.
    """

    board: NDArray[np.uint8]
    rows: NDArray[np.float64]
    count: int = 0

    def put(self, row: tuple[float, float, float, float, float], most_layers: int) -> bool:
        """Puts the rod down unless that buries one or piles up too high."""
        if _alike(self.rows[: self.count], row):
            return False
        corners = cv2.boxPoints(((row[0], row[1]), (row[3], row[4]), float(np.degrees(row[2]))))
        low = np.maximum(np.floor(corners.min(axis=0)), 0.0).astype(int)
        high = np.minimum(np.ceil(corners.max(axis=0)) + 1.0, self.board.shape[::-1]).astype(int)
        if (high <= low).any():
            return False
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(corners - low).astype(np.int32), 1)
        window = self.board[low[1] : high[1], low[0] : high[0]]
        if (window * mask).max(initial=0) >= most_layers:
            return False
        window += mask
        self.rows[self.count] = row
        self.count += 1
        return True


def _alike(rows: NDArray[np.float64], row: tuple[float, float, float, float, float]) -> bool:
    """Whether one of the rods (N, 5) and the new one have nearly the same axis and cover each other's middle."""
    turn = np.abs((rows[:, 2] - row[2] + np.pi / 2.0) % np.pi - np.pi / 2.0)
    dx, dy = rows[:, 0] - row[0], rows[:, 1] - row[1]
    along = np.abs(dx * np.cos(row[2]) + dy * np.sin(row[2]))
    across = np.abs(dy * np.cos(row[2]) - dx * np.sin(row[2]))
    near = (across < 0.7 * np.minimum(rows[:, 4], row[4])) & (along < 0.5 * np.maximum(rows[:, 3], row[3]))
    return bool((near & (turn < np.radians(ALIKE_DEG))).any())


def pile(
    lengths: NDArray[np.float64], widths: NDArray[np.float64], field_size: tuple[float, float], piling: Piling,
    rng: np.random.Generator, held: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Centres (N, 2) x, y and angles (N,) rad of rods in a field (height, width), all in one unit of length.

    NaN for a rod that found no place in 40 tries. Centres lie in the field or up to a fifth of their length outside,
    and where there is a film: held (h, w) bool, a map of the whole field.
    """
    if not len(lengths):
        return np.zeros((0, 2)), np.zeros(0)
    cell = max(max(field_size) / CELLS, float(np.median(widths)) / 4.0)
    size = (field_size[0] / cell, field_size[1] / cell)
    heap = _Heap(np.zeros([int(np.ceil(side)) for side in size], np.uint8), np.zeros((len(lengths), 5)))
    piles = _piles(lengths / cell, widths / cell, size, piling, rng)
    centres, angles = np.full((len(lengths), 2), np.nan), np.full(len(lengths), np.nan)
    for index, (length, width) in enumerate(zip(lengths / cell, widths / cell, strict=True)):
        for _ in range(TRIES):
            x, y, angle = _proposal(heap, piles, float(length), float(width), size, piling, rng)
            row = (x, y, angle, float(length), float(width))
            lies = _lies(x / size[1], y / size[0], 0.2 * float(length) / min(size), held)
            if lies and heap.put(row, piling.most_layers):
                centres[index], angles[index] = (x * cell, y * cell), angle
                break
    return centres, angles


def _lies(x: float, y: float, outside: float, held: NDArray[np.bool_] | None) -> bool:
    """Whether x, y, over the field's sides, is in the field or so little outside, and there is a film there."""
    if not (-outside <= x <= 1.0 + outside and -outside <= y <= 1.0 + outside):
        return False
    if held is None:
        return True
    rows, columns = held.shape
    return bool(held[min(max(int(y * rows), 0), rows - 1), min(max(int(x * columns), 0), columns - 1)])


def _piles(
    lengths: NDArray[np.float64], widths: NDArray[np.float64], size: tuple[float, float], piling: Piling,
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # fmt: skip
    """(piles, 4) x, y, spread and direction (rad); as wide as makes ``layers`` rods over a point in the middle."""
    number = max(1, piling.piles)
    shares = rng.dirichlet(np.full(number, 3.0))
    spreads = np.sqrt(piling.piled * shares * float((lengths * widths).sum()) / (2.0 * np.pi * piling.layers))
    x, y = rng.uniform(0.1, 0.9, number) * size[1], rng.uniform(0.1, 0.9, number) * size[0]
    return np.stack([x, y, spreads, rng.uniform(0.0, np.pi, number)], axis=1)


def _proposal(
    heap: _Heap, piles: NDArray[np.float64], length: float, width: float, size: tuple[float, float], piling: Piling,
    rng: np.random.Generator,
) -> tuple[float, float, float]:  # fmt: skip
    kind = rng.random()
    if heap.count and kind < piling.bundled:
        partner = heap.rows[int(rng.integers(max(0, heap.count - 8), heap.count))]
        return _beside(partner, width, rng)
    if rng.random() < piling.piled:
        x, y, spread, direction = piles[int(rng.integers(len(piles)))]
        angle = direction + np.radians(piling.order_deg) * rng.standard_normal()
        step = spread * rng.standard_normal(2)
        return float(x + step[0]), float(y + step[1]), float(angle % np.pi)
    outside = 0.2 * length
    x, y = rng.uniform(-outside, size[1] + outside), rng.uniform(-outside, size[0] + outside)
    return float(x), float(y), float(rng.uniform(0.0, np.pi))


def _beside(
    partner: NDArray[np.float64], width: float, rng: np.random.Generator
) -> tuple[float, float, float]:  # fmt: skip
    """Side by side with a rod, nearly parallel, somewhat shifted along it."""
    x, y, angle, length, thick = partner
    across = (thick + width) / 2.0 * rng.uniform(0.9, 1.2) * (1.0 if rng.random() < 0.5 else -1.0)
    along = length * rng.uniform(-0.35, 0.35)
    turned = angle + np.radians(3.0) * rng.standard_normal()
    moved = (x + along * np.cos(angle) - across * np.sin(angle), y + along * np.sin(angle) + across * np.cos(angle))
    return float(moved[0]), float(moved[1]), float(turned % np.pi)

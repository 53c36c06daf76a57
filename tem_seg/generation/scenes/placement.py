"""Where particles lie: apart, touching (chains and rafts), or overlapping with a wanted share of them.

Outlines are tried on a coarse grid that knows the owner of every cell, so one try costs a particle's cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.generation.ranges import Range, uniform
from tem_seg.generation.raster import masks

GRID = 4096  # cells along the longer side of the field, at most
TRIES = 60
Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Crowding:
    """How close particles lie.

    overlapped, touching: share 0-1 of the particles that share area with another / are set against another without
    sharing any. overlap_share: range of the shared area over the smaller particle's. cell_nm: what is
    closer counts as touching; use the pixel size, so that masks of particles that only touch share no pixel.
    """

    overlapped: float
    touching: float
    overlap_share: Range
    cell_nm: float


@dataclass(slots=True)
class _Piece:
    """A particle on the grid: its cells (h, w), where they start relative to the particle's whole-cell position."""

    cells: NDArray[np.bool_]
    start: tuple[int, int]
    fraction: NDArray[np.float64]
    reach: float
    area: int

    def grown(self) -> _Piece:
        """The same with the cells around it."""
        cells = cv2.copyMakeBorder(self.cells.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        cells = cv2.dilate(cells, np.ones((3, 3), np.uint8))
        return _Piece(
            np.asarray(cells, np.uint8).view(np.bool_),
            (self.start[0] - 1, self.start[1] - 1),
            self.fraction,
            self.reach,
            self.area,
        )


@dataclass(slots=True)
class _Board:
    """owner (H, W) int32: 0 free, else particle index + 1. The field lies ``margin`` cells from its top and left."""

    owner: NDArray[np.int32]
    margin: int
    field_cells: tuple[float, float]
    pieces: dict[int, _Piece] = field(default_factory=dict)
    positions: dict[int, Position] = field(default_factory=dict)
    overlapped: set[int] = field(default_factory=set)

    def under(self, piece: _Piece, position: Position) -> NDArray[np.int32] | None:
        """Owners of the cells that the piece would cover at position (x, y); None if that is off the board."""
        x, y = position[0] + piece.start[0], position[1] + piece.start[1]
        height, width = piece.cells.shape
        if x < 0 or y < 0 or x + width > self.owner.shape[1] or y + height > self.owner.shape[0]:
            return None
        return self.owner[y : y + height, x : x + width][piece.cells]

    def put(self, index: int, piece: _Piece, position: Position) -> None:
        """The particle stays there: it owns its cells."""
        x, y = position[0] + piece.start[0], position[1] + piece.start[1]
        height, width = piece.cells.shape
        np.copyto(self.owner[y : y + height, x : x + width], index + 1, where=piece.cells)
        self.pieces[index], self.positions[index] = piece, position

    def holds(self, position: Position, slack: float) -> bool:
        """Whether position lies in the field, or no more than slack cells outside."""
        x, y = position[0] - self.margin, position[1] - self.margin
        return bool(-slack <= x <= self.field_cells[1] + slack and -slack <= y <= self.field_cells[0] + slack)


def place(
    outlines: list[NDArray[np.float64]], field_nm: tuple[float, float], crowding: Crowding, rng: np.random.Generator
) -> list[NDArray[np.float64] | None]:  # fmt: skip
    """Centre (2,) x, y nm for every outline (K, 2) nm around (0, 0); None for one that finds no place in 60 tries.

    field_nm: (height, width). Some centres lie up to a quarter of the particle outside the field.
    """
    if not outlines:
        return []
    cell = max(crowding.cell_nm, max(field_nm) / GRID)
    pieces = _pieces([outline / cell for outline in outlines], rng)
    margin = int(2 * max(piece.reach for piece in pieces)) + 3
    cells = (field_nm[0] / cell, field_nm[1] / cell)
    board = _Board(np.zeros([int(np.ceil(c)) + 2 * margin for c in cells], np.int32), margin, cells)
    for index, mode in enumerate(_modes(len(outlines), crowding, rng)):
        _settle(board, index, pieces[index], mode, crowding, rng)
    return [
        (np.subtract(board.positions[i], margin) + pieces[i].fraction) * cell if i in board.positions else None
        for i in range(len(outlines))
    ]


def _pieces(outlines_cells: list[NDArray[np.float64]], rng: np.random.Generator) -> list[_Piece]:
    fractions = rng.random((len(outlines_cells), 2))
    filled = masks([outline + fraction for outline, fraction in zip(outlines_cells, fractions, strict=True)])
    pieces = []
    for outline, crop, fraction in zip(outlines_cells, filled, fractions, strict=True):
        cells, area = crop.values, int(np.count_nonzero(crop.values))
        if not area:
            cells[cells.shape[0] // 2, cells.shape[1] // 2], area = True, 1
        reach = float(np.sqrt(np.square(outline).sum(axis=1).max()))
        pieces.append(_Piece(cells, (crop.x0, crop.y0), fraction, reach, area))
    return pieces


def _modes(count: int, crowding: Crowding, rng: np.random.Generator) -> list[str]:
    """What each particle in turn tries first. One overlap makes one or two particles overlapped (see _overlap)."""
    wanted = crowding.overlapped * count
    overlaps = 0 if wanted < 1 else max(1, round(wanted / 1.8))
    touches = round(crowding.touching * count)
    modes = (["overlap"] * overlaps + ["touch"] * touches + ["apart"] * count)[: count - 1]
    return ["apart", *(modes[i] for i in rng.permutation(len(modes)))]


def _settle(
    board: _Board, index: int, piece: _Piece, mode: str, crowding: Crowding, rng: np.random.Generator
) -> None:  # fmt: skip
    """Puts one particle down: as wanted if it can be, else apart, else nowhere."""
    if mode == "overlap" and _overlap(board, index, piece, crowding, rng):
        return
    if mode != "apart" and _touch(board, index, piece, rng):
        return
    low, grown = -0.25 * piece.reach, piece.grown()
    width, height = board.field_cells[1] - 2.0 * low, board.field_cells[0] - 2.0 * low
    for _ in range(TRIES):
        position = _moved((board.margin, board.margin), low + width * rng.random(), low + height * rng.random())
        under = board.under(grown, position)
        if under is not None and not under.any():
            board.put(index, piece, position)
            return


def _overlap(board: _Board, index: int, piece: _Piece, crowding: Crowding, rng: np.random.Generator) -> bool:
    """Lays the particle over part of another: four times of five one that was not overlapped before."""
    placed = list(board.positions)
    fresh = [i for i in placed if i not in board.overlapped]
    choice = fresh if fresh and (rng.random() < 0.8 or not board.overlapped) else sorted(board.overlapped)
    for _ in range(TRIES // 4):
        partner = choice[int(rng.integers(len(choice)))] if choice else None
        if partner is None:
            return False
        share = uniform(rng, crowding.overlap_share) * min(piece.area, board.pieces[partner].area)
        position = _slide(board, piece, partner, share, rng)
        if position is not None:
            board.put(index, piece, position)
            board.overlapped |= {index, partner}
            return True
    return False


def _touch(board: _Board, index: int, piece: _Piece, rng: np.random.Generator) -> bool:
    """Sets the particle against another: half of the times the last one (chains), else any (rafts)."""
    placed = list(board.positions)
    for _ in range(TRIES // 4 if placed else 0):
        partner = placed[-1] if rng.random() < 0.5 else placed[int(rng.integers(len(placed)))]
        position = _slide(board, piece, partner, 0.0, rng)
        if position is not None:
            board.put(index, piece, position)
            return True
    return False


def _slide(
    board: _Board, piece: _Piece, partner: int, shared_cells: float, rng: np.random.Generator
) -> Position | None:  # fmt: skip
    """From far out towards the partner along a random ray until so many cells are shared (0: until just before any).

    None if that place covers third particles or leaves the field.
    """
    angle = rng.uniform(0.0, 2.0 * np.pi)
    x, y = math.cos(angle), math.sin(angle)
    origin = board.positions[partner]
    near, far = 0.0, piece.reach + board.pieces[partner].reach + 1.0
    while far - near > 0.5:
        middle = (near + far) / 2.0
        under = board.under(piece, _moved(origin, x * middle, y * middle))
        if under is None:
            return None
        if np.count_nonzero(under == partner + 1) > shared_cells:
            near = middle
        else:
            far = middle
    distance = far if shared_cells == 0 else near
    position = _moved(origin, x * distance, y * distance)
    under = board.under(piece, position)
    if under is None or not board.holds(position, 0.25 * piece.reach):
        return None
    third = np.count_nonzero((under != 0) & (under != partner + 1))
    return None if third or (shared_cells == 0 and under.any()) else position


def _moved(position: Position, x: float, y: float) -> Position:
    return position[0] + round(x), position[1] + round(y)

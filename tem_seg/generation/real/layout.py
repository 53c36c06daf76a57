"""Where pasted particles lie: apart, touching, over one another, or in the cells of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tem_seg.generation.ranges import Range, uniform
from tem_seg.generation.real.sifting import Whole

CANDIDATES = 8  # places tried at once for a particle
ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Discs:
    """A particle's footprint as discs: offsets (m, 2) px from its centre, one radius in px."""

    offsets: NDArray[np.float64]
    radius: float


def discs_of(whole: Whole, magnification: float, turn: float = 0.0, mirrored: bool = False) -> Discs:
    """One disc for a compact particle; a row of them along the long axis of an elongated one."""
    if whole.max_feret < 1.5 * whole.min_feret:
        return Discs(np.zeros((1, 2)), magnification * (whole.diameter + whole.max_feret) / 4.0)
    radius = whole.min_feret / 2.0
    reach = max(whole.max_feret / 2.0 - radius, 0.0)
    count = 1 + math.ceil(2.0 * reach / radius)
    angle = turn + (math.pi - whole.angle if mirrored else whole.angle)
    along = np.linspace(-reach, reach, count)[:, None] * magnification
    return Discs(along * [math.cos(angle), math.sin(angle)], radius * magnification)


class Layout:
    """Where particles lie in an image of (H, W) px: apart, touching, or over one another by so much."""

    def __init__(self, image_size: tuple[int, int], overlap: Range, touching: float, overlapped: float) -> None:
        self.overlap, self.touching, self.overlapped = overlap, touching, overlapped
        self.extent = np.array([image_size[1], image_size[0]], float)
        self.count = 0
        self.discs = np.zeros((256, 3))  # x, y, radius of every disc that is taken; the first ``count`` rows

    def add(self, discs: Discs, centre: NDArray[np.float64]) -> None:
        """Takes the place."""
        end = self.count + len(discs.offsets)
        if end > len(self.discs):
            self.discs = np.concatenate([self.discs, np.zeros((max(end, len(self.discs)), 3))])
        self.discs[self.count : end, :2] = discs.offsets + centre
        self.discs[self.count : end, 2] = discs.radius
        self.count = end

    def settle(self, discs: Discs, rng: np.random.Generator) -> NDArray[np.float64] | None:
        """A centre (x, y) px for one more particle, or None if no place is found for it."""
        luck, depth = rng.random(), 0.0
        if luck < self.overlapped:
            depth = uniform(rng, self.overlap)
        beside = luck < self.overlapped + self.touching and self.count > 0
        for attempt in range(ROUNDS):
            # who finds no free place lies down beside another, and the other way round
            close = self.count > 0 and beside == (attempt < ROUNDS - 2)
            places = self._beside(discs, depth, rng) if close else rng.random((CANDIDATES, 2)) * self.extent
            allowed = self._penetration(discs, places) <= (depth + 0.02 if close else 0.0)
            first = int(allowed.argmax())
            if allowed[first]:
                self.add(discs, places[first])
                return np.asarray(places[first])
        return None

    def _beside(self, discs: Discs, depth: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Places at which one of the discs lies against one that is there, sunk into it by depth."""
        chance = rng.random((3, CANDIDATES))
        partners = self.discs[(chance[0] * self.count).astype(np.int64)]
        distance = discs.radius + partners[:, 2] - depth * 2.0 * np.minimum(discs.radius, partners[:, 2])
        angle = chance[1] * (2.0 * math.pi)
        places = partners[:, :2].copy()
        places[:, 0] += np.cos(angle) * distance
        places[:, 1] += np.sin(angle) * distance
        if len(discs.offsets) > 1:
            places -= discs.offsets[(chance[2] * len(discs.offsets)).astype(np.int64)]
        return np.asarray(np.minimum(np.maximum(places, 0.0, out=places), self.extent, out=places))

    def _penetration(self, discs: Discs, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,) how deep the particle would sink into another, over the smaller one's diameter."""
        if not self.count:
            return np.full(len(places), -1.0)
        single = len(discs.offsets) == 1
        own = places if single else (places[:, None, :] + discs.offsets).reshape(-1, 2)  # (K · m, 2)
        x, y, radii = self.discs[: self.count].T
        across = own[:, 0, None] - x
        down = own[:, 1, None] - y
        across *= across
        down *= down
        across += down
        np.sqrt(across, out=across)
        np.subtract(discs.radius + radii, across, out=across)
        across /= 2.0 * np.minimum(discs.radius, radii)
        deepest = across.max(axis=1)
        return np.asarray(deepest if single else deepest.reshape(len(places), -1).max(axis=1))


def grid(
    image_size: tuple[int, int], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Centres (count, 2) x, y px of random cells of a grid of about 1.2 × count cells, and a cell's (height, width)."""
    rows = max(1, math.ceil(math.sqrt(1.2 * count * image_size[0] / image_size[1])))
    columns = max(1, math.ceil(1.2 * count / rows))
    cell = (image_size[0] / rows, image_size[1] / columns)
    chosen = rng.permutation(rows * columns)[:count]
    return np.stack([(chosen % columns + 0.5) * cell[1], (chosen // columns + 0.5) * cell[0]], axis=1), cell

"""How grains stick together: agglomerates from loose chains to dense clusters, and where these lie in the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tem_seg.generation.ranges import Range

TRIES = 60
SAMPLES = 120
"""Points of a particle that are looked at to tell how much of it another one shares."""

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Packing:
    """density: 0 (loose chains) to 1 (dense clusters). overlap_limit: largest share 0-1 of the smaller one's area that
    two particles share as seen from above; 0: they only touch."""

    density: float
    overlap_limit: float


def gather(radii: Points, packing: Packing, rng: np.random.Generator) -> Points:
    """Centres (N, 2) of one agglomerate around (0, 0). radii (N, RAYS): distances of each outline from its centre,
    on rays at equal angles from x towards y; each particle but the first one touches or overlaps another."""
    cluster = _Cluster(radii, packing.overlap_limit)
    direction = rng.uniform(0.0, 2.0 * np.pi)
    for index in range(1, len(radii)):
        direction = _attach(cluster, index, packing, direction, rng)
    return cluster.centres - cluster.centres.mean(axis=0) if len(radii) else cluster.centres


def scatter(
    agglomerates: list[tuple[Points, Points]], field_size: tuple[float, float], rng: np.random.Generator
) -> list[Points | None]:  # fmt: skip
    """Position (2,) x, y for every agglomerate (centres (N, 2), reach (N,) of its particles), biggest first; None for
    one that finds no place in 60 tries. field_size (height, width). No agglomerate meets another. Middles
    lie in the field, so parts of an agglomerate may lie outside."""
    placed, reaches = np.empty((0, 2)), np.empty(0)
    found: list[Points | None] = [None] * len(agglomerates)
    for index in sorted(range(len(agglomerates)), key=lambda i: -len(agglomerates[i][0])):
        centres, reach = agglomerates[index]
        for _ in range(TRIES):
            position = rng.uniform(0.0, 1.0, 2) * [field_size[1], field_size[0]]
            moved = centres + position
            apart = np.square(moved[:, None] - placed).sum(axis=2) >= np.square(reach[:, None] + reaches)
            if apart.all():
                placed, reaches = np.concatenate([placed, moved]), np.concatenate([reaches, reach])
                found[index] = position
                break
    return found


_ANGLES = (np.arange(SAMPLES) * np.pi * (3.0 - np.sqrt(5.0))) % (2.0 * np.pi)
_SUNFLOWER = np.sqrt((np.arange(SAMPLES) + 0.5) / SAMPLES)[:, None] * np.stack(
    [np.cos(_ANGLES), np.sin(_ANGLES)], axis=1
)
"""(SAMPLES, 2) points spread evenly over the unit disc, and their directions."""


@dataclass(slots=True, init=False)
class _Cluster:
    """The particles of an agglomerate; the first ``count`` have their place."""

    radii: Points
    centres: Points
    count: int
    mean: Points
    reach: Points
    limit: float
    closest: float
    points: Points
    shares: Points

    def __init__(self, radii: Points, limit: float) -> None:
        self.radii, self.centres, self.count, self.limit = radii, np.zeros((len(radii), 2)), 1, limit
        self.closest = 0.85 * float(_closeness(np.array(limit)))
        self.mean, self.reach = np.sqrt(np.square(radii).mean(axis=1)), radii.max(axis=1)
        everyone = np.arange(len(radii))[:, None]
        along = self.extent(everyone, _ANGLES)
        self.points = _SUNFLOWER * along[:, :, None]
        # as many points lie in each direction, for more area where a particle is longer
        self.shares = np.square(along) / np.square(along).sum(axis=1, keepdims=True)

    def extent(self, index: int | NDArray[np.int64], angle: Points) -> Points:
        """Radius of particles' outlines in these directions."""
        rays = self.radii.shape[1]
        found: Points = self.radii[index, np.rint(angle * rays / (2.0 * np.pi)).astype(np.int64) % rays]
        return found

    def shared(self, index: int, centre: Points) -> float:
        """Largest share of a smaller particle's area that this one and one that has its place would share."""
        offsets = centre - self.centres[: self.count]
        reach = self.reach[: self.count] + self.reach[index]
        near = np.flatnonzero(np.square(offsets).sum(axis=1) < np.square(reach))
        if not len(near):
            return 0.0
        # points of the smaller one: of the larger one's too few would lie in it
        larger, smaller = np.full(len(near), index), near.copy()
        swap = self.mean[near] > self.mean[index]
        larger[swap], smaller[swap] = near[swap], index
        towards = np.where(swap, 1.0, -1.0)[:, None] * offsets[near]
        x, y = (self.points[smaller, :, axis] + towards[:, axis, None] for axis in (0, 1))
        inside = x * x + y * y < np.square(self.extent(larger[:, None], np.arctan2(y, x)))
        return float((inside * self.shares[smaller]).sum(axis=1).max())

    def put(self, centre: Points) -> None:
        """The grain stays there."""
        self.centres[self.count] = centre
        self.count += 1


def _attach(cluster: _Cluster, index: int, packing: Packing, direction: float, rng: np.random.Generator) -> float:
    """Sets a particle against one that has its place; returns the direction in which it lies."""
    for _ in range(4):
        count = 2 + round(14 * packing.density)
        partners, angles = _candidates(cluster, packing, direction, count, rng)
        shares = rng.uniform(0.0, packing.overlap_limit, count)
        touching = cluster.extent(partners, angles) + cluster.extent(index, angles + np.pi)
        distance = touching * _closeness(shares) * (1.0 if packing.overlap_limit else 1.02)
        centres = cluster.centres[partners] + _along(angles) * distance[:, None]
        order = np.arange(count)
        if rng.random() < packing.density:
            order = np.argsort(np.hypot(*(centres - cluster.centres[: cluster.count].mean(axis=0)).T))
        for i in order[_far_enough(cluster, index, centres)[order]][:4]:
            if cluster.shared(index, centres[i]) <= packing.overlap_limit:
                cluster.put(centres[i])
                return float(angles[i])
    return _outermost(cluster, index, rng)


def _candidates(
    cluster: _Cluster, packing: Packing, direction: float, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Points]:  # fmt: skip
    """Partners and directions: chains go on from their end with small turns, clusters grow anywhere."""
    partners = rng.integers(cluster.count, size=count)
    angles = rng.uniform(0.0, 2.0 * np.pi, count)
    chained = rng.random(count) < 0.85 * (1.0 - packing.density)
    partners[chained] = cluster.count - 1
    angles[chained] = direction + 0.7 * rng.standard_normal(int(chained.sum()))
    return partners, angles


def _far_enough(cluster: _Cluster, index: int, centres: Points) -> NDArray[np.bool_]:
    """Which candidates would not, as discs, lie far too deep in another: saves looking at them more closely."""
    apart = np.square(centres[:, None] - cluster.centres[: cluster.count]).sum(axis=2)
    needed = (cluster.mean[index] + cluster.mean[: cluster.count]) * cluster.closest
    return np.asarray((apart >= np.square(needed)).all(axis=1))


def _outermost(cluster: _Cluster, index: int, rng: np.random.Generator) -> float:
    """Against the last particle in a random direction, as far out as there is room for sure."""
    angle = np.array(rng.uniform(0.0, 2.0 * np.pi))
    ray = _along(angle)
    placed = cluster.centres[: cluster.count]
    partner = int(np.argmax(placed @ ray + cluster.reach[: cluster.count]))
    centre = placed[partner] + ray * float(cluster.extent(partner, angle) + cluster.extent(index, angle + np.pi))
    while cluster.shared(index, centre) > cluster.limit:
        centre = centre + ray * 0.05 * cluster.reach[index]
    cluster.put(centre)
    return float(angle)


def _along(angle: Points) -> Points:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


_HALF_DISTANCES = np.linspace(1.0, 0.0, 101)
_SHARED = 2.0 / np.pi * (np.arccos(_HALF_DISTANCES) - _HALF_DISTANCES * np.sqrt(1.0 - np.square(_HALF_DISTANCES)))
"""Shared part of two unit discs at distance 2 c: (2 / π)(arccos c − c √(1 − c²))."""


def _closeness(share: Points) -> Points:
    """Distance of two equal discs that share this part of their area, over that at which they touch."""
    found: Points = np.interp(share, _SHARED, _HALF_DISTANCES)
    return found


def trimmed(counts: list[int], room: int) -> list[int]:
    """Agglomerates' numbers of particles, the last ones cut so that no more than ``room`` are left in all."""
    left = np.maximum(room - np.concatenate([[0], np.cumsum(counts)[:-1]]), 0) if counts else []
    return [int(min(count, rest)) for count, rest in zip(counts, left, strict=True) if rest > 0]


def numbers(rng: np.random.Generator, agglomerates: int, mean: float, limits: Range) -> list[int]:
    """How many particles each agglomerate holds: around the mean by factors (log-normal, σ 0.5), within the limits."""
    drawn = mean * np.exp(0.5 * rng.standard_normal(agglomerates))
    return [int(n) for n in np.clip(np.rint(drawn), limits[0], limits[1])]

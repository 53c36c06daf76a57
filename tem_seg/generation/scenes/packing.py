"""Where round particles lie: alone, in chains and close-packed rafts, on top of each other; and how soft ones join.

Each new particle of a cluster is set against one that lies already (chains) or into the corner between two that touch
(rafts: spheres of one size become a triangular lattice with the faults of a real one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Accept = Callable[[int, Points], bool]
TRIES = 60
SLACK = 0.5
"""Centres lie at most so many radii outside the field."""
TOUCHING = 0.03
"""Gap over the smaller radius up to which two outlines count as touching."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How particles gather.

    clustered: share 0-1 of the particles that are set against others. compact: share 0-1 of these set against two at
    once. stacked: share 0-1 that lie on others. gap_nm: what particles that do not touch keep free between them.
    on_film: spheres resting on a film (see contact_nm). pressed: share 0-1 of the contact distance that soft
    particles are pushed into each other.
    """

    clustered: float
    compact: float
    stacked: float
    gap_nm: float
    on_film: bool = True
    pressed: float = 0.0

    def contact_nm(self, first: float, others: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance of the centres, seen along the beam, at which a radius touches others (N,), nm.

        Two spheres that rest on one plane touch at a horizontal distance of 2 √(r₁ r₂), by Pythagoras; their
        projections then overlap a little where radii differ. In a slab (on_film false): r₁ + r₂.
        """
        distance = 2.0 * np.sqrt(first * others) if self.on_film else first + others
        return np.asarray(distance * (1.0 - self.pressed), np.float64)


@dataclass(slots=True)
class _Layer:
    """Particles put down so far: the first ``count`` rows."""

    field_nm: tuple[float, float]
    packing: Packing
    accept: Accept | None
    centres: Points
    radii: NDArray[np.float64]
    indices: NDArray[np.int64]
    count: int = 0

    def contact_nm(self, radius: float) -> NDArray[np.float64]:
        """Distance at which a particle touches each of those that lie already."""
        return self.packing.contact_nm(radius, self.radii[: self.count])

    def free(self, index: int, position: Points, radius: float, nearest: NDArray[np.float64]) -> bool:
        """Whether a particle may lie there, no nearer to those that lie already than nearest (count,) nm."""
        slack = SLACK * radius
        x, y = position.tolist()
        if not (-slack <= x <= self.field_nm[1] + slack and -slack <= y <= self.field_nm[0] + slack):
            return False
        between = self.centres[: self.count] - position
        if bool((np.einsum("ij,ij->i", between, between) < nearest * nearest * (1.0 - 1e-9)).any()):
            return False
        return self.accept is None or self.accept(index, position)

    def put(self, index: int, position: Points, radius: float) -> None:
        """The particle stays there."""
        self.centres[self.count], self.radii[self.count], self.indices[self.count] = position, radius, index
        self.count += 1

    def neighbours(self, anchor: int) -> NDArray[np.int64]:
        """Of the particle in row anchor: the rows that touch it."""
        between = np.hypot(*(self.centres[: self.count] - self.centres[anchor]).T)
        touching = between <= 1.001 * self.packing.contact_nm(float(self.radii[anchor]), self.radii[: self.count])
        touching[anchor] = False
        return np.nonzero(touching)[0]


def settle(
    radii_nm: NDArray[np.float64], field_nm: tuple[float, float], packing: Packing, rng: np.random.Generator,
    accept: Accept | None = None,
) -> Points:  # fmt: skip
    """Centres (N, 2) x, y nm of particles of radii (N,) in a field (height, width) nm; NaN for those without a place.

    accept(i, (x, y)): a further condition on the place of particle i.
    """
    count = len(radii_nm)
    layer = _Layer(field_nm, packing, accept, np.zeros((count, 2)), np.zeros(count), np.zeros(count, np.int64))
    chance = rng.random((count, 2))
    for index, radius in enumerate(np.asarray(radii_nm, np.float64).tolist()):
        placed = False
        if layer.count and chance[index, 0] < packing.stacked:
            placed = _stack(layer, index, radius, rng)
        elif layer.count and chance[index, 1] < packing.clustered:
            placed = _attach(layer, index, radius, rng)
        if not placed:
            _alone(layer, index, radius, rng)
    centres = np.full((count, 2), np.nan)
    centres[layer.indices[: layer.count]] = layer.centres[: layer.count]
    return centres


def _alone(layer: _Layer, index: int, radius: float, rng: np.random.Generator) -> None:
    size = np.array([layer.field_nm[1], layer.field_nm[0]])
    nearest = radius + layer.radii[: layer.count] + layer.packing.gap_nm
    for _ in range(TRIES):
        position = rng.uniform(-SLACK * radius, size + SLACK * radius)
        if layer.free(index, position, radius, nearest):
            layer.put(index, position, radius)
            return


def _attach(layer: _Layer, index: int, radius: float, rng: np.random.Generator) -> bool:
    contact = layer.contact_nm(radius)
    for _ in range(TRIES // 3):
        anchor = layer.count - 1 if rng.random() < 0.3 else int(rng.integers(layer.count))
        direct = float(contact[anchor])
        found = layer.neighbours(anchor) if rng.random() < layer.packing.compact else np.empty(0, np.int64)
        if len(found):
            partner = int(found[rng.integers(len(found))])
            angle = _corner(layer.centres[partner] - layer.centres[anchor], direct, float(contact[partner]), rng)
        else:
            angle = rng.uniform(0.0, 2.0 * np.pi)
        position = layer.centres[anchor] + direct * np.array([np.cos(angle), np.sin(angle)])
        if layer.free(index, position, radius, contact):
            layer.put(index, position, radius)
            return True
    return False


def _corner(base: Points, direct: float, other: float, rng: np.random.Generator) -> float:
    """Direction of the corner, on either side, of a triangle over base (2,) with these sides (law of cosines)."""
    length = float(np.hypot(*base))
    cosine = (length**2 + direct**2 - other**2) / (2.0 * length * direct)
    side = 1.0 if rng.random() < 0.5 else -1.0
    return float(np.arctan2(base[1], base[0]) + side * np.arccos(np.clip(cosine, -1.0, 1.0)))


def _stack(layer: _Layer, index: int, radius: float, rng: np.random.Generator) -> bool:
    """Leaning on another: 0.4 to 0.9 contact distances from it, and not less from any."""
    contact = layer.contact_nm(radius)
    for _ in range(TRIES // 3):
        anchor = int(rng.integers(layer.count))
        direct = float(contact[anchor])
        angle, share = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.4, 0.9)
        position = layer.centres[anchor] + share * direct * np.array([np.cos(angle), np.sin(angle)])
        if layer.free(index, position, radius, 0.4 * contact):
            layer.put(index, position, radius)
            return True
    return False


def joined(outlines: list[Points], centres: Points, half_angle_deg: float, pressed: float = 0.0) -> list[Points]:
    """Outlines (K, 2) around (0, 0), the same with necks: soft spheres that touch meet in a flat facet.

    centres (N, 2) x, y nm, all finite. Corners within half_angle_deg of the neighbour's direction move onto the plane
    in which the two circles cut (their radical line), fading out over another half angle; none is left beyond that
    plane, so joined outlines share no area. A pair counts as touching where the gap over the smaller radius is
    within TOUCHING, or negative by no more than twice ``pressed`` (as in Packing) beyond that.
    """
    radii = np.array([np.hypot(*outline.T).mean() for outline in outlines])
    result = [outline.copy() for outline in outlines]
    for i in range(len(outlines) - 1):
        between = centres[i + 1 :] - centres[i]
        distance = np.hypot(*between.T)
        gap = (distance - radii[i] - radii[i + 1 :]) / np.minimum(radii[i], radii[i + 1 :])
        for j in np.nonzero((gap < TOUCHING) & (gap > -TOUCHING - 2.0 * pressed))[0]:
            apart, k = float(distance[j]), i + 1 + int(j)
            plane = (apart**2 + radii[i] ** 2 - radii[k] ** 2) / (2.0 * apart)
            direction = float(np.arctan2(between[j, 1], between[j, 0]))
            result[i] = _facet(result[i], direction, plane, half_angle_deg)
            result[k] = _facet(result[k], direction + np.pi, apart - plane, half_angle_deg)
    return result


def _facet(outline: Points, direction: float, plane: float, half_angle_deg: float) -> Points:
    """Outline whose part towards ``direction`` ends in a plane at that distance from (0, 0)."""
    radius = np.hypot(*outline.T)
    angle = np.abs((np.arctan2(outline[:, 1], outline[:, 0]) - direction + np.pi) % (2.0 * np.pi) - np.pi)
    until = plane / np.maximum(np.cos(angle), 1e-3)
    fade = np.clip(2.0 - angle / np.radians(half_angle_deg), 0.0, 1.0)
    wanted = radius + fade * (until - radius)
    limited = np.where(angle < np.pi / 2.0, np.minimum(wanted, until), radius)
    return np.asarray(outline * (limited / radius)[:, None], np.float64)

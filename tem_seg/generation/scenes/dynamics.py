"""Particles in motion: what happens between the frames of an in-situ video. Lengths in nm, times in s, angles in rad.

Bodies live in a box that is larger than the field of view and joins on to itself, so that as many enter the field as
leave it. Nothing here knows about pixels or tracks (tracks.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tem_seg.generation.scenes.dumbbell import SPHERE

BODY = np.dtype(
    [
        ("id", "i8"),  # never used twice
        ("form", "i8"),  # which of the recipe's forms it has; a merged body the larger one's
        ("fused", "?"),  # it has merged, and its outline is that of two lobes
        ("position", "f8", 2),  # x, y nm
        ("angle", "f8"),
        ("diameter", "f8"),  # nm; of a merged body that of the sphere of its volume
        ("factor", "f8"),  # volume = factor · diameter³
        ("lobes", "f8", 2),  # radii of the two spheres that merged, over diameter; their cubes sum up to 1/8
        ("apart", "f8"),  # distance of the lobes' centres over the sum of their radii: 1 just touching, 0 round
        ("tilt", "f8"),  # of the crystal out of its Bragg condition, standard deviation 1 over time
        ("merges", "?"),  # may coalesce
    ]
)
SETTLED = 0.3
"""A merged body may merge again when its lobes are no further apart."""

Bodies = NDArray[np.void]


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """The laws of one sequence.

    low_nm, high_nm: corners (x, y) of the box. substeps: integration steps a frame. A body of diameter d has the
    diffusivity diffusivity · reference / d (Stokes-Einstein) and the rotational one rotation · (reference / d)³
    (Stokes-Einstein-Debye). drift and wander (a diffusivity) move all alike. growth: of every diameter. ripening:
    dd/dt = ripening · (d*/d) · (1 − d*/d) at d* = reference. nuclei: in the whole box, born with smallest_nm, below
    which bodies are gone. contact_s: mean time for which two touch before they merge; infinite: they never do.
    relaxation_s: of the neck, for a merged body of reference diameter. passing: bodies lie at different depths and
    neither collide nor merge. tilt_s: correlation time of a crystal's tilt.
    """

    low_nm: tuple[float, float]
    high_nm: tuple[float, float]
    interval_s: float
    substeps: int
    reference_nm: float
    smallest_nm: float
    diffusivity_nm2_s: float = 0.0
    rotation_rad2_s: float = 0.0
    drift_nm_s: tuple[float, float] = (0.0, 0.0)
    wander_nm2_s: float = 0.0
    growth_nm_s: float = 0.0
    ripening_nm_s: float = 0.0
    nuclei_per_s: float = 0.0
    contact_s: float = float("inf")
    relaxation_s: float = 1.0
    tilt_s: float = 1.0
    passing: bool = False


@dataclass(slots=True)
class History:
    """What happened. frames: the bodies at each frame; drift_nm (x, y): how far all have been moved since the first.

    parents: body → the two it came from. merged_into: body → what it became a part of. dissolved, nucleated: bodies.
    """

    frames: list[Bodies] = field(default_factory=list)
    drift_nm: list[tuple[float, float]] = field(default_factory=list)
    parents: dict[int, tuple[int, int]] = field(default_factory=dict)
    merged_into: dict[int, int] = field(default_factory=dict)
    dissolved: set[int] = field(default_factory=set)
    nucleated: set[int] = field(default_factory=set)
    next_id: int = 1

    def new_ids(self, count: int) -> NDArray[np.int64]:
        """Numbers that no body has had."""
        self.next_id += count
        return np.arange(self.next_id - count, self.next_id)


def new_bodies(count: int) -> Bodies:
    """Round bodies of diameter 1 at (0, 0) without an id."""
    bodies = np.zeros(count, BODY)
    bodies["diameter"], bodies["factor"], bodies["merges"] = 1.0, SPHERE, True
    bodies["lobes"][:, 0] = 0.5
    return bodies


def simulate(bodies: Bodies, motion: Motion, frames: int, rng: np.random.Generator) -> History:
    """The bodies at ``frames`` moments, interval_s apart; the first are those given, which get ids from 1 on."""
    history = History()
    bodies = bodies.copy()
    bodies["id"] = history.new_ids(len(bodies))
    drift, dt = np.zeros(2), motion.interval_s / motion.substeps
    for frame in range(frames):
        for _ in range(motion.substeps if frame else 0):
            moved = _common_drift(motion, dt, rng)
            bodies["position"] += moved
            drift += moved
            bodies = _step(bodies, motion, dt, history, rng)
        history.frames.append(bodies.copy())
        history.drift_nm.append((float(drift[0]), float(drift[1])))
    return history


def _step(bodies: Bodies, motion: Motion, dt: float, history: History, rng: np.random.Generator) -> Bodies:
    wander(bodies, motion, dt, rng)
    bodies["apart"] *= np.exp(-dt / motion.relaxation_s * (motion.reference_nm / bodies["diameter"]) ** 4)
    resize(bodies, motion, dt)
    gone = bodies["diameter"] < motion.smallest_nm
    history.dissolved.update(bodies["id"][gone].tolist())
    bodies = _nucleate(bodies[~gone], motion, dt, history, rng)
    if not motion.passing:
        bodies = _meet(bodies, motion, dt, history, rng)
    return _wrap(bodies, motion, history)


def _common_drift(motion: Motion, dt: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray(motion.drift_nm_s) * dt + float(np.sqrt(2.0 * motion.wander_nm2_s * dt)) * rng.standard_normal(2)


def wander(bodies: Bodies, motion: Motion, dt: float, rng: np.random.Generator) -> None:
    """Brownian motion: position, angle, and the tilt that decides about diffraction contrast."""
    relative = bodies["diameter"] / motion.reference_nm
    steps = np.sqrt(2.0 * motion.diffusivity_nm2_s * dt / relative)
    bodies["position"] += steps[:, None] * rng.standard_normal((len(bodies), 2))
    bodies["angle"] += np.sqrt(2.0 * motion.rotation_rad2_s * dt / relative**3) * rng.standard_normal(len(bodies))
    kept = np.exp(-dt / motion.tilt_s)  # Ornstein-Uhlenbeck
    bodies["tilt"] = kept * bodies["tilt"] + np.sqrt(1.0 - kept * kept) * rng.standard_normal(len(bodies))


def resize(bodies: Bodies, motion: Motion, dt: float) -> None:
    """Growth (same for all) and Ostwald ripening; what vanishes gets diameter 0.

    Diffusion-limited ripening, dd/dt = K/d · (1/d* − 1/d) (Lifshitz & Slyozov 1961, Wagner 1961), stepped in d³, where
    the mean diameter as d* keeps the total volume exactly.
    """
    diameter, factor = bodies["diameter"], bodies["factor"]
    cubes = np.maximum(diameter + motion.growth_nm_s * dt, 0.0) ** 3
    if motion.ripening_nm_s > 0 and len(bodies) > 1:
        critical = float(np.dot(factor, diameter) / factor.sum())
        cubes += 3.0 * motion.ripening_nm_s * motion.reference_nm**2 * dt * (diameter / critical - 1.0)
    bodies["diameter"] = np.cbrt(np.maximum(cubes, 0.0))


def _nucleate(
    bodies: Bodies, motion: Motion, dt: float, history: History, rng: np.random.Generator
) -> Bodies:  # fmt: skip
    """New bodies of the smallest size where there is room, shaped like some that are there."""
    count = int(rng.poisson(motion.nuclei_per_s * dt))
    if not count or not len(bodies):
        return bodies
    born = bodies[rng.integers(len(bodies), size=count)]
    born["position"] = rng.uniform(motion.low_nm, motion.high_nm, (count, 2))
    born["angle"], born["tilt"] = rng.uniform(0.0, 2.0 * np.pi, count), rng.standard_normal(count)
    born["diameter"], born["apart"] = motion.smallest_nm * 1.02, 0.0
    distance, nearest = cKDTree(bodies["position"]).query(born["position"])
    born = born[distance > (reach(bodies)[nearest] + motion.smallest_nm)]
    born["id"] = history.new_ids(len(born))
    history.nucleated.update(born["id"].tolist())
    return np.concatenate([bodies, born])


def reach(bodies: Bodies) -> NDArray[np.float64]:
    """(N,) nm: distance from the middle at which a body touches others; a dumbbell's a mean over directions."""
    return np.asarray(bodies["diameter"] / 2.0 * (1.0 + 0.26 * bodies["apart"]), np.float64)


def _meet(bodies: Bodies, motion: Motion, dt: float, history: History, rng: np.random.Generator) -> Bodies:
    """Bodies that touch merge after a while; until then they push each other apart, the smaller one further."""
    if len(bodies) < 2:
        return bodies
    radius, position = reach(bodies), bodies["position"]
    pairs = cKDTree(position).query_pairs(2.0 * float(radius.max()), output_type="ndarray")
    apart = position[pairs[:, 1]] - position[pairs[:, 0]]
    distance = np.hypot(apart[:, 0], apart[:, 1])
    wanted = radius[pairs].sum(axis=1)
    near = distance < 1.01 * wanted
    order = np.lexsort((pairs[near, 1], pairs[near, 0]))  # whatever order the tree gives them in
    pairs, apart, distance, wanted = (values[near][order] for values in (pairs, apart, distance, wanted))
    ready = bodies["merges"] & (bodies["apart"] < SETTLED)
    may = ready[pairs].all(axis=1) & (rng.random(len(pairs)) < -np.expm1(-dt / motion.contact_s))
    overlap = np.maximum(wanted - distance, 0.0)[:, None] * apart / np.maximum(distance, 1e-9)[:, None]
    mass = bodies["diameter"][pairs] ** 3
    share = mass[:, ::-1] / mass.sum(axis=1, keepdims=True)
    np.add.at(position, pairs[~may, 0], -(overlap * share[:, :1])[~may])
    np.add.at(position, pairs[~may, 1], (overlap * share[:, 1:])[~may])
    return _merge(bodies, pairs[may], history)


def _merge(bodies: Bodies, pairs: NDArray[np.int64], history: History) -> Bodies:
    taken: set[int] = set()
    born: list[Bodies] = []
    for i, j in pairs.tolist():
        if not {i, j} & taken:
            taken |= {i, j}
            born.append(merged(bodies[[i, j]]))
            born[-1]["id"] = history.new_ids(1)
            child, parents = int(born[-1]["id"][0]), (int(bodies["id"][i]), int(bodies["id"][j]))
            history.parents[child] = parents
            history.merged_into |= dict.fromkeys(parents, child)
    return np.concatenate([np.delete(bodies, sorted(taken)), *born]) if born else bodies


def merged(pair: Bodies) -> Bodies:
    """(2,) bodies that touch → (1,) of their volume and centre of mass, two spherical lobes where they lay."""
    volumes = pair["factor"] * pair["diameter"] ** 3
    child = pair[[int(np.argmax(volumes))]].copy()
    gap = pair["position"][1] - pair["position"][0]
    radii = np.cbrt(volumes / SPHERE) / 2.0
    child["fused"], child["factor"] = True, SPHERE
    child["diameter"] = np.cbrt(volumes.sum() / SPHERE)
    child["position"] = volumes @ pair["position"] / volumes.sum()
    child["angle"] = np.arctan2(gap[1], gap[0])
    child["lobes"] = radii / child["diameter"]
    child["apart"] = min(1.0, float(np.hypot(*gap) / radii.sum()))
    return child


def _wrap(bodies: Bodies, motion: Motion, history: History) -> Bodies:
    """What leaves the box comes in on the other side as another body."""
    low, high = np.asarray(motion.low_nm), np.asarray(motion.high_nm)
    out = ((bodies["position"] < low) | (bodies["position"] >= high)).any(axis=1)
    if out.any():
        bodies["position"][out] = low + np.mod(bodies["position"][out] - low, high - low)
        bodies["id"][out] = history.new_ids(int(out.sum()))
    return bodies

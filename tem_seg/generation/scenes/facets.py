"""Three-dimensional grains: ellipsoids cut by flat faces, more or less, seen from above as they happen to lie.

A body is the set |q| ≤ 1, m_i · q ≤ h_i in coordinates q = A x, where A turns the body and divides by its half axes.
Seen along z, its upper surface is the lowest of planes and ellipsoid in every (x, y), its lower surface the highest,
and its outline runs where the two meet. All bodies of a scene are worked out in one go. Lengths are in equivalent
diameters of the outline (of the disc of its area).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Particle
from tem_seg.generation.scenes.crystals import KINDS

RAYS = 64
"""Corners of an outline, on rays at equal angles: on a disc of 100 px the chords miss the circle by 0.06 px."""
FACES = 24
FAR = 1e6
STEEPEST = 0.02
BISECTIONS = 12

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Form:
    """One body around its centre (0, 0, 0). Every surface is a function of (x, y) inside the outline.

    radii (RAYS,) float32: the outline's distance from the centre on ray k, at angle 2πk / RAYS from x towards y.
    stretch (RAYS,) float32: by how much the outline is wider there than that of the exact body; surfaces are stretched
    alike. free (RAYS,) float32: 1 where the outline is an edge, 0 where the body has grown together with another.
    upper, lower (faces, 3) float32: planes z = a + b x + c y above, below the body. ellipsoid (6,) float32: z =
    −(e0 x + e1 y) ± √(e2 + e3 x² + e4 x y + e5 y²). height: thickness at the thickest point. rounding: standard
    deviation of the blur that rounds its edges. roughness: standard deviation of its surface's unevenness. neck: of the
    blur that fills the creases where it has grown together with others. composition: how it differs from the other
    bodies of the scene, standard normal; bodies that have grown together are alike.
    """

    radii: Floats
    stretch: Floats
    free: Floats
    upper: Floats
    lower: Floats
    ellipsoid: Floats
    height: float
    rounding: float
    roughness: float
    neck: float
    composition: float

    @property
    def outline(self) -> NDArray[np.float64]:
        """(RAYS, 2) x, y; its area is that of a disc of diameter 1, before sintering.py cuts it."""
        return _rays().T * self.radii[:, None].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Body(Particle):
    """A particle whose surface is known. Where it lies, how large and how turned is its outline's matter alone.

    So outline_nm must be form.outline, scaled, turned and moved.
    """

    form: Form = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Habit:
    """What the grains of a sample have in common.

    aspect: range of the longest axis over the middle one, ≥ 1. flatness: of the shortest over the middle one, ≤ 1.
    faceting: 0 (smooth ellipsoids) to 1 (all faces, edges as sharp as rounding leaves them). rounding: of edges and
    corners, over the diameter. irregularity: relative standard deviation of the outline's waves. roughness: standard
    deviation of the surface's unevenness over the diameter. neck: of the blur that fills creases, over the diameter.
    """

    aspect: tuple[float, float]
    flatness: tuple[float, float]
    faceting: float
    rounding: float
    irregularity: float
    roughness: float
    neck: float = 0.0


def draw_forms(kinds: Sequence[str], habit: Habit, rng: np.random.Generator) -> list[Form]:
    """One form for every kind (a name in KINDS), each with its own axes, faces and attitude."""
    count = len(kinds)
    if not count:
        return []
    normals, distances = _faces(kinds, habit, rng)
    frames = _frames(count, habit, rng)
    planes = _planes(normals, distances, frames)
    ellipsoids = _ellipsoids(frames)
    exact = _silhouettes(planes, ellipsoids)
    radii = _worn(exact, habit, rng)
    stretch = radii / exact
    # rays cut the outline into triangles: area = Σ r_k r_{k+1} sin(2π / RAYS) / 2, wanted is π / 4
    area = np.sum(radii * np.roll(radii, -1, axis=1), axis=1) * np.sin(2.0 * np.pi / RAYS) / 2.0
    scale = np.sqrt(np.pi / 4.0 / area)
    heights = _thickest(planes, ellipsoids, exact) * scale
    planes[:, :, 0] *= scale[:, None]
    ellipsoids[:, 2] *= scale**2
    rounding = habit.rounding * rng.uniform(0.6, 1.4, count)
    roughness = habit.roughness * rng.uniform(0.5, 1.5, count)
    composition = rng.standard_normal(count)
    forms: list[Form] = []
    for i in range(count):
        above, below = (planes[i, planes[i, :, 3] == side, :3].astype(np.float32) for side in (1.0, -1.0))
        outline = (radii[i] * scale[i]).astype(np.float32), stretch[i].astype(np.float32), np.ones(RAYS, np.float32)
        worn = float(rounding[i]), float(roughness[i]), habit.neck, float(composition[i])
        forms.append(Form(*outline, above, below, ellipsoids[i].astype(np.float32), float(heights[i]), *worn))
    return forms


def _faces(
    kinds: Sequence[str], habit: Habit, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Unit directions (N, FACES, 3) and distances (N, FACES); faces that a body does not have are far away."""
    normals, distances = np.zeros((len(kinds), FACES, 3)), np.full((len(kinds), FACES), FAR)
    normals[:, :, 2] = 1.0
    for i, kind in enumerate(kinds):
        faces = KINDS[kind](rng)
        depth = np.clip(habit.faceting + rng.normal(0.0, 0.1), 0.0, 1.0)
        normals[i, : len(faces)] = faces[:, :3]
        distances[i, : len(faces)] = 1.0 - depth * (1.0 - faces[:, 3])
    return normals / np.linalg.norm(normals, axis=2, keepdims=True), distances


def _frames(count: int, habit: Habit, rng: np.random.Generator) -> NDArray[np.float64]:
    """A (N, 3, 3) for q = A x: lying more or less flat, long axis in any direction of the plane."""
    axes = np.ones((count, 3))
    axes[:, 0] = rng.uniform(*habit.aspect, count)
    axes[:, 2] = rng.uniform(*habit.flatness, count)
    roll, rise = np.radians(35.0) * rng.standard_normal(count), np.radians(18.0) * rng.standard_normal(count)
    turns = _turn(roll, 1, 2) @ _turn(rise, 0, 2) @ _turn(rng.uniform(0.0, 2.0 * np.pi, count), 0, 1)
    return np.asarray(turns / axes[:, :, None], np.float64)


def _turn(angle: NDArray[np.float64], first: int, second: int) -> NDArray[np.float64]:
    matrix = np.broadcast_to(np.eye(3), (len(angle), 3, 3)).copy()
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix[:, first, first], matrix[:, second, second] = cosine, cosine
    matrix[:, first, second], matrix[:, second, first] = sine, -sine
    return matrix


def _planes(
    normals: NDArray[np.float64], distances: NDArray[np.float64], frames: NDArray[np.float64]
) -> NDArray[np.float64]:  # fmt: skip
    """(N, FACES, 4): z = a + b x + c y of every face, and +1 if the body lies below it, −1 if above, 0 if far away."""
    tilted = normals @ frames
    steep = tilted[:, :, 2]
    steep = np.where(steep < 0, np.minimum(steep, -STEEPEST), np.maximum(steep, STEEPEST))
    side = np.where(distances >= FAR, 0.0, np.sign(steep))
    return np.stack([distances / steep, -tilted[:, :, 0] / steep, -tilted[:, :, 1] / steep, side], axis=2)


def _ellipsoids(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 6): see Form.ellipsoid. From |A (x, y, z)|² = 1, a quadratic equation for z."""
    square = np.swapaxes(frames, 1, 2) @ frames
    a, bx, by = square[:, 2, 2], square[:, 0, 2], square[:, 1, 2]
    bx, by = bx / a, by / a
    parts = [
        bx, by, 1.0 / a,
        bx**2 - square[:, 0, 0] / a, 2.0 * (bx * by - square[:, 0, 1] / a), by**2 - square[:, 1, 1] / a,
    ]  # fmt: skip
    return np.stack(parts, axis=1)


def _rays() -> NDArray[np.float64]:
    """(2, RAYS) unit vectors."""
    angle = 2.0 * np.pi * np.arange(RAYS) / RAYS
    return np.stack([np.cos(angle), np.sin(angle)])


def _thickness(
    planes: NDArray[np.float64], ellipsoids: NDArray[np.float64]
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:  # fmt: skip
    """Along rays z is linear in the radius: offsets (N, K, 1) and slopes (N, K, RAYS) of the faces above and below,
    and the half thickness of the ellipsoid as √(constant (N, 1) + square (N, RAYS) · radius²)."""
    x, y = _rays()
    sides = []
    for side in (1.0, -1.0):
        here = planes[:, :, 3] == side
        most = max(1, int(np.count_nonzero(here, axis=1).max()))
        order = np.argsort(~here, axis=1, kind="stable")[:, :most]
        a, b, c, _ = (part[:, :, None] for part in np.moveaxis(np.take_along_axis(planes, order[:, :, None], 1), 2, 0))
        here = np.take_along_axis(here, order, 1)[:, :, None]
        sides += [
            np.where(here, a, side * FAR).astype(np.float32),
            np.where(here, b * x + c * y, 0.0).astype(np.float32),
        ]
    e = ellipsoids[:, :, None]
    constant, square = e[:, 2], e[:, 3] * x**2 + e[:, 4] * x * y + e[:, 5] * y**2
    return sides[0], sides[1], sides[2], sides[3], constant.astype(np.float32), square.astype(np.float32)


def _gap(parts: tuple[NDArray[np.floating], ...], tilt: Floats, radius: Floats) -> Floats:
    """Upper less lower surface (N, RAYS) at that radius of every ray; negative outside the body."""
    top, top_slope, bottom, bottom_slope, constant, square = parts
    middle, half = tilt * radius, np.sqrt(np.maximum(constant + square * radius**2, np.float32(0.0)))
    faces = top_slope * radius[:, None]
    faces += top
    upper = np.minimum(faces.min(axis=1), middle + half)
    faces = bottom_slope * radius[:, None]
    faces += bottom
    lower = np.maximum(faces.max(axis=1), middle - half)
    return np.asarray(upper - lower, np.float32)


def _tilt(ellipsoids: NDArray[np.float64]) -> Floats:
    return np.asarray(-(ellipsoids[:, :2] @ _rays()), np.float32)


def _silhouettes(planes: NDArray[np.float64], ellipsoids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radii (N, RAYS) at which the surfaces meet, by bisection: the gap is concave and positive in the middle."""
    parts, tilt = _thickness(planes, ellipsoids), _tilt(ellipsoids)
    inner = np.zeros((len(planes), RAYS), np.float32)
    outer = np.sqrt(parts[4] / -parts[5]).astype(np.float32)  # where the ellipsoid ends
    for _ in range(BISECTIONS):
        middle = (inner + outer) / np.float32(2.0)
        inside = _gap(parts, tilt, middle) > 0.0
        inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
    return np.asarray((inner + outer) / 2.0, np.float64)


def _thickest(
    planes: NDArray[np.float64], ellipsoids: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:  # fmt: skip
    """Largest gap (N,), looked for at five radii of every ray."""
    parts, tilt = _thickness(planes, ellipsoids), _tilt(ellipsoids)
    shares = (0.0, 0.12, 0.25, 0.4, 0.6)
    gaps = [_gap(parts, tilt, (share * radii).astype(np.float32)).max(axis=1) for share in shares]
    return np.asarray(np.max(gaps, axis=0), np.float64)


def _worn(radii: NDArray[np.float64], habit: Habit, rng: np.random.Generator) -> NDArray[np.float64]:
    """The outline with corners rounded (a Gaussian along it) and waves of 2 to 6 a turn on it."""
    count = len(radii)
    sigma = 2.0 * habit.rounding * RAYS / (2.0 * np.pi)  # at a radius of half a diameter, an arc of rounding diameters
    frequency = np.fft.rfftfreq(RAYS)
    smooth = np.fft.irfft(np.fft.rfft(radii) * np.exp(-2.0 * (np.pi * sigma * frequency) ** 2), RAYS)
    order = np.arange(2, 7)
    amplitude = habit.irregularity * rng.standard_normal((count, len(order))) * 2.0 / order
    phase = rng.uniform(0.0, 2.0 * np.pi, (count, len(order), 1))
    angle = 2.0 * np.pi * np.arange(RAYS) / RAYS
    waves = np.einsum("nk,nkj->nj", amplitude, np.cos(order[:, None] * angle + phase))
    return np.asarray(smooth * np.clip(1.0 + waves, 0.5, 1.5), np.float64)

"""Silhouettes of particles lying on a support, seen along the beam. Lengths are in equivalent diameters.

Every outline has the area of a disc of diameter 1 and its centroid at (0, 0), so that a size distribution of
equivalent diameters can be laid on any shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from tem_seg.generation.raster import following

POINTS = 64
"""Corners of every outline: on a disc of 100 px the chords miss the circle by less than 0.07 px."""
FREQUENCIES = np.fft.fftfreq(POINTS)
WAVES = np.arange(2, 8)
"""Waves a turn of an irregular outline."""


@dataclass(frozen=True, slots=True)
class Silhouette:
    """outline (POINTS, 2) x, y. height: thickest point. bevel, edge_power: see raster.thickness_nm.

    sectors: crystal grains that meet in the middle (5 in a decahedron), 0 for none.
    """

    outline: NDArray[np.float64]
    height: float
    bevel: float = 1.0
    edge_power: float = 2.0
    sectors: int = 0


@dataclass(frozen=True, slots=True)
class Roughness:
    """corner: rounding of corners as a share of a side's length. irregularity: relative deviation of the radius."""

    corner: float
    irregularity: float


Draw = Callable[[np.random.Generator, Roughness], Silhouette]


def area(outline: NDArray[np.float64]) -> float:
    """Area inside a closed outline (K, 2), in its unit squared (shoelace formula)."""
    x, y = outline[:, 0], outline[:, 1]
    return float(abs(np.dot(x, following(y)) - np.dot(y, following(x))) / 2.0)


def normalised(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moved to its centroid and scaled to the area of a disc of diameter 1."""
    corners = _complex(outline)
    after = following(corners)
    cross = (corners.conj() * after).imag
    twice = cross.sum()
    centroid = np.dot(corners + after, cross) / (3.0 * twice)
    return _points((corners - centroid) * np.sqrt(np.pi / 2.0 / abs(twice)))


def _complex(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    """(K, 2) x, y → (K,) x + i y: half as many calls, which is what small arrays cost."""
    return np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]


def _points(corners: NDArray[np.complex128]) -> NDArray[np.float64]:
    return corners.view(np.float64).reshape(-1, 2)


def resampled(corners: NDArray[np.float64], points: int = POINTS) -> NDArray[np.float64]:
    """Points at equal steps along a closed polygon (K, 2)."""
    each = _complex(corners)
    closed = np.concatenate((each, each[:1]))
    along = np.zeros(len(closed))
    np.cumsum(np.abs(closed[1:] - each), out=along[1:])
    return _points(np.interp(np.arange(points) * (along[-1] / points), along, closed))


def rounded(corners: NDArray[np.float64], corner: float) -> NDArray[np.float64]:
    """Polygon with its corners rounded off: a Gaussian of ``corner`` × side length run along the outline."""
    sigma = corner * POINTS / len(corners) / 2.0
    spectrum = scipy.fft.fft(_complex(resampled(corners)))
    return _points(scipy.fft.ifft(spectrum * np.exp(-2.0 * np.square(np.pi * sigma * FREQUENCIES))))


def irregular(outline: NDArray[np.float64], amount: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Radius changed by smooth random waves (2 to 7 a turn) of relative standard deviation about ``amount``."""
    angle = np.arctan2(outline[:, 1], outline[:, 0])
    amplitude = amount * rng.standard_normal(len(WAVES)) * 2.0 / WAVES
    waves = np.cos(WAVES[:, None] * angle + rng.uniform(0.0, 2.0 * np.pi, (len(WAVES), 1)))
    return np.asarray(outline * (1.0 + amplitude @ waves)[:, None], np.float64)


def regular(sides: int, turn: float = 0.0) -> NDArray[np.float64]:
    """Corners (sides, 2) of a regular polygon on the unit circle."""
    angle = 2.0 * np.pi * np.arange(sides) / sides + turn
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ellipse(aspect: float = 1.0) -> NDArray[np.float64]:
    """(POINTS, 2) outline of an ellipse of the given long over short axis."""
    return np.asarray(regular(POINTS) * np.array([np.sqrt(aspect), 1.0 / np.sqrt(aspect)]), np.float64)


def stadium(aspect: float) -> NDArray[np.float64]:
    """(POINTS, 2) outline of a rectangle with half discs on both ends; aspect = length over width >= 1; width 1."""
    cap = np.linspace(-np.pi / 2.0, np.pi / 2.0, 33)
    right = np.stack([np.cos(cap), np.sin(cap)], axis=1) / 2.0 + [(aspect - 1.0) / 2.0, 0.0]
    return resampled(np.vstack([right, -right]))


def _finish(outline: NDArray[np.float64], rough: Roughness, rng: np.random.Generator) -> NDArray[np.float64]:
    return normalised(irregular(normalised(outline), rough.irregularity, rng))


def sphere(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """Nearly round; every third one with facets, as grown crystals have."""
    base = ellipse(1.0 + abs(rng.normal(0.0, 2.0 * rough.irregularity)))
    if rng.random() < 1 / 3:
        base = rounded(regular(int(rng.integers(6, 11))), max(0.3, rough.corner))
    return Silhouette(_finish(base, rough, rng), height=1.0)


def rod(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """Cylinder with round caps (two of three) or blunt ends, lying down; length over width 1.6 to 5."""
    aspect = float(rng.uniform(1.6, 5.0))
    half = np.array([[-aspect, -1.0], [aspect, -1.0], [aspect, 1.0], [-aspect, 1.0]]) / 2.0
    base = stadium(aspect) if rng.random() < 2 / 3 else rounded(half, 0.15)
    outline = _finish(base, Roughness(rough.corner, rough.irregularity / 2.0), rng)
    return Silhouette(outline, height=float(np.sqrt(np.pi / 4.0 / aspect)), bevel=float(rng.uniform(0.5, 1.0)))


def cube(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """Cube or slightly longer block, lying on a face."""
    aspect = float(1.0 + abs(rng.normal(0.0, 0.12)))
    corners = np.array([[-aspect, -1.0], [aspect, -1.0], [aspect, 1.0], [-aspect, 1.0]])
    outline = _finish(rounded(corners, rough.corner), rough, rng)
    return Silhouette(outline, float(np.sqrt(np.pi / 4.0 / aspect)), bevel=float(rng.uniform(0.08, 0.35)))


def concave_cube(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """Cube whose faces are dents: overgrown corners."""
    dent = float(rng.uniform(0.55, 0.66))
    corners = np.empty((8, 2))
    corners[0::2], corners[1::2] = regular(4), regular(4, np.pi / 4.0) * dent
    return Silhouette(_finish(rounded(corners, rough.corner), rough, rng), 0.85, float(rng.uniform(0.2, 0.6)), 1.0)


def triangle(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """Thin triangular plate, a third of them with cut corners."""
    corners = regular(3)
    if rng.random() < 1 / 3:
        cut = float(rng.uniform(0.08, 0.3))
        near, far = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
        corners = np.stack([corners + cut * (near - corners), corners + cut * (far - corners)], axis=1).reshape(-1, 2)
    return _plate(corners, rng, rough)


def hexagon(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """Thin hexagonal plate."""
    return _plate(regular(6), rng, rough)


def _plate(corners: NDArray[np.float64], rng: np.random.Generator, rough: Roughness) -> Silhouette:
    outline = _finish(rounded(corners, rough.corner), rough, rng)
    return Silhouette(outline, height=float(rng.uniform(0.25, 0.7)), bevel=float(rng.uniform(0.05, 0.3)))


def decahedron(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """Five twinned tetrahedra around an axis: a pentagon of five sectors."""
    outline = _finish(rounded(regular(5), rough.corner), rough, rng)
    return Silhouette(outline, height=0.7, bevel=float(rng.uniform(0.25, 0.8)), edge_power=1.0, sectors=5)


def bipyramid(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """Two slender pyramids base to base, lying on a side."""
    aspect = float(rng.uniform(1.6, 3.2))
    tip = float(rng.uniform(0.06, 0.2))
    corners = np.array([[aspect, -tip], [aspect, tip], [0, 1], [-aspect, tip], [-aspect, -tip], [0, -1]])
    outline = _finish(rounded(corners, rough.corner), rough, rng)
    return Silhouette(outline, height=float(1.1 / np.sqrt(aspect)), bevel=float(rng.uniform(0.5, 1.0)), edge_power=1.5)


def octahedron(rng: np.random.Generator, rough: Roughness) -> Silhouette:
    """On a face (hexagon) or standing on a corner (square or rhombus), thickest in the middle."""
    corners = regular(6) if rng.random() < 0.5 else regular(4) * [1.0, float(rng.uniform(0.7, 1.0))]
    outline = _finish(rounded(corners, rough.corner), rough, rng)
    return Silhouette(outline, height=0.9, bevel=float(rng.uniform(0.25, 0.8)), edge_power=1.0)


SHAPES: dict[str, Draw] = {
    "sphere": sphere, "rod": rod, "cube": cube, "concave_cube": concave_cube, "triangle": triangle,
    "hexagon": hexagon, "decahedron": decahedron, "bipyramid": bipyramid, "octahedron": octahedron,
}  # fmt: skip
"""Every shape by name; a recipe's ``shapes`` mapping picks from these."""

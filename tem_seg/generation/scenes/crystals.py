"""Faces of the kinds of grains, in the coordinates in which their ellipsoid is the unit sphere.

A kind is a function that gives (faces, 4) float64: direction (x along the longest axis; any length), and the distance
of the face when faceting is 1. Distances below 1 cut the sphere. At most 24 faces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _irregular(rng: np.random.Generator) -> NDArray[np.float64]:
    """Broken or grown at random: 8 to 18 faces in directions that keep apart."""
    count = int(rng.integers(8, 19))
    spiral = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1.0 - 2.0 * spiral / count), np.pi * (1.0 + np.sqrt(5.0)) * spiral
    even = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)
    directions = even + rng.normal(0.0, 0.25, even.shape)
    return np.concatenate([directions, rng.uniform(0.58, 0.95, (count, 1))], axis=1)


def _bipyramid(rng: np.random.Generator) -> NDArray[np.float64]:
    """Tetragonal, as anatase: eight faces {101}, two tips that are more or less cut off."""
    azimuth = np.pi / 2.0 * np.arange(4)
    sides = [[sign, np.cos(angle), np.sin(angle), 0.7] for sign in (-1.0, 1.0) for angle in azimuth]
    return np.array([*sides, *_ends(rng, 0.55, 0.95)])


def _prism(rng: np.random.Generator) -> NDArray[np.float64]:
    """Four, six or eight sides along the long axis, as rutile; ends flat or with a small pyramid."""
    count = int(rng.choice((4, 6, 8)))
    azimuth = 2.0 * np.pi * np.arange(count) / count
    sides = [[0.0, np.cos(angle), np.sin(angle), rng.uniform(0.68, 0.8)] for angle in azimuth]
    if rng.random() < 0.5:
        return np.array([*sides, *_ends(rng, 0.75, 0.92)])
    tips = [[sign, np.cos(a), np.sin(a), 0.85] for sign in (-1.0, 1.0) for a in np.pi / 2.0 * np.arange(4)]
    return np.array([*sides, *tips])


def _block(rng: np.random.Generator) -> NDArray[np.float64]:
    """Six faces at right angles, corners cut by the ellipsoid."""
    middle = [[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
    sides = [[*normal, rng.uniform(0.6, 0.72)] for normal in middle]
    return np.array([*sides, *_ends(rng, 0.6, 0.72)])


def _ends(rng: np.random.Generator, low: float, high: float) -> list[list[float]]:
    return [[sign, 0.0, 0.0, float(rng.uniform(low, high))] for sign in (-1.0, 1.0)]


def _smooth(rng: np.random.Generator) -> NDArray[np.float64]:
    """No face: a rounded grain."""
    return np.empty((0, 4))


KINDS = {
    "irregular": _irregular, "smooth": _smooth, "bipyramid": _bipyramid, "prism": _prism, "block": _block,
}  # fmt: skip
"""Every kind by name; a recipe's ``shapes`` mapping picks from these."""

"""The shape of two particles on their way to one, and volumes of shapes. Lengths are in diameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Particle
from tem_seg.generation.raster import thickness_nm
from tem_seg.generation.scenes.shapes import POINTS, area, rounded

SPHERE = np.pi / 6.0
"""Volume of a sphere over its diameter³."""
NECK = 0.05
"""Rounding of the notch: twice the standard deviation of the Gaussian run along the outline, over its length."""
SAMPLES = 96
"""Pixels a diameter on which volumes are summed up."""


def dumbbell(lobes: NDArray[np.float64], apart: float) -> tuple[NDArray[np.float64], float]:
    """Outline (POINTS, 2) and height, over the diameter, of two spheres grown into each other; centre of mass (0, 0).

    lobes (2,): radii over the diameter of the sphere of their volume; apart 0-1: distance of their centres over the sum
    of the radii. The spheres overlap and both are scaled up so that their union keeps the volume. A union of two
    discs is star-shaped about any point of their common chord, so one radius an angle tells it all. The sharp notch
    is rounded into a neck.
    """
    first, second = float(lobes[0]), float(lobes[1])
    distance = apart * (first + second)
    scale = float(np.cbrt(SPHERE / _union(first, second, distance)))
    first, second, distance = first * scale, second * scale, distance * scale
    weight = second**3 / (first**3 + second**3)
    centres, chord = (-distance * weight, distance * (1.0 - weight)), 0.0
    if distance > abs(first - second):
        chord = centres[0] + (distance**2 + first**2 - second**2) / (2.0 * distance)
    else:
        centres = (0.0, 0.0)  # the smaller one lies within the larger
    angle = np.linspace(0.0, 2.0 * np.pi, 4 * POINTS, endpoint=False)
    radius = np.zeros(len(angle))
    for centre, size in zip(centres, (first, second), strict=True):
        along, across = (centre - chord) * np.cos(angle), (centre - chord) * np.sin(angle)
        radius = np.maximum(radius, along + np.sqrt(np.maximum(size**2 - across**2, 0.0)))
    sharp = np.stack([chord + radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    smooth = rounded(sharp, NECK * len(sharp))
    return smooth * np.sqrt(area(sharp) / area(smooth)), 2.0 * max(first, second)


def volume_factor(outline: NDArray[np.float64], contrast: dict[str, float], height: float) -> float:
    """Volume over diameter³ of a shape whose outline (K, 2) and height are given in diameters, as it will be drawn.

    Exactly π/6 for a sphere (bevel 1, edge_power 2, height 1), whatever the wobble of its outline.
    """
    if contrast.get("bevel", 1.0) == 1.0 and contrast.get("edge_power", 2.0) == 2.0 and height == 1.0:
        return SPHERE
    drawn = thickness_nm(Particle(outline, height, "", "", contrast), outline * SAMPLES)
    return float(drawn.values.sum()) / SAMPLES**2


def _union(first: float, second: float, distance: float) -> float:
    """Volume of two spheres of these radii (lens: Weisstein, MathWorld, Sphere-Sphere Intersection, eq. 16)."""
    if distance <= abs(first - second):
        return 4.0 / 3.0 * np.pi * max(first, second) ** 3
    depth = max(first + second - distance, 0.0)
    span = distance**2 + 2.0 * distance * (first + second) - 3.0 * (first - second) ** 2
    return float(4.0 / 3.0 * np.pi * (first**3 + second**3) - np.pi * depth**2 * span / (12.0 * distance))

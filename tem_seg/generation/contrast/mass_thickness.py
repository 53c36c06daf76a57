"""Bright field with an objective aperture: mass-thickness contrast of particles, whatever lies under them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Particle, Scene
from tem_seg.generation import raster
from tem_seg.generation.contrast import diffraction
from tem_seg.generation.microscope import noise

Field = NDArray[np.float32]
Texture = Callable[[Particle, NDArray[np.float64], raster.Crop], Field | None]
"""(particle, its outline (K, 2) in px, its thickness) → factor (h, w) on its scattering, or None for 1."""


@dataclass(frozen=True)
class MassThickness:
    """Transmission exp(−Σ μ t), multiplied where particles overlap.

    μ is each particle's contrast["scattering_per_nm"] (1 / nm; 0 makes it invisible), t its thickness, and
    ``interior`` a factor on μ. Beer-Lambert mass-thickness contrast: Reimer & Kohl, Transmission Electron
    Microscopy, 5th ed., section 6.1.
    """

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> Field:
        """Transmission (H, W) float32 in (0, 1], 1 where there is no particle."""
        return transmission(np.zeros(image_size, np.float32), scene, interior(scene, image_size, rng))


def transmission(density: Field, scene: Scene, texture: Texture) -> Field:
    """exp(−(density + Σ μ t of the scene's particles)), (H, W) float32; density, the support's, is used up."""
    image_size = (density.shape[0], density.shape[1])
    pixel_size_nm = scene.field_of_view_nm[0] / image_size[0]
    outlines = [particle.outline_nm / pixel_size_nm for particle in scene.particles]
    crops = raster.thicknesses_nm(scene.particles, outlines)
    for particle, outline_px, crop in zip(scene.particles, outlines, crops, strict=True):
        scattered = crop.values * np.float32(particle.contrast["scattering_per_nm"])
        factor = texture(particle, outline_px, crop)
        if factor is not None:
            scattered *= factor
        inside = raster.cut(raster.Crop(scattered, crop.x0, crop.y0), image_size)
        if inside is not None:
            density[inside.window] += inside.values
    return np.exp(np.negative(density, out=density), out=density)


def interior(scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> Texture:
    """Diffraction contrast of crystals and ``granules`` of rough ones, where a particle's contrast asks for them."""
    pixel_size_nm = scene.field_of_view_nm[0] / image_size[0]

    def texture(particle: Particle, outline_px: NDArray[np.float64], crop: raster.Crop) -> Field | None:
        crystal = diffraction.texture(particle.contrast, crop.values, rng)
        grains = granules(crop.values.shape, particle.contrast, pixel_size_nm, rng)
        return grains if crystal is None else crystal if grains is None else crystal * grains

    return texture


def granules(
    size: tuple[int, int], contrast: dict[str, float], pixel_nm: float, rng: np.random.Generator
) -> Field | None:  # fmt: skip
    """Factor (h, w) on the scattering of a granular particle; None for a smooth one.

    contrast: granular, the relative standard deviation (absent: 0), and grain_nm, the grains' diameter.
    """
    strength = contrast.get("granular", 0.0)
    if strength == 0.0:
        return None
    field = noise.normal(size, rng)
    # a grain's profile is taken as a Gaussian of that full width at half maximum
    sigma = float(np.clip(contrast["grain_nm"] / pixel_nm / 2.355, 0.3, max(size) / 6.0))
    field = np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)
    spread = float(cv2.meanStdDev(field)[1][0, 0])
    field *= np.float32(strength / spread if spread > 0 else 0.0)
    field += np.float32(1.0)
    return np.maximum(field, np.float32(0.0), out=field)

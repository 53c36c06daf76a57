"""Contrast of transmitted electrons in a scanning electron microscope (TSEM), bright field."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Scene
from tem_seg.generation.contrast.relief import reliefs_of
from tem_seg.generation.microscope import noise
from tem_seg.generation.ranges import NOT_NEGATIVE, SHARE, Range, check, log_uniform, uniform

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TransmittedElectrons:
    """Transmission floor + (1 − floor) · exp(−Σ μ t) on a film, t the bodies' thickness; thicknesses add up in a pile.

    μ = optical_density over the median particle's height, which at 10-30 kV leaves grey only at the rims and in the
    smallest particles. The floor is what the detector counts of electrons scattered by wide angles. Residue is dried
    suspension on the film: faint, shapeless, no particle.
    """

    optical_density: Range
    """-ln(transmission) through the median of the particles' heights; log-uniform."""
    density_spread: Range
    """Standard deviation of ln(μ) among the particles of a micrograph."""
    floor: Range
    """Signal of the thickest particles over the film's."""
    film: Range
    """Relative standard deviation of the film's thickness."""
    residue: Range
    """Darkening where residue is thickest."""
    residue_share: float
    """Share 0-1 of the micrographs that have residue."""

    def __post_init__(self) -> None:
        ranges = {
            "optical_density": (0.01, 100.0), "density_spread": (0.0, 2.0), "floor": (0.0, 0.9), "film": (0.0, 0.5),
            "residue": NOT_NEGATIVE,
        }  # fmt: skip
        check(self, ranges, {"residue_share": SHARE})

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> Floats:
        """Transmission (H, W) float32 >= 0, about 1 on the film."""
        density = np.zeros(image_size, np.float32)
        pixel_size_nm = scene.field_of_view_nm[0] / image_size[0]
        median_nm = float(np.median([p.height_nm for p in scene.particles])) if scene.particles else 1.0
        per_px = log_uniform(rng, self.optical_density) / median_nm * pixel_size_nm
        spread, floor = uniform(rng, self.density_spread), np.float32(uniform(rng, self.floor))
        for relief in reliefs_of(scene.particles, pixel_size_nm):
            crop = relief.inside(image_size)
            scattering = np.float32(per_px * np.exp(spread * rng.standard_normal()))
            if crop is not None:
                density[crop.window] += (crop.upper - crop.lower) * crop.mask * scattering
        through = np.exp(-density) * (np.float32(1.0) - floor) + floor
        return np.asarray(through * self._film(image_size, rng), np.float32)

    def _film(self, image_size: tuple[int, int], rng: np.random.Generator) -> Floats:
        """(H, W): 1, slowly uneven, darker under residue."""
        film = np.float32(1.0) + np.float32(uniform(rng, self.film)) * noise.slow_field(image_size, 5, rng)
        if rng.random() < self.residue_share:
            film *= np.exp(np.float32(-uniform(rng, self.residue)) * _residue(image_size, rng))
        return np.asarray(np.maximum(film, np.float32(0.0)), np.float32)


def _residue(image_size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """(H, W) float32 0-1: a few clouds of rugged patches and threads, from fields of four scales."""
    size = (max(16, image_size[0] // 3), max(16, image_size[1] // 3))
    patches = noise.slow_field(size, int(rng.integers(5, 12)), rng) - np.float32(rng.uniform(1.4, 2.2))
    for cells, weight in ((24, 0.8), (60, 0.5), (140, 0.3)):
        patches += np.float32(weight) * noise.slow_field(size, cells, rng)
    patches = np.clip(patches, 0.0, 1.0)
    return np.asarray(cv2.resize(patches, image_size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)

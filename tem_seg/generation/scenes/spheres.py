"""Sphere-like particles of one material: sizes, outlines, contrast. What a batch from one bottle has in common."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Particle
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, Range, check, log_uniform, uniform
from tem_seg.generation.scenes.packing import joined
from tem_seg.generation.scenes.shapes import ellipse, irregular, normalised
from tem_seg.generation.scenes.sizes import log_normal, mean_area

RANGES: dict[str, Range] = {
    "diameter_nm": POSITIVE, "sigma_log": (0.0, 1.0), "aspect": (1.0, 2.0), "irregularity": (0.0, 0.2),
    "roughness": (0.0, 0.1), "neck_deg": (0.0, 30.0), "pressed": (0.0, 0.15), "optical_density": (0.01, 20.0),
    "density_spread": (0.0, 1.0), "edge_power": (1.0, 6.0), "flatness": (0.1, 1.0), "granular": (0.0, 1.0),
    "grain_nm": POSITIVE,
}  # fmt: skip
FINE_WAVES = np.arange(8, 20)
"""Waves a turn of the fine roughness; shapes.irregular has the coarse ones."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """One kind of spheres, as ranges over micrographs. Fields are explained in conf/recipe/polylatex_silica.yaml."""

    weight: float
    category: str
    diameter_nm: Range
    sigma_log: Range
    aspect: Range
    irregularity: Range
    roughness: Range
    neck_deg: Range
    pressed: Range
    optical_density: Range
    density_spread: Range
    edge_power: Range
    flatness: Range
    granular: Range
    grain_nm: Range

    def __post_init__(self) -> None:
        check(self, RANGES, {"weight": NOT_NEGATIVE})
        if not isinstance(self.category, str) or not self.category:
            raise UserError(f"Material.category must be the name of a class, got {self.category!r}")

    def batch(self, rng: np.random.Generator, median_nm: float, share: float = 1.0) -> Batch:
        """What the particles of this material have in common in one micrograph."""
        return Batch(
            self.category, share, median_nm, uniform(rng, self.sigma_log), uniform(rng, self.aspect),
            uniform(rng, self.irregularity), uniform(rng, self.roughness), uniform(rng, self.neck_deg),
            uniform(rng, self.pressed), log_uniform(rng, self.optical_density) / median_nm,
            uniform(rng, self.density_spread), uniform(rng, self.edge_power), uniform(rng, self.flatness),
            uniform(rng, self.granular), log_uniform(rng, self.grain_nm),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """One material in one micrograph. share: of the particles; scattering in 1 / nm; the rest as in Material."""

    category: str
    share: float
    median_nm: float
    sigma: float
    aspect: float
    irregularity: float
    roughness: float
    neck_deg: float
    pressed: float
    scattering_per_nm: float
    density_spread: float
    edge_power: float
    flatness: float
    granular: float
    grain_nm: float

    @property
    def mean_area_nm2(self) -> float:
        """Of a particle's outline."""
        return mean_area(self.median_nm, self.sigma)

    def particles(self, rng: np.random.Generator, count: int, smallest_nm: float) -> list[Particle]:
        """Particles around (0, 0), not smaller than smallest_nm."""
        sizes = log_normal(rng, count, self.median_nm, self.sigma, (smallest_nm, np.inf))
        return [self._particle(rng, float(size)) for size in sizes]

    def joined(self, particles: list[Particle], centres: NDArray[np.float64]) -> list[Particle]:
        """The same, still around (0, 0), with flat facets where soft ones touch; centres (N, 2) nm: where they lie."""
        if self.neck_deg == 0.0 and self.pressed == 0.0:
            return particles
        outlines = joined([one.outline_nm for one in particles], centres, max(self.neck_deg, 1.0), self.pressed)
        return [replace(one, outline_nm=outline) for one, outline in zip(particles, outlines, strict=True)]

    def _particle(self, rng: np.random.Generator, diameter_nm: float) -> Particle:
        scattering = self.scattering_per_nm * float(np.exp(self.density_spread * rng.standard_normal()))
        contrast = {
            "scattering_per_nm": scattering, "bevel": 1.0, "edge_power": self.edge_power,
            "granular": self.granular, "grain_nm": self.grain_nm,
        }  # fmt: skip
        outline = self._outline(rng) * diameter_nm
        return Particle(outline, diameter_nm * self.flatness, "sphere", self.category, contrast)

    def _outline(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """(64, 2) around (0, 0) with the area of a disc of diameter 1."""
        outline = irregular(ellipse(1.0 + (self.aspect - 1.0) * rng.random()), self.irregularity, rng)
        angle = np.arctan2(outline[:, 1], outline[:, 0])
        waves = np.cos(FINE_WAVES[:, None] * angle + rng.uniform(0.0, 2.0 * np.pi, (len(FINE_WAVES), 1)))
        amplitude = self.roughness * rng.standard_normal(len(FINE_WAVES)) * np.sqrt(2.0 / len(FINE_WAVES))
        outline = normalised(outline * (1.0 + amplitude @ waves)[:, None])
        turn = rng.uniform(0.0, 2.0 * np.pi)
        return np.asarray(outline @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]))

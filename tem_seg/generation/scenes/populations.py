"""Populations of round-ish things of one class: how many, how large, how deformed, at which magnification seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, Range, check, log_uniform, uniform
from tem_seg.generation.scenes.shapes import ellipse, irregular, normalised
from tem_seg.generation.scenes.sizes import log_normal, mean_area

HEADROOM = 1.5
"""The largest of a class is seen at least so many times larger than the smallest that may be shown."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """One class, as ranges over micrographs. Fields are explained, with units, in conf/recipe/vesicles.yaml."""

    category: str
    count: Range
    diameter_nm: Range
    sigma_log: Range
    aspect: Range
    irregularity: Range
    max_coverage: float

    def __post_init__(self) -> None:
        limits = {"count": NOT_NEGATIVE, "diameter_nm": POSITIVE, "sigma_log": (0.0, 1.0), "aspect": (1.0, 3.0)}
        check(self, limits | {"irregularity": (0.0, 0.2)}, {"max_coverage": (0.001, 0.6)})
        if not isinstance(self.category, str) or not self.category:
            raise UserError(f"Population.category must be the name of a class, got {self.category!r}")

    def pixel_sizes_nm(self, image_size: tuple[int, int], min_diameter_px: float) -> Range:
        """From which pixel size on the fewest fit at their smallest, and up to which the largest are seen."""
        per_particle = self.max_coverage * image_size[0] * image_size[1] / max(self.count[0], 1e-9)
        least = self.diameter_nm[0] * np.sqrt(mean_area(1.0, self.sigma_log[1]) / per_particle)
        return float(least), self.diameter_nm[1] / (HEADROOM * min_diameter_px)

    def check_fits(self, image_size: tuple[int, int], min_diameter_px: float, pixel_sizes_nm: Range) -> None:
        """UserError if the fewest do not fit in an image of (H, W) px at any of these pixel sizes."""
        height, width = image_size
        covered_px2 = self.max_coverage * height * width
        smallest_px = max(min_diameter_px, self.diameter_nm[0] / pixel_sizes_nm[1])
        fit = int(covered_px2 / mean_area(smallest_px, self.sigma_log[1]))
        if self.count[0] > fit:
            raise UserError(
                f"Population.count: {self.count[0]:g} of {self.category}, {smallest_px:.1f} px and more in diameter, "
                f"do not fit in {height} × {width} px at max_coverage {self.max_coverage:g}, {fit} do: ask for fewer, "
                "smaller diameter_nm or larger images"
            )
        if self.diameter_nm[1] < HEADROOM * min_diameter_px * pixel_sizes_nm[0]:
            raise UserError(
                f"Population.diameter_nm: {self.category} of up to {self.diameter_nm[1]:g} nm are seen at less than "
                f"{HEADROOM:g} × min_diameter_px {min_diameter_px:g} with the pixels of {pixel_sizes_nm[0]:.3g} nm and "
                f"more that the fewest of every class need in {height} × {width} px: narrow the sizes, ask for fewer "
                "or larger images"
            )

    def diameters_nm(self, rng: np.random.Generator, field_nm2: float, smallest_nm: float) -> list[float]:
        """Those of one micrograph: within diameter_nm, none below smallest_nm, covering max_coverage at most."""
        sigma = uniform(rng, self.sigma_log)
        low, high = max(self.diameter_nm[0], smallest_nm), self.diameter_nm[1]
        fullest = np.sqrt(self.max_coverage * field_nm2 / max(self.count[0], 1.0) / mean_area(1.0, sigma))
        median = log_uniform(rng, (low, max(low, min(high, float(fullest)))))
        room = self.max_coverage * field_nm2 / mean_area(median, sigma)
        most = int(min(self.count[1], max(self.count[0], room)))
        count = int(rng.integers(int(self.count[0]), most + 1))
        return [float(size) for size in log_normal(rng, count, median, sigma, (low, high))]

    def outlines_nm(self, rng: np.random.Generator, diameters_nm: list[float]) -> list[NDArray[np.float64]]:
        """(64, 2) each around (0, 0): ellipses with waves, each with the area of a disc of its diameter."""
        irregularity = uniform(rng, self.irregularity)
        return [self._outline(rng, irregularity) * diameter for diameter in diameters_nm]

    def _outline(self, rng: np.random.Generator, irregularity: float) -> NDArray[np.float64]:
        turn = rng.uniform(0.0, 2.0 * np.pi)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        return normalised(irregular(ellipse(uniform(rng, self.aspect)), irregularity, rng) @ rotation)

"""Supported metal catalyst in annular dark field: many tiny particles on oxide or carbon.

Values, with units: conf/recipe/catalyst_haadf.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Particle
from tem_seg.generation.contrast import supports
from tem_seg.generation.contrast.supports import Support, SupportedScene
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.scenes.materials import checked_materials, picked, signal_per_nm
from tem_seg.generation.scenes.scatter import Sites, compact_outlines, scatter
from tem_seg.generation.scenes.sizes import check_smallest, log_normal, mean_area

RANGES: dict[str, Range] = {
    "particles": NOT_NEGATIVE, "diameter_nm": POSITIVE, "sigma_log": (0.0, 1.0), "diameter_px": (2.0, 1e3),
    "elongation": (1.0, 4.0), "irregularity": (0.0, 0.2), "height": (0.1, 2.0), "agglomerated": (0.0, 0.9),
    "agglomerate_overlap": (0.0, 0.9), "coverage": (0.05, 1.0), "layers": (1.0, 50.0), "unit": POSITIVE,
    "thickness": POSITIVE, "depth": NOT_NEGATIVE,
    "convergence_mrad": (0.0, 100.0), "film": NOT_NEGATIVE, "grain": (0.0, 1.0), "grain_size": POSITIVE,
    "density_spread": (0.0, 1.0),
}  # fmt: skip
NUMBERS: dict[str, Range] = {
    "min_diameter_px": (1.0, 1e3), "max_coverage": (0.005, 0.5), "faceted": SHARE, "min_contrast": NOT_NEGATIVE,
    "max_blur": NOT_NEGATIVE, "holey": SHARE, "empty_fraction": SHARE, "min_visible_px": (1.0, 1e6),
}  # fmt: skip
LARGEST_UNIT = 0.25  # of a support's units, over the field's shorter side: a field within one shows no texture
PROBE_PX = 1.6  # blur of probe and picture, standard deviation, at which a particle must still stand out
EASY = 1.5  # contrast of a median particle on the mean support over min_contrast, at least
SMALLEST_UNIT = 0.04  # over the longer side


@dataclass(frozen=True, kw_only=True)
class CatalystHAADF:
    """Draws scenes of supported catalysts. Fields are explained, with units, in conf/recipe/catalyst_haadf.yaml.

    Magnification follows particle size. Particles lie only where there is support, at the depth of the support's
    slice: out of focus if that slice is. Where one would stand out too little (min_contrast, max_blur) it is
    laid elsewhere, and left out if it finds no place: what nobody can see is not annotated.
    """

    metals: Mapping[str, Mapping[str, Any]]
    supports: Mapping[str, Mapping[str, Any]]
    particles: Range
    diameter_nm: Range
    sigma_log: Range
    diameter_px: Range
    min_diameter_px: float
    max_coverage: float
    elongation: Range
    irregularity: Range
    faceted: float
    height: Range
    density_spread: Range
    agglomerated: Range
    agglomerate_overlap: Range
    coverage: Range
    layers: Range
    unit: Range
    thickness: Range
    depth: Range
    film: Range
    holey: float
    grain: Range
    grain_size: Range
    convergence_mrad: Range
    max_blur: float
    min_contrast: float
    empty_fraction: float
    occlusion: str
    min_visible_px: int

    categories = ("particle",)
    modality = "haadf"
    composes_pictures = False

    def __post_init__(self) -> None:
        check(self, RANGES, NUMBERS)
        object.__setattr__(self, "min_visible_px", int(self.min_visible_px))
        object.__setattr__(self, "metals", checked_materials("CatalystHAADF.metals", self.metals))
        object.__setattr__(self, "supports", checked_materials("CatalystHAADF.supports", self.supports, forms=True))
        check_smallest("CatalystHAADF", self.min_diameter_px, self.diameter_px, 1.5)

    def identity(self) -> dict[str, Any]:
        """Class and parameters."""
        return describe(self)

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if even the fewest, smallest particles cover more of the sparsest support than max_coverage."""
        room = self._room(image_size, self.coverage[0], self.diameter_px[0], self.sigma_log[0])
        if self.particles[0] > room:
            raise UserError(
                f"CatalystHAADF.particles: {self.particles[0]:g} particles of median diameter {self.diameter_px[0]:g} "
                f"px do not fit in {image_size[0]} × {image_size[1]} px with support on {self.coverage[0]:g} of it and "
                f"max_coverage {self.max_coverage:g} ({room} would): ask for fewer or smaller particles, more support "
                "or larger images"
            )

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int] = (512, 512)) -> SupportedScene:
        """One scene for an image of (H, W) px; its pixel size is field_of_view_nm over image size."""
        median_nm, sigma = log_uniform(rng, self.diameter_nm), uniform(rng, self.sigma_log)
        coverage, smallest_px = uniform(rng, self.coverage), self.diameter_px[0]
        room = self._room(image_size, coverage, smallest_px, sigma)
        high = max(min(self.particles[1], room), self.particles[0])
        low = min(max(self.particles[0], 1.0), high)
        count = round(log_uniform(rng, (low, high))) if high >= 1 else 0
        largest_px = smallest_px * float(np.sqrt(max(1.0, room / max(count, 1))))
        pixel_nm = median_nm / log_uniform(rng, (smallest_px, min(self.diameter_px[1], largest_px)))
        if rng.random() < self.empty_fraction:
            count = 0
        field_nm = (image_size[0] * pixel_nm, image_size[1] * pixel_nm)
        metal = self.metals[picked(rng, self.metals)]
        signal, height = signal_per_nm(metal["atomic_number"], metal["atoms_per_nm3"]), uniform(rng, self.height)
        seen = signal * height / (1.0 + (2.35 * PROBE_PX * pixel_nm / median_nm) ** 2)  # as scatter reckons it
        support = self._support(rng, median_nm, seen, coverage, field_nm, image_size)
        diameters = log_normal(rng, count, median_nm, sigma, (self.min_diameter_px * pixel_nm, np.inf))
        particles = self._particles(rng, diameters, signal, height, support, field_nm, pixel_nm)
        return SupportedScene(tuple(particles), field_nm, support=support)

    def _room(self, image_size: tuple[int, int], coverage: float, median_px: float, sigma: float) -> int:
        return int(self.max_coverage * coverage * image_size[0] * image_size[1] / mean_area(median_px, sigma))

    def _support(
        self, rng: np.random.Generator, median_nm: float, seen: float, coverage: float, field_nm: tuple[float, float],
        image_size: tuple[int, int],
    ) -> Support:  # fmt: skip
        """Grown in cells of its map; lengths in the YAML are over the particles' median diameter.

        seen: signal of the middle of a median particle over its diameter. The support is made thin enough to see it:
        who takes the picture looks for such a place.
        """
        material = self.supports[picked(rng, self.supports)]
        size = supports.grid_of(image_size)
        cell_nm = field_nm[0] / size[0]
        unit = log_uniform(rng, self.unit) * median_nm / cell_nm
        unit = float(np.clip(unit, SMALLEST_UNIT * max(size), LARGEST_UNIT * min(size)))
        layers = int(rng.integers(int(self.layers[0]), int(self.layers[1]) + 1))
        grown = supports.units(material["form"], (float(size[0]), float(size[1])), unit, coverage, layers, rng)
        thickness, depth = supports.slices(grown, material["form"], size, rng)
        total = thickness.sum(axis=2)
        mean = float(total[total > 0].mean()) if total.any() else 1.0
        signal = signal_per_nm(material["atomic_number"], material["atoms_per_nm3"])
        thickest = seen / signal / (EASY * self.min_contrast) if self.min_contrast > 0 else np.inf
        thickness *= np.float32(min(log_uniform(rng, self.thickness), thickest) * median_nm / mean)
        depth *= uniform(rng, self.depth)
        focus = depth[int(rng.integers(len(depth)))]
        convergence = 1e-3 * uniform(rng, self.convergence_mrad)
        blur_nm = 0.5 * convergence * np.abs(depth - focus) * cell_nm  # half the disc's radius is its deviation
        film_nm = uniform(rng, self.film) * median_nm / signal  # carbon, as so much of the support
        film = supports.film(size, film_nm, rng.random() < self.holey, rng)
        grain_nm, seed = log_uniform(rng, self.grain_size) * median_nm, int(rng.integers(2**62))
        return Support(thickness, tuple(map(float, blur_nm)), film, signal, uniform(rng, self.grain), grain_nm, seed)

    def _particles(
        self, rng: np.random.Generator, diameters: NDArray[np.float64], signal: float, height: float, support: Support,
        field_nm: tuple[float, float], pixel_nm: float,
    ) -> list[Particle]:  # fmt: skip
        spread = uniform(rng, self.density_spread)
        signals = signal * np.exp(spread * rng.standard_normal(len(diameters)))
        sites = Sites(
            support, field_nm, self.min_contrast, PROBE_PX * pixel_nm, self.max_blur, uniform(rng, self.agglomerated),
            uniform(rng, self.agglomerate_overlap),
        )  # fmt: skip
        centres, blurs = scatter(diameters, signals * height * diameters, sites, rng)
        faceted = rng.random(len(diameters)) < self.faceted
        outlines = compact_outlines(
            faceted, uniform(rng, self.elongation), uniform(rng, self.irregularity), rng
        ) * diameters[:, None, None]  # fmt: skip
        found = []
        for i in np.flatnonzero(np.isfinite(blurs)):
            contrast = {"signal_per_nm": float(signals[i]), "blur_nm": float(blurs[i])}
            shape = "faceted" if faceted[i] else "rounded"
            outline = outlines[i] + centres[i]
            found.append(Particle(outline, float(height * diameters[i]), shape, "particle", contrast))
        return found

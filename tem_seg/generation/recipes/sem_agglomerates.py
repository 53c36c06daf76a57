"""Agglomerates of irregular, faceted grains in SEM or TSEM. Values and units: conf/recipe/sem_agglomerates.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Scene
from tem_seg.generation.ranges import POSITIVE, SHARE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.scenes.agglomerates import Packing, gather, numbers, scatter, trimmed
from tem_seg.generation.scenes.crystals import KINDS
from tem_seg.generation.scenes.facets import Body, Form, Habit, draw_forms
from tem_seg.generation.scenes.kinds import categories_of, checked_kinds, drawn_kinds
from tem_seg.generation.scenes.sintering import grown_together
from tem_seg.generation.scenes.sizes import Magnification, biggest_median_px, check_smallest, log_normal, mean_area

MODALITIES = ("sem", "tsem")
LARGEST_SHARE = 0.5
"""Of the image's shorter side that the largest median diameter may take."""
RANGES: dict[str, Range] = {
    "agglomerates": (0.0, 1e5), "particles_per_agglomerate": (1.0, 1e5), "agglomerated": (0.05, 1.0), "packing": SHARE,
    "overlap_limit": (0.0, 0.9), "sintered": SHARE, "diameter_nm": POSITIVE, "sigma_log": (0.0, 1.0),
    "diameter_px": (4.0, 1e4), "pixel_size_nm": POSITIVE, "kinds_per_image": (1.0, 100.0), "aspect": (1.0, 10.0),
    "flatness": (0.1, 1.0), "faceting": SHARE, "rounding": (0.0, 0.3), "irregularity": (0.0, 0.2),
    "roughness": (0.0, 0.05), "neck": (0.0, 0.3),
}  # fmt: skip
NUMBERS: dict[str, Range] = {
    "max_coverage": (0.01, 0.6), "min_diameter_px": (4.0, 1e4), "min_visible_px": (1.0, 1e6), "empty_fraction": SHARE,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SemAgglomerates:
    """Draws piles of grains. Fields are explained, with units, in conf/recipe/sem_agglomerates.yaml.

    Every micrograph has its own sizes, magnification, kinds of grains, and way of sticking together. Particles are
    in the order in which they were laid down: later ones on top (relief.piled gives them their heights), but for
    neighbours that have grown together, which are cut where they meet. An agglomerate that finds no free place is left
    out.
    """

    modality: str
    shapes: Mapping[str, Mapping[str, Any]]
    kinds_per_image: Range
    agglomerates: Range
    particles_per_agglomerate: Range
    agglomerated: Range
    packing: Range
    overlap_limit: Range
    sintered: Range
    diameter_nm: Range
    sigma_log: Range
    diameter_px: Range
    pixel_size_nm: Range
    min_diameter_px: float
    max_coverage: float
    aspect: Range
    flatness: Range
    faceting: Range
    rounding: Range
    irregularity: Range
    roughness: Range
    neck: Range
    empty_fraction: float
    occlusion: str
    min_visible_px: int

    composes_pictures = False

    def __post_init__(self) -> None:
        check(self, RANGES, NUMBERS)
        object.__setattr__(self, "min_visible_px", int(self.min_visible_px))
        object.__setattr__(self, "shapes", checked_kinds("SemAgglomerates.shapes", self.shapes, KINDS))
        if self.modality not in MODALITIES:
            raise UserError(f"SemAgglomerates.modality must be one of {', '.join(MODALITIES)}, got {self.modality!r}")
        check_smallest("SemAgglomerates", self.min_diameter_px, self.diameter_px, 1.5)

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories in the order in which ``shapes`` first names them."""
        return categories_of(self.shapes)

    def identity(self) -> dict[str, Any]:
        """Class and parameters."""
        return describe(self)

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if even the fewest particles do not fit, or no magnification shows them at the wanted size."""
        size = f"{image_size[0]} × {image_size[1]} px"
        if self.diameter_px[0] > LARGEST_SHARE * min(image_size):
            raise UserError(
                f"SemAgglomerates.diameter_px: a median of {self.diameter_px[0]:g} px is more than half of an image of "
                f"{size}: ask for at most {LARGEST_SHARE * min(image_size):g} px or for larger images"
            )
        fewest, room = self._fewest(), self._room(self.diameter_px[0], self.sigma_log[1], image_size)
        if fewest > room:
            raise UserError(
                f"SemAgglomerates: {fewest} particles ({self.agglomerates[0]:g} agglomerates of "
                f"{self.particles_per_agglomerate[0]:g}) of median diameter {self.diameter_px[0]:g} px do not fit in "
                f"{size} at max_coverage {self.max_coverage:g}: {room} do. Ask for fewer agglomerates or "
                "particles_per_agglomerate, smaller diameter_px or larger images"
            )
        self._magnification.check(self.diameter_nm, self._biggest_median_px(image_size))

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int] = (768, 1024)) -> Scene:
        """One scene for an image of (H, W) px; its pixel size is field_of_view_nm over image size."""
        median_nm, sigma = log_uniform(rng, self.diameter_nm), uniform(rng, self.sigma_log)
        pixel_nm = log_uniform(rng, self._magnification.pixel_sizes_nm(median_nm, self._biggest_median_px(image_size)))
        field_nm = (image_size[0] * pixel_nm, image_size[1] * pixel_nm)
        counts = self._counts(rng, self._room(median_nm / pixel_nm, sigma, image_size))
        if rng.random() < self.empty_fraction or not counts:
            return Scene((), field_nm)
        diameters = log_normal(rng, sum(counts), median_nm, sigma, (self.min_diameter_px * pixel_nm, np.inf))
        names = drawn_kinds(rng, self.shapes, self.kinds_per_image, len(diameters))
        forms = draw_forms(names, self._habit(rng), rng)
        radii = np.stack([form.radii for form in forms]) * diameters[:, None]
        packing = Packing(uniform(rng, self.packing), uniform(rng, self.overlap_limit))
        parts = np.split(np.arange(len(diameters)), np.cumsum(counts)[:-1])
        heaps = [(gather(radii[part], packing, rng), radii[part].max(axis=1)) for part in parts]
        positions, sintered = scatter(heaps, field_nm, rng), uniform(rng, self.sintered)
        particles: list[Body] = []
        for part, (centres, _), position in zip(parts, heaps, positions, strict=True):
            if position is None:
                continue
            grown = grown_together([forms[k] for k in part], diameters[part], centres, sintered, rng)
            # small grains lie on large ones more often than under them
            for i in np.argsort(rng.random(len(part)) - 0.4 * diameters[part] / diameters[part].max()):
                k = int(part[i])
                particles.append(self._body(grown[i], diameters[k], centres[i] + position, names[k]))
        return Scene(tuple(particles), field_nm)

    def _body(self, form: Form, diameter_nm: float, centre_nm: NDArray[np.float64], name: str) -> Body:
        outline = form.outline * diameter_nm + centre_nm
        return Body(outline, form.height * diameter_nm, name, str(self.shapes[name]["category"]), form=form)

    def _habit(self, rng: np.random.Generator) -> Habit:
        return Habit(
            self.aspect, self.flatness, uniform(rng, self.faceting), uniform(rng, self.rounding),
            uniform(rng, self.irregularity), uniform(rng, self.roughness), uniform(rng, self.neck),
        )  # fmt: skip

    def _counts(self, rng: np.random.Generator, room: int) -> list[int]:
        """Particles of each agglomerate, then ones for the single particles, no more than there is room for."""
        count = int(rng.integers(int(self.agglomerates[0]), int(self.agglomerates[1]) + 1))
        sizes = numbers(rng, count, log_uniform(rng, self.particles_per_agglomerate), self.particles_per_agglomerate)
        share = uniform(rng, self.agglomerated)
        return trimmed(sizes + [1] * round(sum(sizes) * (1.0 - share) / share), room)

    def _fewest(self) -> int:
        return int(self.agglomerates[0]) * int(self.particles_per_agglomerate[0])

    def _room(self, median_px: float, sigma: float, image_size: tuple[int, int]) -> int:
        """How many particles cover max_coverage of the field."""
        return int(self.max_coverage * image_size[0] * image_size[1] / mean_area(median_px, sigma) + 1e-9)

    @property
    def _magnification(self) -> Magnification:
        return Magnification("SemAgglomerates", self.diameter_px, self.pixel_size_nm)

    def _biggest_median_px(self, image_size: tuple[int, int]) -> float:
        """Largest median diameter at which the fewest particles, with the widest spread, fit."""
        crowded = biggest_median_px(self._fewest(), self.max_coverage, self.sigma_log[1], image_size)
        return min(crowded, LARGEST_SHARE * min(image_size))

"""Polystyrene-latex and silica spheres on a film, bright field. Values: conf/recipe/polylatex_silica.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.scenes.packing import Packing, settle
from tem_seg.generation.scenes.shapes import area
from tem_seg.generation.scenes.sizes import Magnification, biggest_median_px, check_smallest, mean_area
from tem_seg.generation.scenes.spheres import Batch, Material

RANGES: dict[str, Range] = {
    "particles": NOT_NEGATIVE, "diameter_px": (2.0, 1e4), "pixel_size_nm": POSITIVE, "minority": (0.0, 0.5),
    "clustered": SHARE, "compact": SHARE, "stacked": (0.0, 0.9),
}  # fmt: skip
NUMBERS: dict[str, Range] = {
    "mixed": SHARE, "max_coverage": (0.01, 0.6), "min_diameter_px": (2.0, 1e4), "min_visible_px": (1.0, 1e6),
    "empty_fraction": SHARE,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PolylatexSilica:
    """Draws scenes of latex and silica spheres. Fields are explained, with units, in conf/recipe/polylatex_silica.yaml.

    A micrograph holds one material, or a share ``mixed`` of them a second one as a minority (where it can be seen
    at the magnification that the first one asks for). Magnification follows particle size, as in gold_aunp. A
    particle that finds no free place is left out, so very full fields hold fewer than drawn.
    """

    materials: Mapping[str, Material | None]
    mixed: float
    minority: Range
    particles: Range
    diameter_px: Range
    pixel_size_nm: Range
    min_diameter_px: float
    max_coverage: float
    clustered: Range
    compact: Range
    stacked: Range
    empty_fraction: float
    occlusion: str
    min_visible_px: int

    modality = "bright_field"
    composes_pictures = False

    def __post_init__(self) -> None:
        check(self, RANGES, NUMBERS)
        object.__setattr__(self, "min_visible_px", int(self.min_visible_px))
        materials = {str(name): kind for name, kind in self.materials.items() if kind is not None}
        object.__setattr__(self, "materials", materials)
        for name, kind in materials.items():
            if not isinstance(kind, Material):
                raise UserError(f"PolylatexSilica.materials.{name} must be built from a _target_, got {kind!r}")
        if not self._in_use:
            raise UserError("PolylatexSilica.materials: at least one material needs a weight above 0")
        check_smallest("PolylatexSilica", self.min_diameter_px, self.diameter_px, 1.0)

    @property
    def _in_use(self) -> list[Material]:
        return [kind for kind in self.materials.values() if kind is not None and kind.weight > 0]

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories in the order in which ``materials`` first names them."""
        return tuple(dict.fromkeys(kind.category for kind in self.materials.values() if kind is not None))

    def identity(self) -> dict[str, Any]:
        """Class and parameters."""
        return describe(self)

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if even the fewest particles do not fit, or no magnification shows them at the wanted size."""
        for kind in self._in_use:
            biggest_px = self._biggest_px(kind, image_size)
            if biggest_px < self.diameter_px[0]:
                one_px = mean_area(self.diameter_px[0], kind.sigma_log[1])
                fit = int(self.max_coverage * image_size[0] * image_size[1] / one_px)
                raise UserError(
                    f"PolylatexSilica.particles: {self.particles[0]:g} particles ({kind.category}) of median diameter "
                    f"{self.diameter_px[0]:g} px do not fit in {image_size[0]} × {image_size[1]} px at max_coverage "
                    f"{self.max_coverage:g}, {fit} do: ask for fewer particles, smaller diameter_px or larger images"
                )
            self._magnification.check(kind.diameter_nm, biggest_px, kind.category)

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int] = (512, 512)) -> Scene:
        """One scene for an image of (H, W) px; its pixel size is field_of_view_nm over image size."""
        main = self._main(rng)
        median_nm = log_uniform(rng, main.diameter_nm)
        pixel_nm = log_uniform(rng, self._magnification.pixel_sizes_nm(median_nm, self._biggest_px(main, image_size)))
        field_nm = (image_size[0] * pixel_nm, image_size[1] * pixel_nm)
        batches = self._batches(rng, main, median_nm, pixel_nm)
        if rng.random() < self.empty_fraction:
            return Scene((), field_nm)
        room = self.max_coverage * field_nm[0] * field_nm[1] / sum(one.share * one.mean_area_nm2 for one in batches)
        most = int(min(self.particles[1], max(self.particles[0], room)))
        count = int(rng.integers(int(self.particles[0]), most + 1))
        return Scene(tuple(self._particles(rng, batches, count, pixel_nm, field_nm)), field_nm)

    def _main(self, rng: np.random.Generator) -> Material:
        weights = np.array([kind.weight for kind in self._in_use])
        return self._in_use[int(rng.choice(len(weights), p=weights / weights.sum()))]

    def _batches(self, rng: np.random.Generator, main: Material, median_nm: float, pixel_nm: float) -> list[Batch]:
        """The main material; now and then a second, whose median is seen within diameter_px and ≤ 1.5 × the main's."""
        others = [kind for kind in self._in_use if kind is not main]
        kind = others[int(rng.integers(len(others)))] if others and rng.random() < self.mixed else main
        low = max(kind.diameter_nm[0], pixel_nm * self.diameter_px[0])
        high = min(kind.diameter_nm[1], pixel_nm * self.diameter_px[1], 1.5 * median_nm)
        if kind is main or low > high:
            return [main.batch(rng, median_nm)]
        share = uniform(rng, self.minority)
        return [main.batch(rng, median_nm, 1.0 - share), kind.batch(rng, log_uniform(rng, (low, high)), share)]

    @property
    def _magnification(self) -> Magnification:
        return Magnification("PolylatexSilica", self.diameter_px, self.pixel_size_nm)

    def _biggest_px(self, kind: Material, image_size: tuple[int, int]) -> float:
        return biggest_median_px(self.particles[0], self.max_coverage, kind.sigma_log[1], image_size)

    def _particles(
        self, rng: np.random.Generator, batches: list[Batch], count: int, pixel_nm: float,
        field_nm: tuple[float, float],
    ) -> list[Particle]:  # fmt: skip
        """Later ones lie on top: which, is chance, as is the order in which they settle."""
        second = round((1.0 - batches[0].share) * count)
        of = rng.permutation(np.repeat([0, 1], [count - second, second]))
        drawn = [iter(one.particles(rng, count, self.min_diameter_px * pixel_nm)) for one in batches]
        particles = [next(drawn[i]) for i in of]
        clustered, compact, stacked = (uniform(rng, share) for share in (self.clustered, self.compact, self.stacked))
        gap_nm = max(1.5 * pixel_nm, 0.02 * batches[0].median_nm)  # wider than what batch.joined takes for a touch
        packing = Packing(clustered, compact, stacked, gap_nm, pressed=batches[0].pressed)
        radii = np.array([np.sqrt(area(one.outline_nm) / np.pi) for one in particles])
        centres = settle(radii, field_nm, packing, rng)
        for number, batch in enumerate(batches):
            own = [i for i in range(count) if of[i] == number and np.isfinite(centres[i, 0])]
            for i, one in zip(own, batch.joined([particles[i] for i in own], centres[own]), strict=True):
                particles[i] = one
        placed = [i for i in rng.permutation(count) if np.isfinite(centres[i, 0])]
        return [replace(particles[i], outline_nm=particles[i].outline_nm + centres[i]) for i in placed]

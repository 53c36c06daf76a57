"""Gold nanoparticles on continuous carbon, bright field. Values and units: conf/recipe/gold_aunp.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.scenes.kinds import categories_of, checked_kinds, drawn_kinds
from tem_seg.generation.scenes.placement import Crowding, place
from tem_seg.generation.scenes.shapes import SHAPES, Roughness, Silhouette
from tem_seg.generation.scenes.sizes import Magnification, biggest_median_px, check_smallest, log_normal, mean_area

RANGES: dict[str, Range] = {
    "particles": NOT_NEGATIVE, "diameter_nm": POSITIVE, "sigma_log": (0.0, 1.0), "diameter_px": (2.0, 1e4),
    "pixel_size_nm": POSITIVE, "shapes_per_image": (1.0, 100.0), "corner": (0.01, 1.0), "irregularity": (0.0, 0.2),
    "overlapped": (0.0, 0.9), "overlap_share": (0.01, 0.95), "touching": SHARE, "optical_density": (0.01, 20.0),
    "density_spread": (0.0, 1.0), "crystalline": SHARE,
}  # fmt: skip
NUMBERS: dict[str, Range] = {
    "max_coverage": (0.01, 0.6), "min_diameter_px": (2.0, 1e4), "min_visible_px": (1.0, 1e6),
    "empty_fraction": SHARE, "extinction_length_nm": POSITIVE,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GoldAuNP:
    """Draws scenes of gold nanoparticles. Fields are explained, with units, in conf/recipe/gold_aunp.yaml.

    Every micrograph has its own median diameter, spread, magnification, shapes, crowding and contrast. Magnification
    follows particle size as in practice: the median diameter lies within diameter_px. Sizes are log-normal, cut off
    below min_diameter_px. A particle that finds no free place is left out, so very full fields hold fewer than drawn.
    """

    shapes: Mapping[str, Mapping[str, Any]]
    particles: Range
    diameter_nm: Range
    sigma_log: Range
    diameter_px: Range
    pixel_size_nm: Range
    min_diameter_px: float
    max_coverage: float
    shapes_per_image: Range
    corner: Range
    irregularity: Range
    overlapped: Range
    overlap_share: Range
    touching: Range
    optical_density: Range
    density_spread: Range
    crystalline: Range
    extinction_length_nm: float
    empty_fraction: float
    occlusion: str
    min_visible_px: int

    modality = "bright_field"
    composes_pictures = False

    def __post_init__(self) -> None:
        check(self, RANGES, NUMBERS)
        object.__setattr__(self, "min_visible_px", int(self.min_visible_px))
        object.__setattr__(self, "shapes", checked_kinds("GoldAuNP.shapes", self.shapes, SHAPES))
        check_smallest("GoldAuNP", self.min_diameter_px, self.diameter_px, 1.5)

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories in the order in which ``shapes`` first names them."""
        return categories_of(self.shapes)

    def identity(self) -> dict[str, Any]:
        """Class and parameters."""
        return describe(self)

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if even the fewest particles do not fit, or no magnification shows them at the wanted size."""
        biggest_px = self._biggest_median_px(image_size)
        if biggest_px < self.diameter_px[0]:
            most = int(self.particles[0] * (biggest_px / self.diameter_px[0]) ** 2)
            raise UserError(
                f"GoldAuNP.particles: {self.particles[0]:g} particles of median diameter {self.diameter_px[0]:g} px "
                f"do not fit in {image_size[0]} × {image_size[1]} px at max_coverage {self.max_coverage:g} "
                f"({most} of them do, or as many of {biggest_px:.1f} px): ask for fewer particles, smaller diameter_px "
                "or larger images"
            )
        self._magnification.check(self.diameter_nm, biggest_px)

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int] = (512, 512)) -> Scene:
        """One scene for an image of (H, W) px; its pixel size is field_of_view_nm over image size."""
        median_nm, sigma = log_uniform(rng, self.diameter_nm), uniform(rng, self.sigma_log)
        pixel_nm = log_uniform(rng, self._magnification.pixel_sizes_nm(median_nm, self._biggest_median_px(image_size)))
        field_nm = (image_size[0] * pixel_nm, image_size[1] * pixel_nm)
        if rng.random() < self.empty_fraction:
            return Scene((), field_nm)
        room = int(self.max_coverage * field_nm[0] * field_nm[1] / mean_area(median_nm, sigma))
        most = int(min(self.particles[1], max(self.particles[0], room)))
        count = int(rng.integers(int(self.particles[0]), most + 1))
        diameters = log_normal(rng, count, median_nm, sigma, (self.min_diameter_px * pixel_nm, np.inf))
        return Scene(tuple(self._particles(rng, diameters, median_nm, pixel_nm, field_nm)), field_nm)

    @property
    def _magnification(self) -> Magnification:
        return Magnification("GoldAuNP", self.diameter_px, self.pixel_size_nm)

    def _biggest_median_px(self, image_size: tuple[int, int]) -> float:
        return biggest_median_px(self.particles[0], self.max_coverage, self.sigma_log[1], image_size)

    def _particles(
        self, rng: np.random.Generator, diameters: NDArray[np.float64], median_nm: float, pixel_nm: float,
        field_nm: tuple[float, float],
    ) -> list[Particle]:  # fmt: skip
        names = drawn_kinds(rng, self.shapes, self.shapes_per_image, len(diameters))
        rough = Roughness(uniform(rng, self.corner), uniform(rng, self.irregularity))
        drawn = [SHAPES[name](rng, rough) for name in names]
        outlines = [_turned(shape.outline, rng) * size for shape, size in zip(drawn, diameters, strict=True)]
        crowding = Crowding(uniform(rng, self.overlapped), uniform(rng, self.touching), self.overlap_share, pixel_nm)
        centres = place(outlines, field_nm, crowding, rng)
        scattering = log_uniform(rng, self.optical_density) / median_nm
        spread, crystalline = uniform(rng, self.density_spread), uniform(rng, self.crystalline)
        found: list[Particle] = []
        for name, shape, size, outline, centre in zip(names, drawn, diameters, outlines, centres, strict=True):
            contrast = self._contrast(
                rng, shape, scattering * float(np.exp(spread * rng.standard_normal())), crystalline
            )
            if centre is not None:
                category = str(self.shapes[name]["category"])
                found.append(Particle(outline + centre, float(shape.height * size), name, category, contrast))
        return [found[i] for i in rng.permutation(len(found))]  # which one lies on top is chance

    def _contrast(
        self, rng: np.random.Generator, shape: Silhouette, scattering: float, crystalline: float
    ) -> dict[str, float]:
        """What contrast.MassThickness needs to know. Crystals that happen to meet a Bragg condition are darker."""
        contrast = {"scattering_per_nm": scattering, "bevel": shape.bevel, "edge_power": shape.edge_power}
        if rng.random() >= crystalline:
            return contrast
        if rng.random() < 0.25:
            contrast["scattering_per_nm"] *= float(rng.uniform(1.3, 2.5))
        contrast |= {
            "mottle": float(rng.uniform(0.1, 0.7)),
            "sectors": shape.sectors,
            "sectors_gain": float(rng.uniform(0.2, 0.8)),
        }
        kind = ("twins", "contours", "fringes", "none")[int(rng.choice(4, p=[0.3, 0.35, 0.05, 0.3]))]
        strengths = {"twins": (0.3, 1.0), "contours": (0.4, 1.5), "fringes": (0.1, 0.35)}
        if kind in strengths:
            contrast |= {kind: float(rng.uniform(*strengths[kind])), "fringe_nm": self.extinction_length_nm}
        return contrast


def _turned(outline: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0.0, 2.0 * np.pi)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(outline @ np.array([[cosine, sine], [-sine, cosine]]))

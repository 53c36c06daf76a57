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
from tem_seg.generation.scenes.placement import Crowding, place
from tem_seg.generation.scenes.shapes import SHAPES, Roughness, Silhouette

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
        object.__setattr__(self, "shapes", _checked_shapes(self.shapes))
        if self.min_diameter_px > self.diameter_px[0] * 1.5:
            raise UserError(
                f"GoldAuNP.min_diameter_px {self.min_diameter_px:g} cuts off most particles: it must not exceed "
                f"1.5 × the smallest median, diameter_px[0] = {self.diameter_px[0]:g}"
            )

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories in the order in which ``shapes`` first names them."""
        return tuple(dict.fromkeys(str(entry["category"]) for entry in self.shapes.values()))

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
        for diameter in self.diameter_nm:
            low, high = self._pixel_sizes_nm(diameter, image_size)
            if low > high:
                raise UserError(
                    f"GoldAuNP.pixel_size_nm {list(self.pixel_size_nm)} shows particles of diameter_nm {diameter:g} "
                    f"at no diameter within diameter_px {list(self.diameter_px)} (here at most {biggest_px:.1f} px): "
                    "widen one of them"
                )

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int] = (512, 512)) -> Scene:
        """One scene for an image of (H, W) px; its pixel size is field_of_view_nm over image size."""
        median_nm, sigma = log_uniform(rng, self.diameter_nm), uniform(rng, self.sigma_log)
        pixel_nm = log_uniform(rng, self._pixel_sizes_nm(median_nm, image_size))
        field_nm = (image_size[0] * pixel_nm, image_size[1] * pixel_nm)
        if rng.random() < self.empty_fraction:
            return Scene((), field_nm)
        mean_area = np.pi / 4.0 * (median_nm * np.exp(sigma * sigma)) ** 2  # mean of d² of a log-normal d
        room = int(self.max_coverage * field_nm[0] * field_nm[1] / mean_area)
        most = int(min(self.particles[1], max(self.particles[0], room)))
        count = int(rng.integers(int(self.particles[0]), most + 1))
        diameters = self._diameters_nm(rng, count, median_nm, sigma, pixel_nm)
        return Scene(tuple(self._particles(rng, diameters, median_nm, pixel_nm, field_nm)), field_nm)

    def _biggest_median_px(self, image_size: tuple[int, int]) -> float:
        """Largest median diameter at which the fewest particles, with the widest spread, stay within max_coverage."""
        share = self.max_coverage * image_size[0] * image_size[1] / max(self.particles[0], 1.0)
        return float(np.sqrt(share / (np.pi / 4.0)) / np.exp(self.sigma_log[1] ** 2))

    def _pixel_sizes_nm(self, median_nm: float, image_size: tuple[int, int]) -> Range:
        largest_px = min(self.diameter_px[1], self._biggest_median_px(image_size))
        return max(self.pixel_size_nm[0], median_nm / largest_px), min(
            self.pixel_size_nm[1], median_nm / self.diameter_px[0]
        )

    def _diameters_nm(
        self, rng: np.random.Generator, count: int, median_nm: float, sigma: float, pixel_nm: float
    ) -> NDArray[np.float64]:  # fmt: skip
        """Equivalent diameters: log-normal, those below min_diameter_px drawn again."""
        smallest = self.min_diameter_px * pixel_nm
        diameters = median_nm * np.exp(sigma * rng.standard_normal(count))
        for _ in range(20):
            small = diameters < smallest
            diameters[small] = median_nm * np.exp(sigma * rng.standard_normal(int(small.sum())))
        return np.maximum(diameters, smallest)

    def _particles(
        self, rng: np.random.Generator, diameters: NDArray[np.float64], median_nm: float, pixel_nm: float,
        field_nm: tuple[float, float],
    ) -> list[Particle]:  # fmt: skip
        names = self._shape_names(rng, len(diameters))
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

    def _shape_names(self, rng: np.random.Generator, count: int) -> list[str]:
        """A batch holds few shapes: some are picked by weight for the image, then one of them for each particle."""
        names = list(self.shapes)
        weights = np.array([self.shapes[name]["weight"] for name in names], float)
        most = int(np.count_nonzero(weights))
        low, high = (min(int(n), most) for n in self.shapes_per_image)
        picked = rng.choice(len(names), int(rng.integers(low, high + 1)), replace=False, p=weights / weights.sum())
        shares = weights[picked] * rng.exponential(size=len(picked))
        return [names[i] for i in rng.choice(picked, count, p=shares / shares.sum())]

    def _contrast(
        self, rng: np.random.Generator, shape: Silhouette, scattering: float, crystalline: float
    ) -> dict[str, float]:
        """What imaging.MassThickness needs to know. Crystals that happen to meet a Bragg condition are darker."""
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


def _checked_shapes(shapes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    plain = {str(name): dict(entry) for name, entry in shapes.items() if entry is not None}
    for name, entry in plain.items():
        if name not in SHAPES:
            raise UserError(f"GoldAuNP.shapes: no shape {name!r}; there are {', '.join(SHAPES)}")
        if set(entry) != {"weight", "category"}:
            raise UserError(f"GoldAuNP.shapes.{name} must have the keys weight and category, got {sorted(entry)}")
        weight = entry["weight"]
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise UserError(f"GoldAuNP.shapes.{name}.weight must be a number of at least 0, got {weight!r}")
    if not any(entry["weight"] for entry in plain.values()):
        raise UserError("GoldAuNP.shapes: at least one shape needs a weight above 0")
    return plain

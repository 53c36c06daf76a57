"""Nanorods dropped on each other, bright in annular dark field (paper 001). Values: conf/recipe/nanorods_haadf.yaml."""

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
from tem_seg.generation.microscope import noise
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.scenes.materials import checked_materials, picked, signal_per_nm
from tem_seg.generation.scenes.piles import Piling, pile

RANGES: dict[str, Range] = {
    "particles": NOT_NEGATIVE, "width_nm": POSITIVE, "width_px": (2.0, 1e4), "aspect": (1.2, 100.0),
    "sigma_width": (0.0, 0.6), "sigma_length": (0.0, 0.8), "overlap_density": (0.01, 5.0), "piled": SHARE,
    "bundled": SHARE, "layers": (0.1, 10.0), "piles": (1.0, 100.0), "order_deg": (0.0, 180.0), "bend": (0.0, 0.3),
    "width_variation": (0.0, 0.3), "taper": (0.0, 0.8), "flatness": (0.2, 1.0), "density_spread": (0.0, 1.0),
    "mottle": SHARE, "film": NOT_NEGATIVE, "film_grain": SHARE, "residue": NOT_NEGATIVE,
}  # fmt: skip
NUMBERS: dict[str, Range] = {
    "most_layers": (1.0, 100.0), "mottled": SHARE, "holey": SHARE, "empty_fraction": SHARE,
    "min_visible_px": (1.0, 1e6),
}  # fmt: skip
TIPS = {"round": (0.5, 2.0, 0.0), "flat": (0.12, 2.0, 0.5), "pointed": (0.9, 1.0, 0.12), "faceted": (0.3, 1.0, 0.5)}
"""Of each kind of tip: length over width, exponent of its curve (2: ellipse, 1: straight), width at its very end."""
LONGEST = 0.7  # a rod of median length is at most so long, over the image's shorter side
STATIONS = 32


@dataclass(frozen=True, kw_only=True)
class NanorodsHAADF:
    """Draws scenes of overlapping rods. Fields are explained, with units, in conf/recipe/nanorods_haadf.yaml.

    Magnification follows from number and overlap_density: the areas of all rods add up to that share of the field, with
    the median width within width_px. A rod that finds no place (see piles.pile) is left out.
    """

    materials: Mapping[str, Mapping[str, Any]]
    tips: Mapping[str, float]
    particles: Range
    width_nm: Range
    width_px: Range
    aspect: Range
    sigma_width: Range
    sigma_length: Range
    overlap_density: Range
    piled: Range
    bundled: Range
    layers: Range
    most_layers: int
    piles: Range
    order_deg: Range
    bend: Range
    width_variation: Range
    taper: Range
    flatness: Range
    density_spread: Range
    mottle: Range
    mottled: float
    film: Range
    film_grain: Range
    residue: Range
    holey: float
    empty_fraction: float
    occlusion: str
    min_visible_px: int

    categories = ("particle",)
    modality = "haadf"
    composes_pictures = False

    def __post_init__(self) -> None:
        check(self, RANGES, NUMBERS)
        for whole in ("most_layers", "min_visible_px"):
            object.__setattr__(self, whole, int(getattr(self, whole)))
        object.__setattr__(self, "materials", checked_materials("NanorodsHAADF.materials", self.materials))
        object.__setattr__(self, "tips", _checked_tips(self.tips))

    def identity(self) -> dict[str, Any]:
        """Class and parameters."""
        return describe(self)

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if the thinnest, shortest rods are longer than the image or the fewest exceed overlap_density."""
        thin, short = self.width_px[0], self.width_px[0] * self.aspect[0]
        if short > LONGEST * min(image_size):
            raise UserError(
                f"NanorodsHAADF.width_px: rods {thin:g} px wide and {self.aspect[0]:g} times as long do not fit in "
                f"{image_size[0]} × {image_size[1]} px: ask for thinner or shorter rods, or larger images"
            )
        fit = int(self.overlap_density[1] * image_size[0] * image_size[1] / (thin * short))
        if self.particles[0] > fit:
            raise UserError(
                f"NanorodsHAADF.particles: {self.particles[0]:g} rods of {thin:g} × {short:g} px do not fit in "
                f"{image_size[0]} × {image_size[1]} px at overlap_density {self.overlap_density[1]:g} ({fit} would): "
                "ask for fewer or thinner rods, more overlap or larger images"
            )

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int] = (512, 512)) -> SupportedScene:
        """One scene for an image of (H, W) px; its pixel size is field_of_view_nm over image size."""
        area_px = float(image_size[0] * image_size[1])
        room_px = LONGEST * min(image_size)
        median_nm = log_uniform(rng, self.width_nm)
        aspect = log_uniform(rng, (self.aspect[0], min(self.aspect[1], room_px / self.width_px[0])))
        most = int(self.overlap_density[1] * area_px / (self.width_px[0] ** 2 * aspect))
        count = min(int(rng.integers(int(self.particles[0]), int(self.particles[1]) + 1)), most)
        if rng.random() < self.empty_fraction:
            count = 0
        widths, lengths = self._sizes_nm(rng, count, median_nm, aspect)
        needed = count * self.width_px[0] ** 2 * aspect / area_px
        density = uniform(rng, (max(self.overlap_density[0], needed), max(self.overlap_density[1], needed)))
        wanted_px = np.sqrt(density * area_px / max(count, self.particles[0], 1.0) / aspect)
        width_px = float(np.clip(wanted_px, self.width_px[0], min(self.width_px[1], room_px / aspect)))
        field_nm = (image_size[0] * median_nm / width_px, image_size[1] * median_nm / width_px)
        support, held = self._support(rng, median_nm, field_nm, image_size)
        particles = self._particles(rng, widths, lengths, field_nm, held)
        return SupportedScene(tuple(particles), field_nm, support=support)

    def _sizes_nm(
        self, rng: np.random.Generator, count: int, median_nm: float, aspect: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
        """Widths log-normal, lengths log-normal and independent of them, held within the aspect range."""
        widths = median_nm * np.exp(uniform(rng, self.sigma_width) * rng.standard_normal(count))
        lengths = median_nm * aspect * np.exp(uniform(rng, self.sigma_length) * rng.standard_normal(count))
        return widths, np.clip(lengths, self.aspect[0] * widths, self.aspect[1] * widths)

    def _particles(
        self, rng: np.random.Generator, widths: NDArray[np.float64], lengths: NDArray[np.float64],
        field_nm: tuple[float, float], held: NDArray[np.bool_] | None,
    ) -> list[Particle]:  # fmt: skip
        piling = Piling(
            piled=uniform(rng, self.piled), bundled=uniform(rng, self.bundled), layers=uniform(rng, self.layers),
            most_layers=self.most_layers, piles=int(rng.integers(int(self.piles[0]), int(self.piles[1]) + 1)),
            order_deg=uniform(rng, self.order_deg),
        )  # fmt: skip
        centres, angles = pile(lengths, widths, field_nm, piling, rng, held)
        material = self.materials[picked(rng, self.materials)]
        signal = signal_per_nm(material["atomic_number"], material["atoms_per_nm3"])
        tips = np.array(list(self.tips.values()))
        names = rng.choice(list(self.tips), 2, p=tips / tips.sum())  # a batch has one habit, or two
        look = {name: uniform(rng, getattr(self, name)) for name in ("bend", "width_variation", "taper", "flatness")}
        spread, mottle, prism = uniform(rng, self.density_spread), uniform(rng, self.mottle), rng.random() < 0.3
        mottle *= rng.random() < self.mottled
        found = []
        for width, length, centre, angle in zip(widths, lengths, centres, angles, strict=True):
            tip = str(names[int(rng.random() < 0.3)])
            outline = rod_outline(length, width, tip, look["bend"], look["width_variation"], look["taper"], rng)
            contrast = {"signal_per_nm": signal * float(np.exp(spread * rng.standard_normal())), "mottle": mottle}
            if prism:  # hexagonal cross-section, lying on a face: flat on top, sloping sides
                contrast |= {"bevel": 0.5, "edge_power": 1.0}
            if np.isfinite(angle):
                moved = turned(outline, float(angle)) + centre
                found.append(Particle(moved, float(width * look["flatness"]), "rod", "particle", contrast))
        return found

    def _support(
        self, rng: np.random.Generator, median_nm: float, field_nm: tuple[float, float], image_size: tuple[int, int]
    ) -> tuple[Support, NDArray[np.bool_] | None]:  # fmt: skip
        """A carbon film, here and there under dried surfactant; and where it is, if it has a hole."""
        size = supports.grid_of(image_size)
        holey = rng.random() < self.holey
        thickness = supports.film(size, median_nm * uniform(rng, self.film), holey, rng)
        held = thickness > 0 if holey else None
        patches = np.maximum(noise.slow_field(size, int(rng.integers(3, 9)), rng) - np.float32(0.4), np.float32(0.0))
        thickness += np.float32(median_nm * uniform(rng, self.residue)) * patches
        grain_nm = field_nm[0] * rng.uniform(0.004, 0.02)
        seed, strength = int(rng.integers(2**62)), uniform(rng, self.film_grain)
        nothing, signal = np.zeros((*size, 0), np.float32), signal_per_nm(6.0, 95.0)
        return Support(nothing, (), thickness, signal, strength, float(grain_nm), seed), held


def rod_outline(
    length: float, width: float, tip: str, bend: float, variation: float, taper: float, rng: np.random.Generator
) -> NDArray[np.float64]:  # fmt: skip
    """(2 STATIONS, 2) outline around (0, 0), long side along x, of a rod that many long and wide (in the middle).

    tip: a key of TIPS. bend: largest sagitta of the axis over length. variation: relative standard deviation of the
    width along the rod. taper: largest relative difference of the width at the two ends.
    """
    reach, power, end = TIPS[tip]
    along = -np.cos(np.linspace(0.0, np.pi, STATIONS)) / 2.0  # dense at the tips
    from_end = np.minimum((0.5 - np.abs(along)) * length / (reach * width), 1.0)
    cap = end + (1.0 - end) * (1.0 - (1.0 - from_end) ** power) ** (1.0 / power)
    phase, waves = rng.uniform(0.0, 2.0 * np.pi, 2), rng.uniform(0.6, 2.5, 2)
    wave = np.sin(2.0 * np.pi * along[:, None] * waves + phase).sum(axis=1)
    half = width / 2.0 * cap * (1.0 + variation * wave) * (1.0 + taper * rng.uniform(-1.0, 1.0) * along)
    first, second = bend * length * rng.uniform(-1.0, 1.0), bend * length * rng.uniform(-0.5, 0.5)
    axis = first * (1.0 / 3.0 - 4.0 * along**2) + second * (8.0 * along**3 - 1.2 * along)
    slope = (first * -8.0 * along + second * (24.0 * along**2 - 1.2)) / length
    normal = np.stack([-slope, np.ones_like(slope)], axis=1) / np.hypot(1.0, slope)[:, None]
    middle = np.stack([along * length, axis], axis=1)
    return np.vstack([middle + normal * half[:, None], (middle - normal * half[:, None])[::-1]])


def turned(outline: NDArray[np.float64], angle_rad: float) -> NDArray[np.float64]:
    """Outline (K, 2) turned from the x towards the y axis."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.asarray(outline @ np.array([[cosine, sine], [-sine, cosine]]))


def _checked_tips(tips: Mapping[str, float]) -> dict[str, float]:
    plain = {str(name): weight for name, weight in tips.items() if weight is not None}
    for name, weight in plain.items():
        if name not in TIPS:
            raise UserError(f"NanorodsHAADF.tips: no tip {name!r}; there are {', '.join(TIPS)}")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise UserError(f"NanorodsHAADF.tips.{name} must be a weight of at least 0, got {weight!r}")
    if not any(plain.values()):
        raise UserError("NanorodsHAADF.tips: at least one kind of tip needs a weight above 0")
    return {name: float(weight) for name, weight in plain.items()}

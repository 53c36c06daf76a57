"""Domain randomisation from real images: particles cut out of them, pasted onto their emptied backgrounds.

Colliard-Granero et al., UTILE-Gen, ACS Nanosci. Au 2023, 3, 398; parameters carry the names of its Table 1. Values and
units: conf/recipe/cut_paste.yaml. What differs from the paper: docs/recipes/cut_paste.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.generation.ranges import NOT_NEGATIVE, SHARE, Range, as_range, check
from tem_seg.generation.real.collage import Collage
from tem_seg.generation.real.images import RealImages
from tem_seg.generation.real.pool import Pool
from tem_seg.generation.real.sifting import Sifting
from tem_seg.generation.recipe import Picture

RANGES: dict[str, Range] = {
    "scaling_factor": (0.01, 100.0), "rotation": (-360.0, 360.0), "crowding": SHARE, "contrast": (0.05, 3.0),
    "feather_px": (0.1, 10.0), "overlap": (0.0, 0.9), "overlapped": SHARE, "touching": SHARE,
    "particle_sources": (1.0, 100.0),
}  # fmt: skip
NUMBERS: dict[str, Range] = {
    "salt_pepper_noise": SHARE, "gaussian_blur": (0.0, 50.0), "minimum_size": NOT_NEGATIVE, "minimum_solidity": SHARE,
    "noisy_images": SHARE, "scale_spread": (0.0, 1.0), "max_coverage": (0.01, 0.9), "max_extent": (0.05, 2.0),
    "min_diameter_px": (2.0, 1e4), "keep_particles": SHARE, "foreign_background": SHARE, "see_through": SHARE,
    "textured": SHARE, "min_visible": SHARE, "min_visible_px": (1.0, 1e6),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CutPaste:
    """Composes pictures. Fields are explained, with units, in conf/recipe/cut_paste.yaml."""

    images: RealImages
    modality: str
    particles_per_image: Range | None
    overlapping_particles: bool
    synthetic_backgrounds: bool
    salt_pepper_noise: float
    gaussian_blur: float
    scaling_factor: Range
    rotation: Range
    minimum_size: float
    minimum_solidity: float
    noisy_images: float
    flips: bool
    scale_spread: float
    crowding: Range
    max_coverage: float
    max_extent: float
    min_diameter_px: float
    keep_particles: float
    foreign_background: float
    particle_sources: Range
    overlapped: Range
    overlap: Range
    touching: Range
    see_through: float
    textured: float
    contrast: Range
    feather_px: Range
    min_visible: float
    min_visible_px: int

    composes_pictures = True
    occlusion = "opaque"

    def __post_init__(self) -> None:
        check(self, RANGES, NUMBERS)
        object.__setattr__(self, "min_visible_px", int(self.min_visible_px))
        if self.particles_per_image is not None:
            wanted = as_range("CutPaste.particles_per_image", self.particles_per_image, (1.0, 1e5))
            object.__setattr__(self, "particles_per_image", wanted)

    def __getstate__(self) -> dict[str, Any]:
        """Without the pool: a worker makes its own, of the images it meets."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def categories(self) -> tuple[str, ...]:
        """The reader's."""
        return tuple(self.images.reader.categories)

    def identity(self) -> dict[str, Any]:
        """Class, parameters and images."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "images"}
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class": name, **plain, "images": self.images.identity()}

    @cached_property
    def pool(self) -> Pool:
        """Made when first needed, once a process."""
        return Pool(self.images, Sifting(self.minimum_size, self.minimum_solidity), self.synthetic_backgrounds)

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if the pool is empty, or the fewest particles do not fit a grid without overlap."""
        if self.overlapping_particles or self.particles_per_image is None:
            assert self.pool.fit
            return
        smallest = min(
            p.max_feret * self.base(index, image_size)
            for index in self.pool.fit for p in self.pool.particles[index] if not p.reason
        ) * self.scaling_factor[0]  # fmt: skip
        side = max(smallest, 1.0)
        fit = int(image_size[0] // side) * int(image_size[1] // side)
        if self.particles_per_image[0] > fit:
            raise UserError(
                f"CutPaste.particles_per_image: {self.particles_per_image[0]:g} particles do not fit in "
                f"{image_size[0]} × {image_size[1]} px without overlap: {fit} of the smallest do, at scaling_factor "
                f"{self.scaling_factor[0]:g}. Ask for fewer, a smaller scaling_factor, or overlapping_particles=true"
            )

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int]) -> Picture:
        """One picture of (H, W) px."""
        return Collage(self, rng, image_size).picture()

    def base(self, index: int, image_size: tuple[int, int]) -> float:
        """Magnification at which image ``index`` has the area of the output."""
        entry = self.images.items[index][0]
        return math.sqrt(image_size[0] * image_size[1] / (entry["height"] * entry["width"]))

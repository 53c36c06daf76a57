"""The imaging chain: a contrast mechanism, then named steps in order, from scene to 8-bit grey levels.

Steps are plain frozen dataclasses built with values (YAML: ``_target_``); each changes the exposure in place and draws
its strength for every micrograph anew (domain randomisation). A step set to null in the YAML is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Modality, Scene
from tem_seg.generation.microscope import noise
from tem_seg.generation.microscope.exposure import Contrast, Exposure, Step
from tem_seg.generation.ranges import POSITIVE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.recipe import Picture

__all__ = [
    "Contrast", "Exposure", "Illumination", "Imaging", "Optics", "ShotNoise", "Step",
]  # fmt: skip


class Imaging:
    """A contrast mechanism and the steps after it.

    contrast None, and modality None (the recipe's), are for recipes that compose pictures from real pixels.
    """

    def __init__(self, modality: str | None, contrast: Contrast | None, steps: Mapping[str, Step | None]) -> None:
        known = [value.value for value in Modality]
        if modality is not None and modality not in known:
            raise UserError(f"imaging.modality must be one of {', '.join(known)}, got {modality!r}")
        self.modality = modality
        self.contrast = contrast
        self.steps = {str(name): step for name, step in steps.items() if step is not None}
        for name, part in {"contrast": contrast, **self.steps}.items():
            if part is not None and not callable(part):
                raise UserError(f"imaging: {name} must be built from a _target_, got {type(part).__name__} {part!r}")

    def expose(
        self, drawn: Scene | Picture, image_size: tuple[int, int], rng: np.random.Generator,
        frame_rng: np.random.Generator | None = None,
    ) -> Exposure:  # fmt: skip
        """Scene or picture → exposure of (H, W) px: grey levels 0-255 if the chain holds ToGreyLevels, as ours do.

        Every part has its own randomness, by name: leaving out a step leaves the others as they were.
        """
        seed = int(rng.integers(2**63))
        if isinstance(drawn, Picture):
            pixels, pixel_size_nm = drawn.pixels.copy(), drawn.pixel_size_nm
        else:
            assert self.contrast is not None, "render.check_pair has seen to it"
            pixels = self.contrast(drawn, image_size, child_rng(seed, "contrast"))
            pixel_size_nm = _pixel_size_nm(drawn, image_size)
        exposure = Exposure(pixels, np.zeros(image_size, bool), pixel_size_nm, frame_rng)
        for name, step in self.steps.items():
            step(exposure, child_rng(seed, "step", name))
        return exposure

    def identity(self) -> dict[str, Any]:
        """All that the image depends on, JSON-able."""
        steps = [[name, describe(step)] for name, step in self.steps.items()]
        contrast = describe(self.contrast) if self.contrast is not None else None
        return {"modality": self.modality, "contrast": contrast, "steps": steps}


def _pixel_size_nm(scene: Scene, image_size: tuple[int, int]) -> float:
    pixel_size_nm = scene.field_of_view_nm[0] / image_size[0]
    if not np.isclose(pixel_size_nm, scene.field_of_view_nm[1] / image_size[1], rtol=1e-6):
        raise ValueError(f"a field of {scene.field_of_view_nm} nm on {image_size} px gives pixels that are not square")
    return pixel_size_nm


@dataclass(frozen=True)
class Defocus:
    """A lens at a defocus. One length sets fringe and grain, as in the microscope: √(wavelength · defocus)."""

    fresnel_px: Range
    """√(wavelength · defocus) in px."""
    fringe: Range
    """Strength of the fringe: overshoot at an opaque edge over the background; negative is overfocus."""
    grain: Range
    """Relative standard deviation of the film's grain."""
    unevenness: Range
    """Relative standard deviation of the film's slow thickness changes."""
    blur_px: Range
    """Standard deviation of the blur."""

    def __post_init__(self) -> None:
        limits = {"fresnel_px": POSITIVE, "grain": (0.0, 1.0), "unevenness": (0.0, 1.0), "blur_px": POSITIVE}
        check(self, limits | {"fringe": (-2.0, 2.0)})


@dataclass(frozen=True)
class Optics(Defocus):
    """Defocus: Fresnel fringe along edges, grain of the carbon film, blur."""

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        size = (exposure.pixels.shape[0], exposure.pixels.shape[1])
        fresnel_px, blur_px = log_uniform(rng, self.fresnel_px), log_uniform(rng, self.blur_px)
        fringe = uniform(rng, self.fringe)
        sharp = exposure.pixels
        # in place where it can be: a new array of the micrograph's size takes longer than the arithmetic in it
        pixels = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 0.7 * fresnel_px), np.float32)
        cv2.addWeighted(sharp, 1.0 + fringe, pixels, -fringe, 0.0, dst=pixels)
        film = noise.film_grain(size, fresnel_px, blur_px / 2.0, rng)
        strength, unevenness = uniform(rng, self.grain), uniform(rng, self.unevenness)
        cv2.addWeighted(film, strength, noise.slow_field(size, int(rng.integers(2, 7)), rng), unevenness, 1.0, dst=film)
        pixels *= film
        blurred = cv2.GaussianBlur(pixels, (0, 0), blur_px, dst=film)
        exposure.pixels = np.asarray(np.maximum(blurred, np.float32(0.0), out=blurred), np.float32)


@dataclass(frozen=True)
class Illumination:
    """Uneven beam: a ramp across the image and a bright or dark middle."""

    ramp: Range
    """Relative change from one side to the other."""
    bulge: Range
    """Relative brightness of the corners less that of the middle."""

    def __post_init__(self) -> None:
        check(self, {"ramp": (0.0, 1.5), "bulge": (-0.9, 0.9)})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        height, width = exposure.pixels.shape
        y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
        x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
        angle, ramp, bulge = rng.uniform(0.0, 2.0 * np.pi), uniform(rng, self.ramp), uniform(rng, self.bulge)
        rows = 1.0 + np.float32(ramp * np.sin(angle)) * y + np.float32(2.0 * bulge) * y * y
        columns = np.float32(ramp * np.cos(angle)) * x + np.float32(2.0 * bulge) * x * x
        beam = rows + columns
        exposure.pixels *= np.maximum(beam, np.float32(0.05), out=beam)


@dataclass(frozen=True)
class ShotNoise:
    """Electrons are counted."""

    electrons_per_px: Range
    """Mean in the background."""

    def __post_init__(self) -> None:
        check(self, {"electrons_per_px": POSITIVE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        dose = log_uniform(rng, self.electrons_per_px)
        exposure.pixels = noise.count_electrons(exposure.pixels, dose, exposure.frame_rng or rng)

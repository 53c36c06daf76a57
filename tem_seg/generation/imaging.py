"""The imaging chain: a contrast mechanism, then named steps in order, from scene to 8-bit grey levels.

Steps are plain frozen dataclasses built with values (YAML: ``_target_``); each changes the exposure in place and draws
its strength for every micrograph anew (domain randomisation). A step set to null in the YAML is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Modality, Scene
from tem_seg.generation import diffraction, noise, raster
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.recipe import Picture


@dataclass(slots=True)
class Exposure:
    """A micrograph in the making. pixels (H, W) float32; hidden (H, W) bool: covered by an opaque bar or label.

    pixel_size_nm: None where the picture has no calibration. frame_rng: in a video, what differs from frame to frame
    is drawn from it, while the ``rng`` that steps get repeats itself (the microscope's settings stay); None in a still.
    sampled (H, W) bool: which pixels the beam visited; None: all.
    """

    pixels: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    pixel_size_nm: float | None
    frame_rng: np.random.Generator | None = None
    sampled: NDArray[np.bool_] | None = None


class Contrast(Protocol):
    """How a scene becomes intensity."""

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """Relative intensity (H, W) float32 >= 0 of a noise-free, sharp image."""


class Step(Protocol):
    """One thing that happens to the image on its way."""

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        """Changes exposure in place.

        Settings, and what stays the same over a video (film, dirt, labels), are drawn from rng; what is new in
        each frame (noise, jitter) from ``exposure.frame_rng or rng``.
        """


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
class MassThickness:
    """Bright field with an objective aperture: transmission exp(−Σ μ t), multiplied where particles overlap.

    μ is each particle's contrast["scattering_per_nm"] (1 / nm; 0 makes it invisible), t its thickness, and
    diffraction.texture a factor on μ. Beer-Lambert mass-thickness contrast: Reimer & Kohl, Transmission Electron
    Microscopy, 5th ed., section 6.1.
    """

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """Transmission (H, W) float32 in (0, 1], 1 where there is no particle."""
        density = np.zeros(image_size, np.float32)
        pixel_size_nm = scene.field_of_view_nm[0] / image_size[0]
        for particle in scene.particles:
            crop = raster.thickness_nm(particle, particle.outline_nm / pixel_size_nm)
            factor = diffraction.texture(particle.contrast, crop.values, rng)
            scattered = crop.values * np.float32(particle.contrast["scattering_per_nm"])
            if factor is not None:
                scattered *= factor
            inside = raster.cut(raster.Crop(scattered, crop.x0, crop.y0), image_size)
            if inside is not None:
                density[inside.window] += inside.values
        return np.asarray(np.exp(-density), np.float32)


@dataclass(frozen=True)
class Contamination:
    """Dirt that is no particle: soft faint patches, and now and then wrinkles of the film. Not annotated."""

    patches: Range
    """Number of patches."""
    contrast: Range
    """Relative darkening of a patch; negative is brighter."""
    radius: Range
    """Of a patch, over the image's height."""
    wrinkles: float
    """Share 0-1 of micrographs with a wrinkled film."""

    def __post_init__(self) -> None:
        check(self, {"patches": NOT_NEGATIVE, "contrast": (-0.9, 0.9), "radius": (0.005, 1.0)}, {"wrinkles": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(int(self.patches[0]), int(self.patches[1]) + 1))):
            self._patch(exposure, rng)
        if rng.random() < self.wrinkles:
            self._wrinkle(exposure, rng)

    def _patch(self, exposure: Exposure, rng: np.random.Generator) -> None:
        size = (exposure.pixels.shape[0], exposure.pixels.shape[1])
        half = max(2, round(log_uniform(rng, self.radius) * size[0]))
        axis = np.linspace(-1.0, 1.0, 2 * half, dtype=np.float32)
        window = np.clip(1.0 - axis[:, None] ** 2 - axis[None, :] ** 2, 0.0, None)
        patch = window * np.clip(noise.slow_field((2 * half, 2 * half), 4, rng) * 0.5 + 0.7, 0.0, None)
        corner = [int(rng.uniform(-half, side - half)) for side in size]
        inside = raster.cut(raster.Crop(np.asarray(patch, np.float32), corner[1], corner[0]), size)
        if inside is not None:
            exposure.pixels[inside.window] *= 1.0 - np.float32(uniform(rng, self.contrast)) * inside.values

    def _wrinkle(self, exposure: Exposure, rng: np.random.Generator) -> None:
        height, width = exposure.pixels.shape
        layer = np.zeros((height, width), np.uint8)
        for _ in range(int(rng.integers(1, 4))):
            along = np.linspace(-0.1, 1.1, 40)
            across = (
                rng.uniform(0, 1)
                + rng.uniform(-0.5, 0.5) * along
                + 0.05 * np.sin(rng.uniform(2, 9) * along + rng.uniform(0, 6))
            )
            points = np.stack([along * width, across * height], axis=1)
            points = points if rng.random() < 0.5 else np.stack([across * width, along * height], axis=1)
            cv2.polylines(layer, [np.rint(points).astype(np.int32)], False, 255, int(rng.integers(1, 5)))
        blurred = cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(1.0, 5.0))).astype(np.float32)
        exposure.pixels *= 1.0 - np.float32(rng.uniform(0.05, 0.25) / 255.0) * blurred


@dataclass(frozen=True)
class Optics:
    """Defocus: Fresnel fringe along edges, grain of the carbon film, blur.

    One length sets fringe and grain, as in the microscope: √(wavelength · defocus).
    """

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

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        size = (exposure.pixels.shape[0], exposure.pixels.shape[1])
        fresnel_px, blur_px = log_uniform(rng, self.fresnel_px), log_uniform(rng, self.blur_px)
        fringe = np.float32(uniform(rng, self.fringe))
        sharp = exposure.pixels
        pixels = sharp + fringe * (sharp - cv2.GaussianBlur(sharp, (0, 0), 0.7 * fresnel_px))
        grain = noise.film_grain(size, fresnel_px, blur_px / 2.0, rng)
        grain *= np.float32(uniform(rng, self.grain))
        grain += np.float32(uniform(rng, self.unevenness)) * noise.slow_field(size, int(rng.integers(2, 7)), rng)
        pixels *= 1.0 + grain
        exposure.pixels = np.maximum(cv2.GaussianBlur(pixels, (0, 0), blur_px), np.float32(0.0))


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
        exposure.pixels *= np.maximum(rows + columns, np.float32(0.05))


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

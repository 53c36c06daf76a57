"""Imaging of videos: what changes from frame to frame is the particles and the noise, and nothing else.

A film that drifts with the stage, and a camera whose gain does not flicker, unlike a stretch of each frame's own range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Particle, Scene
from tem_seg.generation import raster
from tem_seg.generation.contrast import diffraction
from tem_seg.generation.contrast.mass_thickness import transmission
from tem_seg.generation.microscope import noise
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.microscope.imaging import Defocus
from tem_seg.generation.ranges import POSITIVE, Range, check, log_uniform, uniform

LANCZOS = 4
"""Half width of the interpolation that moves a film by a part of a pixel."""
TEXTURE_PX = 48
"""Side of a particle's texture, which is drawn once and then turned and scaled with it."""


@dataclass(frozen=True, slots=True)
class FrameScene(Scene):
    """A scene at a moment. drift_nm (x, y): how far support and particles have moved since the first frame."""

    drift_nm: tuple[float, float] = (0.0, 0.0)

    @property
    def time_s(self) -> float:
        """Since the first frame."""
        return float(self.notes["time_s"])


@dataclass(frozen=True)
class FilmedMassThickness(Defocus):
    """Bright field at a defocus: MassThickness and imaging.Optics in one, for scenes that move.

    The film's grain drifts with the scene, and every particle keeps its texture, which turns and grows with it: both
    hang on the rng alone, which is the same for all frames. Particles say how they are turned and which texture they
    have in contrast["turn"] (rad) and contrast["texture"] (a number).
    """

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """Relative intensity (H, W) float32 >= 0, about 1 in the background."""
        seed = int(rng.integers(2**63))
        fresnel_px, blur_px = log_uniform(rng, self.fresnel_px), log_uniform(rng, self.blur_px)
        fringe, strength = np.float32(uniform(rng, self.fringe)), np.float32(uniform(rng, self.grain))
        pixels = transmission(np.zeros(image_size, np.float32), scene, partial(_texture, seed))
        pixels += fringe * (pixels - cv2.GaussianBlur(pixels, (0, 0), 0.7 * fresnel_px))
        if strength > 0:
            film = self._film(seed, image_size, fresnel_px, blur_px / 2.0)
            pixels *= 1.0 + strength * drifted(film, _drift_px(scene, image_size))
        uneven = noise.slow_field(image_size, int(rng.integers(2, 7)), rng)
        pixels *= 1.0 + np.float32(uniform(rng, self.unevenness)) * uneven
        return np.maximum(cv2.GaussianBlur(pixels, (0, 0), blur_px), np.float32(0.0))

    def _film(self, seed: int, size: tuple[int, int], fresnel_px: float, envelope_px: float) -> NDArray[np.float32]:
        """The sequence's film; the last one is kept, as the next frame wants it again."""
        key = (seed, *size)
        film = self._kept.get(key)
        if film is None:
            film = noise.film_grain(size, fresnel_px, envelope_px, child_rng(seed, "film"))
            self._kept.clear()
            self._kept[key] = film
        return film

    @cached_property
    def _kept(self) -> dict[tuple[int, ...], NDArray[np.float32]]:
        return {}


def _drift_px(scene: Scene, image_size: tuple[int, int]) -> tuple[float, float]:
    x, y = scene.drift_nm if isinstance(scene, FrameScene) else (0.0, 0.0)
    return x / scene.field_of_view_nm[1] * image_size[1], y / scene.field_of_view_nm[0] * image_size[0]


def drifted(film: NDArray[np.float32], drift_px: tuple[float, float]) -> NDArray[np.float32]:
    """film (H, W), which joins on to itself at the borders, moved by (x, y) px: nothing new has to be made up."""
    whole = [int(np.floor(part)) for part in drift_px]
    x, y = (part - start for part, start in zip(drift_px, whole, strict=True))
    film = np.roll(film, (whole[1], whole[0]), axis=(0, 1))
    if x == 0.0 and y == 0.0:
        return film
    kernels = (_lanczos(x), _lanczos(y))
    margin = LANCZOS
    padded = cv2.copyMakeBorder(film, margin, margin, margin, margin, cv2.BORDER_WRAP)
    moved = cv2.sepFilter2D(padded, cv2.CV_32F, *kernels)
    return np.asarray(moved[margin:-margin, margin:-margin], np.float32)


def _lanczos(shift: float) -> NDArray[np.float64]:
    """Kernel (2 · LANCZOS + 1,) for cv2.filter2D that moves samples by 0 <= shift < 1 towards higher numbers."""
    away = np.arange(-LANCZOS, LANCZOS + 1) + shift
    kernel = np.where(np.abs(away) < LANCZOS, np.sinc(away) * np.sinc(away / LANCZOS), 0.0)
    return np.asarray(kernel / kernel.sum())


def _texture(
    seed: int, particle: Particle, outline_px: NDArray[np.float64], crop: raster.Crop
) -> NDArray[np.float32] | None:
    """Factor (h, w) on the particle's scattering: its own texture, turned and scaled as it is now."""
    if "texture" not in particle.contrast or min(crop.values.shape) < diffraction.MIN_PX:
        return None
    rng = child_rng(seed, "texture", int(particle.contrast["texture"]))
    own = diffraction.texture(particle.contrast, np.ones((TEXTURE_PX, TEXTURE_PX), np.float32), rng)
    if own is None:
        return None
    middle = outline_px.mean(axis=0) - [crop.x0, crop.y0] - 0.5
    reach = float(np.hypot(*(outline_px - outline_px.mean(axis=0)).T).max())
    turn, zoom = particle.contrast["turn"], TEXTURE_PX / (2.0 * reach)
    matrix = zoom * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    offset = (TEXTURE_PX - 1) / 2.0 - matrix @ middle
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    affine = np.hstack([matrix, offset[:, None]])
    size = (crop.values.shape[1], crop.values.shape[0])
    return np.asarray(cv2.warpAffine(own, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


@dataclass(frozen=True)
class VideoCamera:
    """Counted electrons, the camera's point spread, and grey levels with black and white fixed for the whole video.

    Black and white are set from the dose and the settings, not from the frame's pixels, whose percentiles jump where
    counts are few and when particles come and go.
    """

    electrons_per_px: Range
    """Mean in the background of a frame, log-uniform."""
    blur_px: Range
    """Standard deviation of the point spread; below 0.2 none."""
    gamma: Range
    """Exponent of the grey-level curve, log-uniform."""
    black: Range
    """Intensity over the background's that becomes 0, where there is no noise."""
    white: Range
    """Intensity over the background's that becomes 255, where there is no noise."""
    noise_sd: Range
    """How many standard deviations of the noise fit between background and black or white on top of that."""

    def __post_init__(self) -> None:
        ranges: dict[str, Range] = {"electrons_per_px": POSITIVE, "blur_px": (0.0, 20.0), "gamma": (0.1, 10.0)}
        check(self, ranges | {"black": (0.0, 0.95), "white": (1.05, 10.0), "noise_sd": (0.1, 10.0)})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        dose, blur_px = log_uniform(rng, self.electrons_per_px), uniform(rng, self.blur_px)
        gamma, wide = log_uniform(rng, self.gamma), uniform(rng, self.noise_sd)
        black, white = uniform(rng, self.black), uniform(rng, self.white)
        pixels = noise.count_electrons(exposure.pixels, dose, exposure.frame_rng or rng)
        spread = wide / np.sqrt(dose)
        if blur_px >= 0.2:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), blur_px), np.float32)
            # white noise through a Gaussian: variance / (4π σ²), and no less than before for the narrowest ones
            spread *= min(1.0, 1.0 / (2.0 * np.sqrt(np.pi) * blur_px))
        low, high = max(0.0, black - spread), white + spread
        relative = np.clip((pixels - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0)
        exposure.pixels = np.rint(np.power(relative, np.float32(gamma)) * np.float32(255.0))

"""High-angle annular dark field: signal added up along the beam, and the probe that scans it.

Incoherent: signal = Σ thickness × signal of 1 nm (materials.signal_per_nm) of everything in the beam (Pennycook &
Jesson, Ultramicroscopy 37 (1991) 14).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Scene
from tem_seg.generation.contrast.projection import add_particles
from tem_seg.generation.contrast.supports import SupportedScene, blurred
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.ranges import POSITIVE, SHARE, Range, check, log_uniform, uniform

Field = NDArray[np.float32]


@dataclass(frozen=True)
class DarkField:
    """Contrast of an annular dark-field detector; the brightest half per cent of the field has intensity about 1.

    Needs each particle's contrast["signal_per_nm"] (materials.signal_per_nm); knows contrast["blur_nm"] (standard
    deviation: it lies out of focus) and the keys of diffraction.texture. Draws the support of a SupportedScene.
    """

    background: Range
    """Dark level of detector and amplifier over the intensity of the brightest half per cent."""
    saturation: Range
    """Share by which the brightest falls short of proportionality: thick specimens, a detector near its limit."""

    def __post_init__(self) -> None:
        check(self, {"background": (0.0, 10.0), "saturation": (0.0, 0.5)})

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> Field:
        """Relative intensity (H, W) float32, at least the background."""
        background, saturation = uniform(rng, self.background), uniform(rng, self.saturation)
        pixel_size_nm = scene.field_of_view_nm[0] / image_size[0]
        signal = np.zeros(image_size, np.float32)
        if isinstance(scene, SupportedScene):
            signal = scene.support.signal(image_size, pixel_size_nm)
        add_particles(signal, scene.particles, pixel_size_nm, rng)
        signal *= np.float32(1.0 / _brightest(signal))
        if saturation > 0:
            # x − s x², slope 1 in the dark, up to its top; then flat
            bend = np.float32(saturation)
            signal = np.minimum(signal, 0.5 / bend)
            signal *= (1.0 - bend * signal) / (1.0 - bend)
        signal += np.float32(background)
        return signal


def _brightest(signal: Field) -> float:
    """Signal exceeded by half a per cent of the pixels, or a quarter of the maximum where few pixels have any."""
    sample = signal[::4, ::4]
    return max(float(np.percentile(sample, 99.5)), float(signal.max()) / 4.0) or 1.0


@dataclass(frozen=True)
class Probe:
    """The focused beam: a core, which astigmatism draws out, and wide tails that lay a haze around bright things."""

    blur_px: Range
    """Standard deviation of the core."""
    astigmatism: Range
    """Relative difference of the core's long and short axis; below 0.05 it is taken as round."""
    tails: Range
    """Share 0-1 of the beam in the tails."""
    tails_px: Range
    """Standard deviation of the tails."""

    def __post_init__(self) -> None:
        check(self, {"blur_px": POSITIVE, "astigmatism": (0.0, 2.0), "tails": SHARE, "tails_px": POSITIVE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        blur_px, astigmatism = log_uniform(rng, self.blur_px), uniform(rng, self.astigmatism)
        tails, tails_px, angle = uniform(rng, self.tails), log_uniform(rng, self.tails_px), rng.uniform(0.0, np.pi)
        sharp = exposure.pixels
        pixels = through_probe(sharp, blur_px, 0.0 if astigmatism < 0.05 else astigmatism, float(angle))
        if tails > 0.0:
            cv2.addWeighted(pixels, 1.0 - tails, blurred(sharp, tails_px), tails, 0.0, dst=pixels)
        exposure.pixels = np.maximum(pixels, np.float32(0.0), out=pixels)


def through_probe(pixels: Field, sigma: float, astigmatism: float, angle_rad: float) -> Field:
    """(H, W) blurred by a Gaussian of axes sigma × and / √(1 + astigmatism), the long one at that angle.

    Short axis in two passes along rows and columns; what the long one is longer, with a small kernel along it, whose
    width of half a pixel is taken off before.
    """
    long, short = sigma * np.sqrt(1.0 + astigmatism), sigma / np.sqrt(1.0 + astigmatism)
    if astigmatism == 0.0:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.float32)
    thin = 0.5 if short > 0.6 else 0.0
    if thin:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), float(np.sqrt(short**2 - thin**2))), np.float32)
        long, short = float(np.sqrt(long**2 - short**2 + thin**2)), thin
    return np.asarray(cv2.filter2D(pixels, -1, elliptic_kernel(long, short, angle_rad)), np.float32)


def elliptic_kernel(long: float, short: float, angle_rad: float) -> Field:
    """(k, k) float32, sum 1: Gaussian with these standard deviations, the long one turned from x towards y."""
    half = max(1, int(np.ceil(2.7 * long)))
    axis = np.arange(-half, half + 1)
    along = axis[None, :] * np.cos(angle_rad) + axis[:, None] * np.sin(angle_rad)
    across = axis[:, None] * np.cos(angle_rad) - axis[None, :] * np.sin(angle_rad)
    kernel = np.exp(-np.square(along / long) / 2.0 - np.square(across / short) / 2.0)
    return np.asarray(kernel / kernel.sum(), np.float32)

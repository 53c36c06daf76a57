"""Imaging steps after the electrons: camera, grey levels, what happens to a picture until it is published."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tem_seg.generation.microscope.imaging import Exposure
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, log_uniform, uniform

SAMPLED_ROWS = 256


@dataclass(frozen=True)
class Camera:
    """The camera's point spread, which makes the noise of neighbouring pixels alike, and its grey-level curve."""

    blur_px: Range
    """Standard deviation of the point spread; below 0.2 none."""
    gamma: Range
    """Exponent of the grey-level curve."""
    sharpened: float
    """Share 0-1 of micrographs that someone has sharpened."""

    def __post_init__(self) -> None:
        check(self, {"blur_px": NOT_NEGATIVE, "gamma": POSITIVE}, {"sharpened": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        blur_px, gamma = uniform(rng, self.blur_px), log_uniform(rng, self.gamma)
        pixels = exposure.pixels
        if blur_px >= 0.2:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), blur_px), np.float32)
        if rng.random() < self.sharpened:
            amount, radius_px = float(rng.uniform(0.3, 1.5)), float(rng.uniform(0.8, 2.0))
            soft = cv2.GaussianBlur(pixels, (0, 0), radius_px)
            pixels = np.asarray(cv2.addWeighted(pixels, 1.0 + amount, soft, -amount, 0.0, dst=soft), np.float32)
        pixels = np.maximum(pixels, np.float32(0.0))
        exposure.pixels = np.power(pixels, np.float32(gamma), out=pixels)


@dataclass(frozen=True)
class ToGreyLevels:
    """Stretches the range between two percentiles to whole grey levels 0-255, clipping what lies outside."""

    percentiles: Range = (1.0, 99.0)
    """In per cent."""

    def __post_init__(self) -> None:
        check(self, {"percentiles": (0.0, 100.0)})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        # some hundred rows and columns tell the percentiles of a micrograph well enough
        pixels, step = exposure.pixels, max(2, min(exposure.size) // SAMPLED_ROWS)
        low, high = np.percentile(pixels[::step, ::step], self.percentiles)
        scale = 255.0 / (high - low) if high > low else 0.0
        pixels = pixels - np.float32(low)
        pixels *= np.float32(scale)
        np.clip(pixels, np.float32(0.0), np.float32(255.0), out=pixels)
        exposure.pixels = np.rint(pixels, out=pixels)


@dataclass(frozen=True)
class Jpeg:
    """Some pictures went through JPEG."""

    probability: float
    quality: Range
    """0-100."""

    def __post_init__(self) -> None:
        check(self, {"quality": (1.0, 100.0)}, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        quality = [cv2.IMWRITE_JPEG_QUALITY, round(uniform(rng, self.quality))]
        encoded = cv2.imencode(".jpg", exposure.pixels.astype(np.uint8), quality)[1]
        exposure.pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.float32)

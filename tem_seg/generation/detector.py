"""Imaging steps after the electrons: camera, grey levels, what happens to a picture until it is published."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tem_seg.generation.imaging import Exposure
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, log_uniform, uniform


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
            pixels = pixels + np.float32(amount) * (pixels - cv2.GaussianBlur(pixels, (0, 0), radius_px))
        exposure.pixels = np.asarray(np.power(np.maximum(pixels, 0.0), np.float32(gamma)), np.float32)


@dataclass(frozen=True)
class ToGreyLevels:
    """Stretches the range between two percentiles to whole grey levels 0-255, clipping what lies outside."""

    percentiles: Range = (1.0, 99.0)
    """In per cent."""

    def __post_init__(self) -> None:
        check(self, {"percentiles": (0.0, 100.0)})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        # every second row and column tells the percentiles of a micrograph well enough, in a quarter of the time
        low, high = np.percentile(exposure.pixels[::2, ::2], self.percentiles)
        scale = 255.0 / (high - low) if high > low else 0.0
        exposure.pixels = np.rint(np.clip((exposure.pixels - np.float32(low)) * np.float32(scale), 0.0, 255.0))


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

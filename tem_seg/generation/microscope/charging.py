"""Imaging step of specimens that do not conduct."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.signal
from numpy.typing import NDArray

from tem_seg.generation.microscope import noise
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.ranges import SHARE, Range, check, log_uniform, uniform

STREAK_STEP, HALO_STEP = 4, 16
"""Charge is smooth: it is reckoned on every fourth and every sixteenth pixel."""
CLEARLY = 3.0
"""Median absolute deviations above the median from which on something is an object: an uneven beam reaches 2."""


@dataclass(frozen=True)
class Charging:
    """Particles that do not conduct: streaks behind them along the scan, and a slow halo around them.

    What is brighter than the background (CLEARLY) charges; the charge dies away along the line with ``length`` and
    differs from line to line, and spreads around as ``halo_radius``. Strengths are over the object's brightness above
    the background and may be negative (darker). (Cazaux, Scanning 26 (2004) 181; Goldstein et al., Scanning Electron
    Microscopy and X-Ray Microanalysis, 4th ed., chapter 9.)
    """

    probability: float
    """Share 0-1 of the micrographs."""
    streaks: Range
    """Strength of the streaks behind an object that is long against their length."""
    length: Range
    """Over which a streak dies away, over the image's width."""
    halo: Range
    """Strength of the halo."""
    halo_radius: Range
    """Standard deviation of its Gaussian, over the image's height."""

    def __post_init__(self) -> None:
        limits = {"streaks": (-2.0, 2.0), "length": (0.005, 2.0), "halo": (-2.0, 2.0), "halo_radius": (0.005, 1.0)}
        check(self, limits, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        height, width = exposure.size
        above = _above_background(exposure.pixels)
        streaks = uniform(rng, self.streaks) * _streaks(above, log_uniform(rng, self.length) * width, exposure, rng)
        sigma_px, halo = log_uniform(rng, self.halo_radius) * height, uniform(rng, self.halo)
        small = cv2.resize(above, _reduced((width, height), (HALO_STEP, HALO_STEP)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), max(sigma_px / HALO_STEP, 0.3)) * np.float32(halo)
        pixels = exposure.pixels + cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        pixels += cv2.resize(streaks.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        exposure.pixels = np.maximum(pixels, np.float32(0.0), out=pixels)


def _above_background(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    sample = pixels[::8, ::8]
    middle = np.median(sample)
    background = middle + CLEARLY * np.median(np.abs(sample - middle))
    return np.asarray(np.maximum(pixels - np.float32(background), np.float32(0.0)), np.float32)


def _streaks(
    above: NDArray[np.float32], length_px: float, exposure: Exposure, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Charge (H, W / STREAK_STEP) that the beam has left on its line and that is still there, times the line's gain."""
    height, width = above.shape
    small = cv2.resize(above, _reduced((width, height), (STREAK_STEP, 1)), interpolation=cv2.INTER_AREA)
    kept = float(np.exp(-STREAK_STEP / length_px))
    charge = scipy.signal.lfilter([1.0 - kept], [1.0, -kept], small, axis=1)
    gain = np.maximum(0.5 + noise.correlated(height, 1.5, exposure.frame_rng or rng), 0.0)
    return np.asarray(charge * gain[:, None])


def _reduced(size: tuple[int, int], steps: tuple[int, int]) -> tuple[int, int]:
    return max(1, size[0] // steps[0]), max(1, size[1] // steps[1])

"""Random fields of an electron micrograph: film grain, slow unevenness, electrons counted."""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

NORMAL_FROM = 30.0
"""Mean electrons a pixel from which Poisson counts are drawn as normal ones (skewness below 0.19)."""


def film_grain(
    size: tuple[int, int], fresnel_px: float, envelope_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(H, W) float32, mean 0, standard deviation 1: phase contrast of an amorphous film at a defocus.

    Random phases (by the central limit theorem as good as white noise, at half the random numbers) through the
    weak-phase contrast transfer sin(π s² k²) · exp(−2 (π e k)²), k in 1/px: s = fresnel_px = √(wavelength · defocus) in
    px (spherical aberration left out: it matters below 0.3 nm), e = envelope_px the blur of partial coherence
    (Williams & Carter, Transmission Electron Microscopy, 2nd ed., chapter 28).
    """
    height, width = size
    rows = scipy.fft.fftfreq(height).astype(np.float32)[:, None]
    columns = scipy.fft.rfftfreq(width).astype(np.float32)[None, :]
    square = rows * rows + columns * columns
    transfer = np.sin(np.float32(np.pi * fresnel_px**2) * square)
    transfer *= np.exp(np.float32(-2.0 * (np.pi * envelope_px) ** 2) * square)
    phase = rng.random(transfer.shape, dtype=np.float32) * np.float32(2.0 * np.pi)
    spectrum = np.empty(transfer.shape, np.complex64)
    spectrum.real, spectrum.imag = transfer * np.cos(phase), transfer * np.sin(phase)
    grain = scipy.fft.irfft2(spectrum, s=(height, width), overwrite_x=True)
    spread = float(grain.std())
    grain *= np.float32(1.0 / spread if spread > 0 else 1.0)
    return np.asarray(grain, np.float32)


def slow_field(size: tuple[int, int], cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) float32 about −2…2: smooth unevenness with about ``cells`` hills along a side."""
    coarse = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def count_electrons(
    intensity: NDArray[np.float32], electrons_per_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:  # fmt: skip
    """Relative intensity (H, W) >= 0 → the same with shot noise of that many electrons a pixel at intensity 1."""
    mean = np.maximum(intensity, 0.0) * np.float32(electrons_per_px)
    if electrons_per_px < NORMAL_FROM:
        counted = np.asarray(rng.poisson(mean), np.float32)
    else:
        counted = np.asarray(mean + np.sqrt(mean) * rng.standard_normal(mean.shape, dtype=np.float32), np.float32)
    return np.asarray(counted / np.float32(electrons_per_px), np.float32)

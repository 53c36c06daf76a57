"""Random fields of an electron micrograph: film grain, slow unevenness, electrons counted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import ndtri, pdtr

NORMAL_FROM = 30.0
"""Mean electrons a pixel from which Poisson counts are drawn as normal ones (skewness below 0.19)."""
PHASES = 4096
"""Different phases of the grain: the table of them stays in the processor's cache."""
SLOW_SAMPLES = 16
"""Pixels to a hill of a slow field between which straight lines are as good as curves."""
EXACT_BELOW = 4.0
"""Mean electrons a pixel below which Poisson counts are looked up."""
PER_ELECTRON, QUANTILE_BITS, MOST = 16, 14, 24
"""Of that table: means to an electron, quantiles of each mean, counts."""
BAND_PX = 2**16


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
    down = np.square(scipy.fft.fftfreq(height).astype(np.float32))[:, None]
    across = np.square(scipy.fft.rfftfreq(width).astype(np.float32))[None, :]
    square, envelope = np.float32(np.pi * fresnel_px**2), np.float32(-2.0 * (np.pi * envelope_px) ** 2)
    damped = np.exp(envelope * across)
    spectrum, power = np.empty((height, across.size), np.complex64), 0.0
    alone = [0, -1] if width % 2 == 0 else [0]  # columns that mirror themselves; the others stand for two
    for rows in bands(spectrum.shape):
        transfer = np.sin(square * down[rows] + square * across)
        transfer *= np.exp(envelope * down[rows])
        transfer *= damped
        # Parseval; where random phases do not mirror each other as a real image's do, half of the power is lost
        power += 2.0 * float(np.vdot(transfer, transfer)) - 1.5 * float(np.square(transfer[:, alone]).sum())
        chosen = rng.integers(0, PHASES, transfer.shape, dtype=np.uint16)
        np.take(_phases(), chosen, out=spectrum[rows], mode="clip")
        spectrum[rows] *= transfer
    grain = np.asarray(scipy.fft.irfft2(spectrum, s=(height, width), overwrite_x=True), np.float32)
    grain *= np.float32(height * width / np.sqrt(power) if power > 0 else 0.0)
    return grain


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an array (H, W) in pieces that stay in the processor's cache: arithmetic takes half as long."""
    step = max(1, BAND_PX // shape[1])
    return (slice(top, top + step) for top in range(0, shape[0], step))


@lru_cache(maxsize=1)
def _phases() -> NDArray[np.complex64]:
    """(PHASES,) numbers evenly round the unit circle."""
    return np.asarray(np.exp(2j * np.pi * np.arange(PHASES) / PHASES), np.complex64)


def slow_field(size: tuple[int, int], cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) float32 about −2…2: smooth unevenness with about ``cells`` hills along a side."""
    field = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    step = min(size) // (SLOW_SAMPLES * (cells + 2))
    if step > 1:  # smooth curves through few pixels, then straight lines between those: a tenth of the time
        fewer = (size[1] // step, size[0] // step)
        field = np.asarray(cv2.resize(field, fewer, interpolation=cv2.INTER_CUBIC), np.float32)
    interpolation = cv2.INTER_LINEAR if step > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(field, (size[1], size[0]), interpolation=interpolation), np.float32)


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float32]:
    """(65536,) equally likely values whose mean is 0 and standard deviation 1, of a normal distribution to 4.3."""
    values = ndtri((np.arange(65536) + 0.5) / 65536)
    return np.asarray(values / values.std(), np.float32)


def normal(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) float32 white noise of standard deviation 1: 65,536 values, in a third of standard_normal's time."""
    values = np.empty(size, np.float32)
    for rows in bands(size):
        chosen = rng.integers(0, 65536, values[rows].shape, dtype=np.uint16)
        np.take(_quantiles(), chosen, out=values[rows], mode="clip")
    return values


def correlated(count: int, sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count,) normal numbers of standard deviation 1: white noise through a Gaussian of standard deviation sigma."""
    reach = int(np.ceil(4.0 * sigma))
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / max(sigma, 1e-3)))
    kernel /= np.sqrt(np.square(kernel).sum())
    return np.convolve(rng.standard_normal(count + 2 * reach), kernel, mode="valid")


def count_electrons(
    intensity: NDArray[np.float32], electrons_per_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:  # fmt: skip
    """Relative intensity (H, W) >= 0 → the same with shot noise of that many electrons a pixel at intensity 1."""
    counted = np.empty(intensity.shape, np.float32)
    for rows in bands(intensity.shape):
        mean = np.maximum(intensity[rows], np.float32(0.0))
        mean *= np.float32(electrons_per_px)
        counts = _poisson(mean, rng) if electrons_per_px < NORMAL_FROM else _normal_counts(mean, rng)
        np.multiply(counts, np.float32(1.0 / electrons_per_px), out=counted[rows])
    return counted


def _normal_counts(mean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    counts = normal((mean.shape[0], mean.shape[1]), rng)
    counts *= np.sqrt(mean)
    counts += mean
    return counts


def _poisson(mean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Poisson counts (H, W): where some are expected by Giles' expansion of the inverse distribution function.

    floor(λ + √λ z + (2 + z²) / 6 − z (2 + z²) / (72 √λ)), z normal: Giles, ACM Trans. Math. Softw. 42 (2016) 7.
    """
    few = mean < EXACT_BELOW
    if few.all():
        return _few(mean, rng)
    z = normal((mean.shape[0], mean.shape[1]), rng)
    root = np.sqrt(np.maximum(mean, np.float32(EXACT_BELOW)))
    bend = np.square(z)
    bend += np.float32(2.0)
    counts = bend / root
    counts *= np.float32(-1.0 / 72.0)
    counts += root
    counts *= z
    bend *= np.float32(1.0 / 6.0)
    counts += bend
    counts += mean
    np.floor(np.maximum(counts, np.float32(0.0), out=counts), out=counts)
    if few.any():
        counts[few] = _few(mean[few], rng)
    return np.asarray(counts, np.float32)


def _few(mean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Poisson counts for means (any shape) below EXACT_BELOW, looked up: rng.poisson takes ten times as long.

    A mean between two that have a column in the table gets one of the two, as often as makes its mean right.
    """
    drawn = rng.integers(0, 2**32, mean.shape, dtype=np.uint32)
    level = (mean * np.float32(PER_ELECTRON) + (drawn >> 16) * np.float32(2.0**-16)).astype(np.uint32)
    level <<= QUANTILE_BITS
    level |= drawn & np.uint32(2**QUANTILE_BITS - 1)
    return np.asarray(np.take(_poisson_quantiles(), level), np.float32)


@lru_cache(maxsize=1)
def _poisson_quantiles() -> NDArray[np.uint8]:
    """2 ** QUANTILE_BITS equally likely counts for every PER_ELECTRON-th electron of mean, one mean after the other."""
    number = np.arange(MOST)
    means = np.arange(int(EXACT_BELOW * PER_ELECTRON) + 1)[:, None] / PER_ELECTRON
    upto = np.rint(pdtr(number, means) * 2**QUANTILE_BITS).astype(np.int64)
    upto[:, -1] = 2**QUANTILE_BITS
    times = np.diff(upto, prepend=0, axis=1)
    return np.repeat(np.tile(number, len(means)).astype(np.uint8), times.ravel())

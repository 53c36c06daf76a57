"""Imaging steps of cameras and their files: modulation transfer, gain reference, bit depth, inversion."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope import noise
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.ranges import SHARE, Range, check, uniform

MARGIN_PX = 24
TILINGS = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 4))


@dataclass(frozen=True)
class DetectorMTF:
    """Scintillator and light optics: one electron's light spreads over several pixels, far beyond the next ones.

    MTF(k) = (1 − h) exp(−2 (π b k)²) + h / (1 + (2π L k)²), k in 1/px: a narrow peak and a halo of light scattered
    in the scintillator (Zuo, Microsc. Res. Tech. 49 (2000) 245, fits slow-scan cameras with such Lorentzians). The
    counted electrons spread with their noise, so the noise power is σ² MTF² + r², r the electronics' white noise: the
    noise transfer function of Meyer & Kirkland (Microsc. Res. Tech. 49 (2000) 269) for a constant gain an electron.
    """

    probability: float
    """Share 0-1 of the micrographs."""
    blur_px: Range
    """b: standard deviation of the narrow peak."""
    halo: Range
    """h: share of the light in the halo."""
    halo_px: Range
    """L: length of the halo."""
    readout: Range
    """r: standard deviation of the electronics' noise, over the image's mean."""

    def __post_init__(self) -> None:
        ranges = {"blur_px": (0.0, 10.0), "halo": SHARE, "halo_px": (0.1, 20.0), "readout": (0.0, 1.0)}
        check(self, ranges, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        settings = [uniform(rng, bounds) for bounds in (self.blur_px, self.halo, self.halo_px)]
        readout = uniform(rng, self.readout) * float(exposure.pixels.mean())
        exposure.pixels = _through_mtf(exposure.pixels, *settings)
        if readout > 0:
            exposure.pixels += np.float32(readout) * noise.normal(exposure.size, exposure.frame_rng or rng)


def _through_mtf(pixels: NDArray[np.float32], blur_px: float, halo: float, halo_px: float) -> NDArray[np.float32]:
    """pixels (H, W) filtered; mirrored at the borders, which a Fourier transform would join to each other."""
    height, width = pixels.shape
    fast = [scipy.fft.next_fast_len(side + 2 * MARGIN_PX, real=True) for side in (height, width)]
    extra = [side - length - MARGIN_PX for side, length in zip(fast, (height, width), strict=True)]
    padded = cv2.copyMakeBorder(pixels, MARGIN_PX, extra[0], MARGIN_PX, extra[1], cv2.BORDER_REFLECT)
    rows = np.square(scipy.fft.fftfreq(fast[0]).astype(np.float32))[:, None]
    columns = np.square(scipy.fft.rfftfreq(fast[1]).astype(np.float32))[None, :]
    wide, narrow = np.float32((2.0 * np.pi * halo_px) ** 2), np.float32(-2.0 * (np.pi * blur_px) ** 2)
    transfer = (np.float32(1.0) + wide * rows) + wide * columns
    np.divide(np.float32(halo), transfer, out=transfer)
    transfer += np.exp(narrow * rows) * (np.float32(1.0 - halo) * np.exp(narrow * columns))
    spectrum = scipy.fft.rfft2(padded, overwrite_x=True)
    spectrum *= transfer
    filtered = scipy.fft.irfft2(spectrum, s=tuple(fast), overwrite_x=True)
    return np.ascontiguousarray(filtered[MARGIN_PX : MARGIN_PX + height, MARGIN_PX : MARGIN_PX + width], np.float32)


@dataclass(frozen=True)
class GainAndDeadPixels:
    """What is left of the camera's pattern after gain correction: pixels, lines and tiles that count too much or too
    little (mean 1), and pixels and lines that are dead (0) or hot (several times the mean).

    The pattern belongs to the camera, and stays over a video.
    """

    probability: float
    """Share 0-1 of the micrographs."""
    pixel: Range
    """Relative standard deviation of the pixels' gain."""
    line: Range
    """Relative standard deviation of the columns' gain, or, as often, of the rows'."""
    tile: Range
    """Relative standard deviation of the gain of the 1 to 16 tiles that are read out separately."""
    bad_pixels: Range
    """Dead and hot pixels in a million."""
    bad_lines: Range
    """Number of dead or hot columns (or rows)."""

    def __post_init__(self) -> None:
        gains: dict[str, Range] = dict.fromkeys(("pixel", "line", "tile"), (0.0, 0.5))
        check(self, gains | {"bad_pixels": (0.0, 1e5), "bad_lines": (0.0, 100.0)}, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        exposure.pixels *= self.gain(exposure.size, rng)
        self._break_some(exposure.pixels, rng)

    def gain(self, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """(H, W) float32, mean 1, never below 0."""
        gain = np.float32(uniform(rng, self.pixel)) * noise.normal(size, rng)
        axis = int(rng.integers(2))
        lines = np.float32(uniform(rng, self.line)) * rng.standard_normal(size[axis], dtype=np.float32)
        gain += lines[:, None] if axis == 0 else lines[None, :]
        tiles = np.float32(uniform(rng, self.tile)) * rng.standard_normal(TILINGS[int(rng.integers(len(TILINGS)))])
        rows, columns = (_cuts(length, count) for length, count in zip(size, tiles.shape, strict=True))
        for row, values in zip(rows, tiles, strict=True):
            for column, value in zip(columns, values, strict=True):
                gain[row, column] += np.float32(value)
        gain += np.float32(1.0) - gain.mean()
        return np.asarray(np.maximum(gain, np.float32(0.0)), np.float32)

    def _break_some(self, pixels: NDArray[np.float32], rng: np.random.Generator) -> None:
        hot = np.float32(pixels.mean() * rng.uniform(2.0, 10.0))
        count = round(uniform(rng, self.bad_pixels) * 1e-6 * pixels.size)
        place = rng.integers(pixels.size, size=count)
        pixels.reshape(-1)[place] = np.where(rng.random(count) < 0.5, np.float32(0.0), hot)
        lines = pixels if rng.random() < 0.3 else pixels.T
        for _ in range(int(rng.integers(int(self.bad_lines[0]), int(self.bad_lines[1]) + 1))):
            lines[int(rng.integers(len(lines)))] = 0.0 if rng.random() < 0.6 else hot


def _cuts(length: int, count: int) -> list[slice]:
    edges = [round(i * length / count) for i in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


@dataclass(frozen=True)
class BitDepth:
    """Few grey levels, and black and white that someone has drawn too near together. Comes after ToGreyLevels."""

    probability: float
    """Share 0-1 of the micrographs."""
    bits: Range
    """Whole number; 2 ** bits grey levels, spread over 0-255."""
    clipped: Range
    """Share 0-1 of the pixels that become black, and as many white."""

    def __post_init__(self) -> None:
        check(self, {"bits": (1.0, 8.0), "clipped": (0.0, 0.4)}, {"probability": SHARE})
        if any(bits != int(bits) for bits in self.bits):
            raise UserError(f"BitDepth.bits must be whole numbers, got {list(self.bits)}")

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        levels = 2 ** int(rng.integers(int(self.bits[0]), int(self.bits[1]) + 1))
        clipped = uniform(rng, self.clipped)
        pixels = np.clip(exposure.pixels, 0.0, 255.0).astype(np.uint8)
        below = np.cumsum(np.bincount(pixels.reshape(-1), minlength=256)) / pixels.size
        black, white = (int(np.searchsorted(below, share)) for share in (clipped, 1.0 - clipped))
        if clipped == 0 or white <= black:
            black, white = 0, 255
        stretched = np.clip((np.arange(256) - black) / (white - black), 0.0, 1.0)
        table = np.rint(np.rint(stretched * (levels - 1)) * (255.0 / (levels - 1)))
        exposure.pixels = np.asarray(cv2.LUT(pixels, table.astype(np.float32)), np.float32)


@dataclass(frozen=True)
class ContrastInversion:
    """Grey levels turned round, as some publish bright-field pictures. Comes after ToGreyLevels."""

    probability: float
    """Share 0-1 of the micrographs."""

    def __post_init__(self) -> None:
        check(self, {}, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() < self.probability:
            np.subtract(np.float32(255.0), exposure.pixels, out=exposure.pixels)

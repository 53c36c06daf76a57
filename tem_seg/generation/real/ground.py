"""The background under the particles of a real image: its smooth level, its grain, and the image without particles."""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

COARSE_PX = 128  # the smooth level is found on an image of about this many pixels on its shorter side
GRAIN_PX = 1024  # the grain is learnt from a part of at most this side; it repeats beyond, without a seam
FADE_PX = 3.0  # width of the band in which real background passes into synthetic
SLOW_PX = 6.0
WRITING = (3.0, 250.0)  # grey levels: at most, at least
LOWEST = 4.0  # grey level 0-255: nothing is divided by less


def smooth_level(pixels: NDArray[np.float32], occupied: NDArray[np.bool_]) -> NDArray[np.float32]:
    """pixels (H, W) → slow part of the background (H, W) float32; below occupied (H, W) it is inpainted (Telea 2004).

    Works on a coarse image: averages of free pixels alone, OpenCV's inpainting in the holes, then interpolation.
    ValueError where no pixel is free.
    """
    height, width = pixels.shape
    step = max(1.0, min(height, width) / COARSE_PX)
    size = (max(1, round(width / step)), max(1, round(height / step)))
    free = (~occupied).astype(np.float32)
    share = np.asarray(cv2.resize(free, size, interpolation=cv2.INTER_AREA), np.float32)
    if not share.any():
        raise ValueError("no pixel of the image is background")
    total = cv2.resize(pixels * free, size, interpolation=cv2.INTER_AREA)
    hole = share < min(0.25, float(share.max()))
    level = np.where(hole, 0.0, total / np.maximum(share, 1e-6)).astype(np.float32)
    if hole.any():
        level = np.asarray(cv2.inpaint(level, hole.astype(np.uint8), 5, cv2.INPAINT_TELEA), np.float32)
    slow = cv2.GaussianBlur(level, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(slow, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def grain_like(
    deviation: NDArray[np.float32], known: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:  # fmt: skip
    """A new field (H, W) float32 with the spread and the power spectrum of deviation (H, W) where it is known.

    Random phases behind the spectrum of the known part, zeros elsewhere (van Wijk 1991's spot noise). The spectrum is
    averaged over directions, or the shape of what is known would ring through the field as stripes. What is slower than
    SLOW_PX is left out: a few traces of halos or bars would make clouds of it.
    """
    height, width = deviation.shape
    rows, columns = _fullest_window(known)
    part, mask = deviation[rows, columns], known[rows, columns]
    if np.count_nonzero(mask) < 16:
        return np.zeros(deviation.shape, np.float32)
    clean = _without_slow(part, mask)
    amplitude = _averaged_round(np.abs(scipy.fft.rfft2(clean)), clean.shape)
    white = scipy.fft.rfft2(rng.standard_normal(clean.shape, dtype=np.float32))
    field = np.asarray(scipy.fft.irfft2(amplitude * white, s=clean.shape), np.float32)
    field *= np.float32(float(clean[mask].std()) / max(float(field.std()), 1e-9))
    return np.tile(field, (-(-height // field.shape[0]), -(-width // field.shape[1])))[:height, :width]


def writing(pixels: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is black or white (H, W) bool, grey levels 0-255, and 3 px around it: scale bars, letters and their boxes.

    Nothing where more than a quarter of the known (H, W) pixels is so: then it is the background itself.
    """
    extreme = (pixels <= WRITING[0]) | (pixels >= WRITING[1])
    if 4 * np.count_nonzero(extreme & known) > np.count_nonzero(known):
        return np.zeros_like(known)
    return cv2.dilate((extreme & known).astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)


def plain(deviation: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """known (H, W) without letters, bars and lines: what is beyond 5 robust standard deviations, and 3 px around it.

    Nothing is left out where that would leave less than half.
    """
    values = deviation[known]
    middle = float(np.median(values)) if len(values) else 0.0
    spread = 1.48 * float(np.median(np.abs(values - middle))) if len(values) else 0.0
    odd = known & (np.abs(deviation - middle) > max(5.0 * spread, 2.0))
    rest = known & ~cv2.dilate(odd.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    return rest if 2 * np.count_nonzero(rest) >= len(values) else known


def _without_slow(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """values (h, w) less their mean over known neighbours within about SLOW_PX; 0 where they are not known."""
    weight = known.astype(np.float32)
    total = cv2.GaussianBlur(values * weight, (0, 0), SLOW_PX)
    mean = total / np.maximum(cv2.GaussianBlur(weight, (0, 0), SLOW_PX), 1e-3)
    return np.asarray((values - mean) * weight, np.float32)


def _averaged_round(amplitude: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """amplitude (h, w // 2 + 1) of a real transform of shape (h, w): root mean square over rings of equal frequency."""
    rings = max(2, min(shape) // 2)
    frequency = np.hypot(scipy.fft.fftfreq(shape[0])[:, None], scipy.fft.rfftfreq(shape[1])[None, :])
    ring = np.minimum((frequency * 2 * rings).astype(np.int64), rings)
    amplitude[0, 0] = 0.0
    power = np.bincount(ring.ravel(), weights=np.square(amplitude).ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    return np.asarray(np.sqrt(power)[ring], np.float32)


def _fullest_window(known: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Of the image's parts of at most GRAIN_PX a side, the one with most known pixels."""
    starts = [
        (top, left) for top in range(0, max(1, known.shape[0] - GRAIN_PX + 1), GRAIN_PX)
        for left in range(0, max(1, known.shape[1] - GRAIN_PX + 1), GRAIN_PX)
    ]  # fmt: skip
    windows = [(slice(top, top + GRAIN_PX), slice(left, left + GRAIN_PX)) for top, left in starts]
    return max(windows, key=lambda window: int(np.count_nonzero(known[window])))


def without_particles(
    pixels: NDArray[np.float32], occupied: NDArray[np.bool_], level: NDArray[np.float32], grain: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The image with level + grain where it was occupied; all (H, W). The passage keeps the grain's spread."""
    away = cv2.distanceTransform((~occupied).astype(np.uint8), cv2.DIST_L2, 3)
    real = np.clip(away * np.float32(1.0 / FADE_PX), 0.0, 1.0)
    # the variance of a sum of independent fields: weights are made to have squares that add to 1
    deviation = real * (pixels - level) + (1.0 - real) * grain
    deviation /= np.sqrt(real * real + (1.0 - real) ** 2)
    return np.asarray(np.where(away > FADE_PX, pixels, level + deviation), np.float32)

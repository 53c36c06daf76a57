"""Particles projected along the beam: the dark-field signal that each adds to the image.

Large ones one by one; many small ones together, as stamps: a catalyst has a thousand particles of a few px.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Particle
from tem_seg.generation import raster
from tem_seg.generation.contrast import diffraction
from tem_seg.generation.raster import Crop

STAMP_PX = 24  # particles no wider than this are drawn together, as stamps
ANGLES = 64
SAMPLES = 2  # samples along each pixel of a stamp
SLENDER = 0.6  # smallest box of a particle over its upright one, below which it is drawn lying along x and turned
FINE_PX = 32  # slender particles thinner than half of it are drawn twice as large first
SHARP_PX = 0.2  # less blur is none
Field = NDArray[np.float32]


def add_particles(
    signal: Field, particles: Sequence[Particle], pixel_size_nm: float, rng: np.random.Generator
) -> None:  # fmt: skip
    """Adds thickness × signal_per_nm of every particle to signal (H, W)."""
    size = (signal.shape[0], signal.shape[1])
    by_corners: dict[int, list[Particle]] = defaultdict(list)
    for particle in particles:
        by_corners[len(particle.outline_nm)].append(particle)
    for group in by_corners.values():
        outlines = np.stack([particle.outline_nm for particle in group]) / pixel_size_nm
        small = (outlines.max(axis=1) - outlines.min(axis=1)).max(axis=1) <= STAMP_PX
        large = np.flatnonzero(~small).tolist()
        turned = [_along_x(outlines[index]) for index in large]
        crops = raster.thicknesses_nm([group[index] for index in large], [lying for lying, _ in turned])
        for index, (_, turn), crop in zip(large, turned, crops, strict=True):
            _add(signal, size, _large(group[index], crop, outlines[index], turn, pixel_size_nm, size, rng))
        few = [group[index] for index in np.flatnonzero(small).tolist()]
        for crop in stamps(outlines[small], few, pixel_size_nm):
            _add(signal, size, crop)


def _add(signal: Field, size: tuple[int, int], crop: Crop | None) -> None:
    inside = raster.cut(crop, size) if crop is not None else None
    if inside is not None:
        signal[inside.window] += inside.values


def _large(
    particle: Particle, crop: Crop, outline_px: NDArray[np.float64], turn: NDArray[np.float64] | None,
    pixel_size_nm: float, size: tuple[int, int], rng: np.random.Generator,
) -> Crop | None:  # fmt: skip
    """Signal of one particle from its thickness, turned back; None if nothing of a long one lies in the image."""
    values = crop.values * np.float32(particle.contrast["signal_per_nm"])
    factor = diffraction.texture(particle.contrast, crop.values, rng)
    if factor is not None:
        values *= factor
    sigma_px = particle.contrast.get("blur_nm", 0.0) / pixel_size_nm
    if turn is None:
        return _out_of_focus(Crop(values, crop.x0, crop.y0), sigma_px)
    fine = float(np.hypot(*turn[0]))
    soft = _out_of_focus(Crop(values, crop.x0, crop.y0), sigma_px * fine)
    return _turned_back(soft, outline_px, turn, sigma_px, size)


def _along_x(outline: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Outline (K, 2) turned so that its box is smallest, and the turn (2, 2); as it is, and None, if that saves little.

    A slender rod at 45° fills a tenth of its upright box, whose pixels are most of the work. The turn also enlarges
    thin ones, whose edges would else be ragged.
    """
    (_, sides, degrees) = cv2.minAreaRect((outline - outline[0]).astype(np.float32))
    if sides[0] * sides[1] > SLENDER * float(np.prod(outline.max(axis=0) - outline.min(axis=0))):
        return outline, None
    fine = float(np.clip(FINE_PX // max(min(sides), 1.0), 1.0, 2.0))
    cosine, sine = fine * np.cos(np.radians(degrees)), fine * np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return outline @ turn, turn


def _turned_back(
    crop: Crop, outline: NDArray[np.float64], turn: NDArray[np.float64], sigma_px: float, size: tuple[int, int]
) -> Crop | None:  # fmt: skip
    """The crop of the turned particle where the particle really lies, cut to the image."""
    margin = int(np.ceil(3.0 * sigma_px)) + 1
    x0, y0, x1, y1 = raster.bounds(outline)
    x0, y0 = max(x0 - margin, 0), max(y0 - margin, 0)
    x1, y1 = min(x1 + margin, size[1]), min(y1 + margin, size[0])
    if x0 >= x1 or y0 >= y1:
        return None
    # from the centre of the image's pixel (0, 0) to where OpenCV, whose pixels' centres are whole numbers, counts it
    shift = np.array([x0 + 0.5, y0 + 0.5]) @ turn - np.array([crop.x0 + 0.5, crop.y0 + 0.5])
    matrix = np.hstack([turn.T, shift[:, None]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return Crop(cv2.warpAffine(crop.values, matrix, (x1 - x0, y1 - y0), flags=flags), x0, y0)


def _out_of_focus(crop: Crop, sigma_px: float) -> Crop:
    if sigma_px < SHARP_PX:
        return crop
    pad = int(np.ceil(3.0 * sigma_px))
    padded = cv2.copyMakeBorder(crop.values, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    values = cv2.GaussianBlur(padded, (0, 0), sigma_px, borderType=cv2.BORDER_CONSTANT)
    return Crop(np.asarray(values, np.float32), crop.x0 - pad, crop.y0 - pad)


def stamps(
    outlines: NDArray[np.float64], particles: Sequence[Particle], pixel_size_nm: float
) -> list[Crop]:  # fmt: skip
    """Signal of N small particles, outlines (N, K, 2) px, all at once by size; in no particular order.

    Thickness is that of raster.thickness_nm with the distance to the edge taken along the ray from the middle: the
    same for a sphere, and no visible difference for compact particles of a few px. An outline whose radius is not a
    function of the angle (a bent rod) goes through raster.thickness_nm.
    """
    middles = outlines.mean(axis=1)
    offsets = outlines - middles[:, None, :]
    angles = np.unwrap(np.arctan2(offsets[..., 1], offsets[..., 0]), axis=1)
    steps = np.diff(angles, axis=1)
    simple = (steps > 0).all(axis=1) | (steps < 0).all(axis=1)
    sigmas = np.array([particle.contrast.get("blur_nm", 0.0) for particle in particles]) / pixel_size_nm
    margins = np.where(sigmas < SHARP_PX, 0.0, 3.0 * sigmas)
    reach = np.ceil(np.hypot(offsets[..., 0], offsets[..., 1]).max(axis=1) + margins).astype(int) + 1
    radii = _radii(angles, offsets)
    found: list[Crop] = []
    for half in np.unique(reach[simple]).tolist():
        chosen = np.flatnonzero(simple & (reach == half))
        found += _stamps_of_a_size(half, chosen, middles, radii, particles, sigmas)
    for index in np.flatnonzero(~simple).tolist():
        crop = raster.thickness_nm(particles[index], outlines[index])
        crop.values[:] *= np.float32(particles[index].contrast["signal_per_nm"])
        found.append(_out_of_focus(crop, sigmas[index]))
    return found


def _radii(angles: NDArray[np.float64], offsets: NDArray[np.float64]) -> Field:
    """(N, ANGLES + 1) distance of the outline from the middle at equal angles."""
    turn = 2.0 * np.pi
    at = np.linspace(0.0, turn, ANGLES + 1)
    inverse = 1.0 / np.maximum(np.hypot(offsets[..., 0], offsets[..., 1]), 1e-9)  # of a straight side: nearly linear
    rows = [np.interp(at, angle % turn, row, period=turn) for angle, row in zip(angles, inverse, strict=True)]
    return np.asarray(1.0 / np.array(rows), np.float32)


def _stamps_of_a_size(
    half: int, chosen: NDArray[np.intp], middles: NDArray[np.float64], radii: Field, particles: Sequence[Particle],
    sigmas: NDArray[np.float64],
) -> list[Crop]:  # fmt: skip
    """Stamps of 2 half + 1 px, around the pixel in which each middle lies."""
    side, whole = 2 * half + 1, np.floor(middles[chosen])
    axis = (np.arange(side * SAMPLES, dtype=np.float32) + np.float32(0.5)) / SAMPLES - half
    shift = (middles[chosen] - whole).astype(np.float32)
    dx, dy = axis[None, None, :] - shift[:, 0, None, None], axis[None, :, None] - shift[:, 1, None, None]
    turns = np.arctan2(dy, dx) * np.float32(ANGLES / (2.0 * np.pi))
    turns += ANGLES * (turns < 0)
    index = np.minimum(turns.astype(np.int32), ANGLES - 1)
    weight = turns - index
    table, row = radii[chosen], np.arange(len(chosen))[:, None, None]
    radius = table[row, index] * (1.0 - weight) + table[row, index + 1] * weight
    depth = np.maximum(np.float32(1.0) - np.sqrt(dx * dx + dy * dy) / radius, np.float32(0.0))
    contrasts = [particles[i].contrast for i in chosen]
    bevel = np.array([max(c.get("bevel", 1.0), 1e-6) for c in contrasts], np.float32)[:, None, None]
    power = np.array([c.get("edge_power", 2.0) for c in contrasts], np.float32)[:, None, None]
    rise = np.minimum(depth / bevel, np.float32(1.0))
    spherical = bool((power == 2.0).all())
    profile = np.sqrt(rise * (2.0 - rise)) if spherical else (1.0 - (1.0 - rise) ** power) ** (1.0 / power)
    means = profile.reshape(len(chosen), side, SAMPLES, side, SAMPLES).mean(axis=(2, 4))
    found = []
    for i, values, (x, y) in zip(chosen.tolist(), means, whole.astype(int).tolist(), strict=True):
        values *= np.float32(particles[i].height_nm * particles[i].contrast["signal_per_nm"])
        if sigmas[i] >= SHARP_PX:
            values = np.asarray(cv2.GaussianBlur(values, (0, 0), sigmas[i], borderType=cv2.BORDER_CONSTANT), np.float32)
        found.append(Crop(values, x - half, y - half))
    return found

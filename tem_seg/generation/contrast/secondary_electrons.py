"""Contrast of a scanning electron microscope with a secondary-electron detector, from the particles' heights."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Scene
from tem_seg.generation.contrast.relief import Relief, piled
from tem_seg.generation.microscope import noise
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, log_uniform, uniform
from tem_seg.generation.scenes.facets import Body
from tem_seg.generation.scenes.shapes import area

Floats = NDArray[np.float32]
STEEPEST = 4.0
"""sec φ from which the yield rises no more: the escape depth ends it (Reimer, Scanning Electron Microscopy, 4.2)."""
TILE_PX = 64
ROUGH_CELLS = (3, 9)
HIGHEST = 1.5
"""Over the reach; what sticks out further is no brighter."""


@dataclass(frozen=True)
class SecondaryElectrons:
    """Topographic contrast: yield ∝ sec φ (Reimer, Scanning Electron Microscopy, 2nd ed., section 4.2), bright edges,
    crevices that electrons do not get out of, the side of the detector, a substrate of its own level and texture.

    The substrate's mean is 1. A crevice is where the surface lies below the mean of its surroundings.
    """

    level: Range
    """Of a particle's horizontal surface, over the substrate's; log-uniform."""
    level_spread: Range
    """Standard deviation of ln(level) among the particles of a micrograph (composition, charge), of which grains that
    have grown together are alike."""
    tilt: Range
    """Additional yield of an inclined surface: 1 + tilt · (sec φ − 1)."""
    edge: Range
    """Additional yield at an outline, over the level."""
    edge_px: Range
    """Over which it dies away inwards (range of the electrons in the particle); log-uniform."""
    side: Range
    """Detector on one side: relative difference of surfaces turned towards it and away, halved; 0: in the lens."""
    shadow: Range
    """Darkening of crevices; log-uniform."""
    reach: Range
    """Over which neighbours shadow, over the median diameter."""
    tops: Range
    """Brightening of what rises above its surroundings."""
    texture: Range
    """Relative standard deviation of the substrate."""
    texture_px: Range
    """Size of its grains; log-uniform."""
    ripples: float
    """Share 0-1 of the micrographs whose substrate has fine bright ridges (stretched foil, carbon tape)."""

    def __post_init__(self) -> None:
        ranges = {
            "level": (0.05, 100.0), "level_spread": (0.0, 2.0), "tilt": (0.0, 5.0), "edge": (0.0, 10.0),
            "edge_px": POSITIVE, "side": (0.0, 0.95), "shadow": POSITIVE, "reach": (0.02, 5.0), "tops": NOT_NEGATIVE,
            "texture": (0.0, 0.5), "texture_px": (1.0, 1e3),
        }  # fmt: skip
        check(self, ranges, {"ripples": SHARE})

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> Floats:
        """Relative signal (H, W) float32 >= 0."""
        signal = self._substrate(image_size, rng)
        light = _Light(
            log_uniform(rng, self.level), uniform(rng, self.level_spread), uniform(rng, self.tilt),
            uniform(rng, self.edge), log_uniform(rng, self.edge_px), uniform(rng, self.side),
            float(rng.uniform(0.0, 2.0 * np.pi)),
        )  # fmt: skip
        shadow, tops = log_uniform(rng, self.shadow), uniform(rng, self.tops)
        reach = uniform(rng, self.reach)
        unevenness = _Unevenness(rng)
        height = np.zeros(image_size, np.float32)
        for particle, crop in piled(scene, height):
            if isinstance(particle, Body):
                rough, composition = particle.form.roughness, particle.form.composition
            else:
                rough, composition = 0.0, float(rng.standard_normal())
            values = light.on(crop, unevenness.of(crop, rough, rng), composition)
            under = signal[crop.window]
            under += crop.coverage * (values - under)
        if height.any():
            reach_px = max(reach * _median_diameter_nm(scene) / scene.field_of_view_nm[0] * image_size[0], 1.0)
            signal *= occlusion(height, reach_px, shadow, tops)
        return signal

    def _substrate(self, image_size: tuple[int, int], rng: np.random.Generator) -> Floats:
        """Bumps lit from one side, and on some thin ridges here and there."""
        texture, grain_px = uniform(rng, self.texture), log_uniform(rng, self.texture_px)
        # three samples a grain are enough
        coarse = (max(4, round(3 * image_size[0] / grain_px)), max(4, round(3 * image_size[1] / grain_px)))
        coarse = (min(coarse[0], image_size[0]), min(coarse[1], image_size[1]))
        bumps = np.asarray(cv2.GaussianBlur(noise.normal(coarse, rng), (0, 0), 1.5), np.float32)
        bumps *= np.float32(1.0 / max(float(cv2.meanStdDev(bumps)[1][0, 0]), 1e-6))
        values = np.asarray(cv2.Sobel(bumps, cv2.CV_32F, 1, 0, scale=0.25), np.float32)
        weights = (0.5, 1.0) if rng.random() < 0.7 else (1.0, 0.0)
        cv2.addWeighted(bumps, texture * weights[0], values, texture * weights[1], 1.0, dst=values)
        if rng.random() < self.ripples:
            values += np.float32(rng.uniform(0.05, 0.3)) * _ridges(bumps, rng)
        if coarse != image_size:
            values = np.asarray(cv2.resize(values, image_size[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
        return np.maximum(values, np.float32(0.0), out=values)


def _ridges(bumps: Floats, rng: np.random.Generator) -> Floats:
    """Pieces of the lines on which the bumps change sign, 0-1: closed and open loops, as wrinkles are."""
    size = (bumps.shape[0], bumps.shape[1])
    where = noise.slow_field(size, max(4, min(size) // int(rng.integers(8, 20))), rng)
    lines = np.exp(-np.square(bumps / np.float32(rng.uniform(0.1, 0.25))))
    return np.asarray(lines * np.clip(where - np.float32(rng.uniform(0.0, 1.0)), 0.0, 1.0), np.float32)


@dataclass(frozen=True, slots=True)
class _Light:
    """What one micrograph's particles look like; see SecondaryElectrons. angle: where the detector is."""

    level: float
    level_spread: float
    tilt: float
    edge: float
    edge_px: float
    side: float
    angle: float

    def on(self, crop: Relief, unevenness: Floats | None, composition: float) -> Floats:
        """Signal (h, w) of one particle, as if nothing else were there. composition: standard normal."""
        surface = crop.upper if unevenness is None else crop.upper + unevenness
        right = cv2.Sobel(surface, cv2.CV_32F, 1, 0, scale=0.125)
        down = cv2.Sobel(surface, cv2.CV_32F, 0, 1, scale=0.125)
        secant = np.sqrt(right * right + down * down + np.float32(1.0))
        towards = right * np.float32(np.cos(self.angle)) + down * np.float32(np.sin(self.angle))
        towards *= np.float32(-self.side) / secant
        values = np.float32(self.tilt) * (np.minimum(secant, np.float32(STEEPEST)) - np.float32(1.0))
        values += np.float32(self.edge) * crop.free * np.exp(crop.inward * np.float32(-1.0 / self.edge_px))
        values += np.float32(1.0)
        values *= towards + np.float32(1.0)
        values *= np.float32(self.level * np.exp(self.level_spread * composition))
        return np.asarray(values, np.float32)


class _Unevenness:
    """Rough surfaces: pieces of one random field, each enlarged to its particle."""

    def __init__(self, rng: np.random.Generator) -> None:
        field = rng.standard_normal((4 * TILE_PX, 4 * TILE_PX), dtype=np.float32)
        self.field = cv2.GaussianBlur(field, (0, 0), 1.0) * np.float32(3.5)  # standard deviation about 1

    def of(self, crop: Relief, roughness: float, rng: np.random.Generator) -> Floats | None:
        """Heights (h, w) in px whose standard deviation is about roughness × the crop's longer side."""
        height, width = crop.mask.shape
        if roughness <= 0.0:
            return None
        longer = max(height, width)
        cells = min(int(rng.integers(4 * ROUGH_CELLS[0], 4 * ROUGH_CELLS[1])), TILE_PX)
        x, y = (int(v) for v in rng.integers(0, 3 * TILE_PX, 2))
        piece = self.field[y : y + cells, x : x + cells]
        grown = cv2.resize(piece, (longer, longer), interpolation=cv2.INTER_LINEAR)[:height, :width]
        return np.asarray(grown * np.float32(roughness * longer), np.float32)


def occlusion(height: Floats, reach_px: float, shadow: float, tops: float) -> Floats:
    """Factor (H, W) float32 on the signal: below 1 in crevices and beside tall neighbours, above 1 on what sticks out.

    exp(tops · above − shadow · below), summed over two reaches, of how far, over the reach, the surface (H, W) px lies
    above or below the mean of its surroundings (a Gaussian). A fifth of the reach sees crevices between touching
    particles and the ridges of their faces.
    """
    if reach_px <= 0:
        raise ValueError(f"reach_px must be positive, got {reach_px}")
    factor = np.zeros_like(height)
    means = [(_surroundings(height, sigma), np.float32(1.0 / sigma)) for sigma in (reach_px, max(reach_px / 5.0, 0.5))]
    for rows in noise.bands(height.shape):
        total = factor[rows]
        for mean, per_px in means:
            above = height[rows] - mean[rows]
            above *= per_px
            np.minimum(above, np.float32(HIGHEST), out=above)
            below = np.minimum(above, np.float32(0.0))
            below *= np.float32(shadow - tops)
            total += below
            above *= np.float32(tops)
            total += above
        np.exp(total, out=total)
    return factor


def _surroundings(height: Floats, sigma_px: float) -> Floats:
    """Mean height around every pixel. Wide Gaussians are run on a reduced image: a tenth of the time."""
    step = int(np.clip(sigma_px / 1.5, 1, 16))
    if step == 1:
        return np.asarray(cv2.GaussianBlur(height, (0, 0), sigma_px), np.float32)
    size = (max(1, height.shape[1] // step), max(1, height.shape[0] // step))
    small = cv2.GaussianBlur(cv2.resize(height, size, interpolation=cv2.INTER_AREA), (0, 0), sigma_px / step)
    return np.asarray(cv2.resize(small, (height.shape[1], height.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _median_diameter_nm(scene: Scene) -> float:
    return float(np.median([2.0 * np.sqrt(area(p.outline_nm) / np.pi) for p in scene.particles]))

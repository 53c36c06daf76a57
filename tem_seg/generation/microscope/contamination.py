"""Imaging steps of dirt on the specimen. None of it is annotated: what is learnt is to leave it alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.generation import raster
from tem_seg.generation.microscope import noise
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.ranges import NOT_NEGATIVE, SHARE, Range, check, log_uniform, uniform


@dataclass(frozen=True)
class Contamination:
    """Dirt that is no particle: soft faint patches, and now and then wrinkles of the film. Not annotated."""

    patches: Range
    """Number of patches."""
    contrast: Range
    """Relative darkening of a patch; negative is brighter."""
    radius: Range
    """Of a patch, over the image's height."""
    wrinkles: float
    """Share 0-1 of micrographs with a wrinkled film."""

    def __post_init__(self) -> None:
        check(self, {"patches": NOT_NEGATIVE, "contrast": (-0.9, 0.9), "radius": (0.005, 1.0)}, {"wrinkles": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(int(self.patches[0]), int(self.patches[1]) + 1))):
            self._patch(exposure, rng)
        if rng.random() < self.wrinkles:
            self._wrinkle(exposure, rng)

    def _patch(self, exposure: Exposure, rng: np.random.Generator) -> None:
        size = (exposure.pixels.shape[0], exposure.pixels.shape[1])
        half = max(2, round(log_uniform(rng, self.radius) * size[0]))
        axis = np.linspace(-1.0, 1.0, 2 * half, dtype=np.float32)
        window = np.clip(1.0 - axis[:, None] ** 2 - axis[None, :] ** 2, 0.0, None)
        patch = window * np.clip(noise.slow_field((2 * half, 2 * half), 4, rng) * 0.5 + 0.7, 0.0, None)
        corner = [int(rng.uniform(-half, side - half)) for side in size]
        inside = raster.cut(raster.Crop(np.asarray(patch, np.float32), corner[1], corner[0]), size)
        if inside is not None:
            exposure.pixels[inside.window] *= 1.0 - np.float32(uniform(rng, self.contrast)) * inside.values

    def _wrinkle(self, exposure: Exposure, rng: np.random.Generator) -> None:
        height, width = exposure.pixels.shape
        layer = np.zeros((height, width), np.uint8)
        for _ in range(int(rng.integers(1, 4))):
            along = np.linspace(-0.1, 1.1, 40)
            across = (
                rng.uniform(0, 1)
                + rng.uniform(-0.5, 0.5) * along
                + 0.05 * np.sin(rng.uniform(2, 9) * along + rng.uniform(0, 6))
            )
            points = np.stack([along * width, across * height], axis=1)
            points = points if rng.random() < 0.5 else np.stack([across * width, along * height], axis=1)
            cv2.polylines(layer, [np.rint(points).astype(np.int32)], False, 255, int(rng.integers(1, 5)))
        blurred = cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(1.0, 5.0))).astype(np.float32)
        exposure.pixels *= 1.0 - np.float32(rng.uniform(0.05, 0.25) / 255.0) * blurred


@dataclass(frozen=True)
class Specks:
    """Debris of a few pixels, scattered or in drifts: small dark (or bright) dots, paler than particles."""

    probability: float
    """Share 0-1 of the micrographs."""
    number: Range
    """Of specks in a micrograph, log-uniform."""
    contrast: Range
    """Relative darkening in the middle of a speck; negative is brighter."""
    radius: Range
    """Of a speck, over the image's height, log-uniform."""
    drifted: float
    """Share 0-1 of the specks that lie in a drift."""

    def __post_init__(self) -> None:
        limits = {"number": (1.0, 1e4), "contrast": (-0.9, 0.9), "radius": (5e-4, 0.1)}
        check(self, limits, {"probability": SHARE, "drifted": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        size, count = exposure.size, round(log_uniform(rng, self.number))
        places = rng.uniform(0.0, 1.0, (count, 2))
        drift, spread = rng.uniform(0.0, 1.0, 2), rng.uniform(0.03, 0.2)
        in_drift = rng.random(count) < self.drifted
        places[in_drift] = drift + spread * rng.standard_normal((int(in_drift.sum()), 2))
        strongest = uniform(rng, self.contrast)
        for place in places * np.asarray(size):
            self._speck(exposure, place, strongest * float(rng.uniform(0.3, 1.0)), rng)

    def _speck(
        self, exposure: Exposure, place: NDArray[np.float64], contrast: float, rng: np.random.Generator
    ) -> None:  # fmt: skip
        radius_px = max(0.7, log_uniform(rng, self.radius) * exposure.size[0])
        aspect, turn = float(rng.uniform(1.0, 2.0)), float(rng.uniform(0.0, np.pi))
        half = int(np.ceil(1.5 * radius_px * aspect)) + 1
        y0, x0 = (int(v) - half for v in place)
        y, x = np.mgrid[: 2 * half, : 2 * half].astype(np.float32)
        y, x = y + np.float32(y0 + 0.5 - place[0]), x + np.float32(x0 + 0.5 - place[1])
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        depth = np.exp(-((along / aspect) ** 2 + across**2) / np.float32(radius_px**2))
        inside = raster.cut(raster.Crop(np.asarray(depth, np.float32), x0, y0), exposure.size)
        if inside is not None:
            exposure.pixels[inside.window] *= 1.0 - np.float32(contrast) * inside.values

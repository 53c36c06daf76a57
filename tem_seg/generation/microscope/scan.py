"""Imaging steps of scanned images (STEM, SEM): where the beam really was, and how its lines differ.

Lines are scanned from left to right, from the top down. The steps that move content belong before the noise: electrons
are counted where the beam is. Masks follow them (``Exposure.warp``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope import noise
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.microscope.warp import Points, Warp, resampled
from tem_seg.generation.ranges import NOT_NEGATIVE, SHARE, Range, check, log_uniform, uniform

FOLLOWED_ROWS = 4.0
"""Masks follow the jitter's mean over some rows (Gaussian of this standard deviation)."""


@dataclass(frozen=True)
class ScanJitter:
    """Every line starts a little too early or too late: rows are shifted sideways, with a memory of some rows.

    Masks follow what is common to neighbouring rows (FOLLOWED_ROWS); what is faster frays the edges, which everyone
    who draws an outline draws a smooth line through. The rows of every frame of a video are shifted anew.
    """

    probability: float
    """Share 0-1 of the micrographs."""
    sd_px: Range
    """Standard deviation of the shift."""
    memory_rows: Range
    """Standard deviation of the Gaussian that makes neighbouring rows alike; 0: every row on its own."""

    def __post_init__(self) -> None:
        check(self, {"sd_px": (0.0, 10.0), "memory_rows": NOT_NEGATIVE}, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        _refuse_late(exposure, self)
        height = exposure.size[0]
        sd_px, memory = uniform(rng, self.sd_px), uniform(rng, self.memory_rows)
        shift = sd_px * noise.correlated(height, memory, exposure.frame_rng or rng)
        columns, rows = _pixel_centres(exposure.size)
        exposure.pixels = resampled(exposure.pixels, shift, columns, rows)
        followed = cv2.GaussianBlur(shift[:, None], (0, 0), sigmaX=0.1, sigmaY=FOLLOWED_ROWS)[:, 0]

        def source(points: Points) -> Points:
            moved = np.interp(points[:, 1], np.arange(height) + 0.5, followed)
            return np.stack([points[:, 0] + moved, points[:, 1]], axis=1)

        exposure.moved(Warp((source,)))


@dataclass(frozen=True)
class ScanDistortion:
    """Slow errors of the scan: the specimen drifts, mains hum bends the lines, and the beam lags after the flyback.

    Drift of constant speed shears and stretches the picture; as it dies away or starts it bends it. The result is
    enlarged until no edge of the field is seen, and the pixel size goes with it. Masks follow; true sizes stay those of
    the particles, so that what is measured is wrong by what the scan has distorted, as it is in the microscope.
    (Sang & LeBeau, Ultramicroscopy 138 (2014) 28; Ophus, Ciston & Nelson, Ultramicroscopy 162 (2016) 1.)
    """

    probability: float
    """Share 0-1 of the micrographs."""
    drift: Range
    """Of the specimen while the image is scanned, in any direction, over the image's height."""
    hum: Range
    """Amplitude of the sideways sine, over the image's width."""
    hum_periods: Range
    """Number of its periods from top to bottom."""
    flyback: Range
    """Relative stretch of the picture at its left edge, 0-0.6."""
    flyback_width: Range
    """Length over which the stretch dies away, over the image's width."""

    def __post_init__(self) -> None:
        limits = {"drift": (0.0, 0.4), "hum": (0.0, 0.2), "hum_periods": NOT_NEGATIVE, "flyback": (0.0, 0.6)}
        check(self, limits | {"flyback_width": (0.001, 0.5)}, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        _refuse_late(exposure, self)
        beam = self._beam(exposure.size, rng).within_field()
        columns, rows = _pixel_centres(exposure.size)
        by_row = beam(np.stack([np.zeros_like(rows), rows], axis=1))
        by_column = beam(np.stack([columns, np.zeros_like(columns)], axis=1))
        # rows shift all columns alike, and columns all rows
        row_x = by_row[:, 0] - beam(np.zeros((1, 2)))[0, 0]
        exposure.pixels = resampled(exposure.pixels, row_x, by_column[:, 0], by_row[:, 1])
        exposure.moved(Warp((beam,)))
        if exposure.pixel_size_nm is not None:
            exposure.pixel_size_nm *= beam.scale

    def _beam(self, size: tuple[int, int], rng: np.random.Generator) -> Beam:
        height, width = size
        drift_px, direction = uniform(rng, self.drift) * height, rng.uniform(0.0, 2.0 * np.pi)
        lag_length_px = log_uniform(rng, self.flyback_width) * width
        return Beam(
            size,
            drift_px=(float(drift_px * np.cos(direction)), float(drift_px * np.sin(direction))),
            bend=float(rng.uniform(-1.0, 1.0)),
            hum_px=uniform(rng, self.hum) * width,
            hum_periods=uniform(rng, self.hum_periods),
            hum_phase=float(rng.uniform(0.0, 2.0 * np.pi)),
            lag_px=uniform(rng, self.flyback) * lag_length_px,
            lag_length_px=lag_length_px,
        )


@dataclass(frozen=True)
class Beam:
    """Where the beam is on the specimen when point (x, y) of the picture of (H, W) px is recorded; all lengths in px.

    scale: pixel of the picture over pixel of the field. bend -1…1: the drift starts (1) or dies away (-1).
    """

    size: tuple[int, int]
    drift_px: tuple[float, float]
    bend: float
    hum_px: float
    hum_periods: float
    hum_phase: float
    lag_px: float
    lag_length_px: float
    scale: float = 1.0
    centre_px: tuple[float, float] | None = None

    def __call__(self, points: Points) -> Points:
        """(K, 2) x, y px of the picture → of the field."""
        x, y = points[:, 0], points[:, 1]
        time = np.clip(y / self.size[0], 0.0, 1.0)
        drifted = time + self.bend * time * (time - 1.0)
        hum = self.hum_px * np.sin(2.0 * np.pi * self.hum_periods * time + self.hum_phase)
        lag = self.lag_px * np.exp(-np.maximum(x, 0.0) / self.lag_length_px)
        at = np.stack([x + self.drift_px[0] * drifted + hum + lag, y + self.drift_px[1] * drifted], axis=1)
        if self.centre_px is None:
            return at
        middle = np.array([self.size[1] / 2.0, self.size[0] / 2.0])
        return np.asarray(middle + self.scale * (at - self.centre_px))

    def within_field(self) -> Beam:
        """Enlarged and moved until the beam never leaves the field, whose outside nobody has drawn."""
        height, width = self.size
        y = np.linspace(0.0, height, 4 * height + 1)
        left, right = (self(np.stack([np.full_like(y, x), y], axis=1)) for x in (0.0, float(width)))
        low = np.minimum(left.min(axis=0), right.min(axis=0))
        high = np.maximum(left.max(axis=0), right.max(axis=0))
        scale = min(1.0, *((width, height) / (high - low)))
        return replace(self, scale=float(scale), centre_px=tuple((low + high) / 2.0))


@dataclass(frozen=True)
class LineNoise:
    """Lines that are brighter or darker than the next: emission that flickers (a factor), electronics (an offset)."""

    probability: float
    """Share 0-1 of the micrographs."""
    flicker: Range
    """Relative standard deviation of the lines' factor."""
    offset: Range
    """Standard deviation of the lines' offset, over the image's mean."""
    memory_rows: Range
    """Standard deviation of the Gaussian that makes neighbouring rows alike; 0: every row on its own."""

    def __post_init__(self) -> None:
        limits = {"flicker": (0.0, 1.0), "offset": (0.0, 1.0), "memory_rows": NOT_NEGATIVE}
        check(self, limits, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        flicker, offset = uniform(rng, self.flicker), uniform(rng, self.offset) * float(exposure.pixels.mean())
        memory, of_frame, height = uniform(rng, self.memory_rows), exposure.frame_rng or rng, exposure.size[0]
        factors = np.maximum(1.0 + flicker * noise.correlated(height, memory, of_frame), 0.0).astype(np.float32)
        offsets = (offset * noise.correlated(height, memory, of_frame)).astype(np.float32)
        exposure.pixels *= factors[:, None]
        exposure.pixels += offsets[:, None]


def _pixel_centres(size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x of the columns' centres, y of the rows', px."""
    return np.arange(0.5, size[1]), np.arange(0.5, size[0])


def _refuse_late(exposure: Exposure, step: object) -> None:
    if exposure.sampled is not None or exposure.hidden.any() or exposure.occupied:
        raise UserError(
            f"imaging.steps: {type(step).__name__} moves the image, so it must stand before SubSampling, "
            "bars and labels, which it would tear apart"
        )

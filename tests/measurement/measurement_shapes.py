"""Shapes of known size, sampled at pixel centres, for the tests of measurement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Rle
from tem_seg.data import rle

Mask = NDArray[np.bool_]
ANGLES_DEG = tuple(range(0, 180, 15))
SIZES_PX = (6.0, 10.0, 20.0, 40.0, 80.0)


def shape(kind: str, long: float, short: float, angle_deg: float, shift: tuple[float, float] = (0.5, 0.5)) -> Mask:
    """An "ellipse" of these axes or a "rectangle" of these sides, its long axis at angle_deg ccw as displayed."""
    extent = int(1.5 * long) + 8
    rows, columns = np.mgrid[:extent, :extent] + 0.5
    dx, dy = columns - extent // 2 - shift[0], rows - extent // 2 - shift[1]
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    along, across = dx * cosine - dy * sine, dx * sine + dy * cosine
    if kind == "rectangle":
        return (abs(along) <= long / 2) & (abs(across) <= short / 2)
    return (along / long) ** 2 + (across / short) ** 2 <= 0.25


def samples(kind: str, long: float, short: float, angle_deg: float, count: int = 16) -> list[Mask]:
    """The shape at ``count`` places relative to the pixel grid, evenly spread (R2 sequence)."""
    places = (np.arange(count)[:, None] * [0.7548776662466927, 0.5698402909980532]) % 1.0
    return [shape(kind, long, short, angle_deg, (float(x), float(y))) for x, y in places]


def blobs(seed: int, count: int = 20) -> list[Mask]:
    """Ragged shapes with dents, holes and loose parts."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        mask = np.zeros((40, 50), bool)
        rows, columns = np.mgrid[:40, :50]
        for _ in range(rng.integers(1, 6)):
            radius = rng.uniform(2, 9)
            mask |= (rows - rng.uniform(5, 35)) ** 2 + (columns - rng.uniform(5, 45)) ** 2 <= radius**2
        found.append(mask & (rng.random(mask.shape) > rng.choice([0.0, 0.05])))
    return found


def encoded(masks: list[Mask], size: tuple[int, int] | None = None) -> tuple[list[Rle], tuple[int, int]]:
    """Masks as RLE, top left, in one frame large enough for all of them with a free row and column around."""
    size = size or (max(m.shape[0] for m in masks) + 2, max(m.shape[1] for m in masks) + 2)
    return [rle.encode_crop(mask, 1, 1, size) for mask in masks], size

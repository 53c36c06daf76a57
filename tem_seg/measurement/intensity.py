"""Grey levels of particles and of the ground beside them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.measurement.runs import Runs

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
GAP_PX, RING_PX = 2.0, 6.0
"""The ring begins this far from every particle, outside the blur of their edges, and is this wide."""
FEWEST_PIXELS = 16
"""A ring of fewer pixels says nothing."""
TILE_PX = 2048
CHUNK_PX = 1 << 22
"""Pixels looked at in one go, so that memory stays flat on huge micrographs."""


def mean_inside(runs: Runs, pixels: NDArray[np.float32]) -> FloatArray:
    """Mean grey level (N,) of the pixels (H, W) in each mask; skimage's intensity_mean. NaN for an empty mask."""
    _check(runs, pixels)
    sums, area = np.zeros(runs.count), runs.total(runs.bottom - runs.top)
    for owner, column, row in _pixels(runs):
        sums += np.bincount(owner, weights=pixels[row, column], minlength=runs.count)
    with np.errstate(invalid="ignore"):
        return sums / area


def background(runs: Runs, pixels: NDArray[np.float32]) -> FloatArray:
    """Median grey level (N,) of the ground around each particle.

    The ring holds the pixels from 2 to 8 px away from the particle that are nearer to it than to any other, and at
    least 2 px from all of them. NaN where it has fewer than 16 pixels: in the middle of an agglomerate no ground shows.
    """
    _check(runs, pixels)
    reach = int(GAP_PX + RING_PX) + 2
    owners: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    values: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    painted = _painted(runs)
    for y in range(0, runs.size[0], TILE_PX):
        for x in range(0, runs.size[1], TILE_PX):
            top, left = max(y - reach, 0), max(x - reach, 0)
            cut = (slice(top, y + TILE_PX + reach), slice(left, x + TILE_PX + reach))
            owner = _rings(painted[cut])
            own = (slice(y - top, y - top + TILE_PX), slice(x - left, x - left + TILE_PX))
            ring = owner[own] >= 0
            owners.append(owner[own][ring])
            values.append(pixels[cut][own][ring])
    return _medians(np.concatenate(owners), np.concatenate(values), runs.count)


def _check(runs: Runs, pixels: NDArray[np.float32]) -> None:
    if pixels.shape != runs.size:
        raise ValueError(f"the micrograph has {pixels.shape} pixels, its masks {runs.size}")


def _pixels(runs: Runs) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Owner, column and row of every pixel in N masks, some millions at a time."""
    length = runs.bottom - runs.top
    last = np.cumsum(length)
    parts = np.searchsorted(last, np.arange(CHUNK_PX, (int(last[-1]) if len(last) else 0) + CHUNK_PX, CHUNK_PX)) + 1
    low = 0
    for high in np.unique(np.minimum(parts, len(length))).tolist():
        size = length[low:high]
        row = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size - runs.top[low:high], size)
        yield np.repeat(runs.particle[low:high], size), np.repeat(runs.column[low:high], size), row
        low = high


def _painted(runs: Runs) -> NDArray[np.int32]:
    """(H, W): a particle that each pixel belongs to (of several the last), -1 on the ground."""
    canvas = np.full(runs.size, -1, np.int32)
    for owner, column, row in _pixels(runs):
        canvas[row, column] = owner
    return canvas


def _rings(painted: NDArray[np.int32]) -> NDArray[np.int32]:
    """(h, w): the particle in whose ring a pixel lies, -1 for none."""
    inside = painted >= 0
    if not inside.any():
        return painted
    distance, label = cv2.distanceTransformWithLabels(
        np.where(inside, 0, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner_of = np.full(int(label.max()) + 1, -1, np.int32)
    owner_of[label[inside]] = painted[inside]
    ring = (distance > GAP_PX) & (distance <= GAP_PX + RING_PX)
    return np.where(ring, owner_of[label], -1).astype(np.int32)


def _medians(owner: NDArray[np.int32], values: NDArray[np.float32], count: int) -> FloatArray:
    """Median (N,) of the values of each owner, NaN below FEWEST_PIXELS."""
    order = np.lexsort((values, owner))
    values = values[order].astype(np.float64)
    first = np.searchsorted(owner[order], np.arange(count + 1))
    size = np.diff(first)
    result = np.full(count, np.nan)
    some = size >= FEWEST_PIXELS
    low, high = (first[:-1] + (size - 1) // 2)[some], (first[:-1] + size // 2)[some]
    result[some] = (values[low] + values[high]) / 2.0
    return result

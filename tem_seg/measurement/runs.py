"""Masks as vertical runs of pixels, all particles of a micrograph in a few arrays.

Sizes, moments and perimeters are sums over runs, so no mask is ever painted: 200 particles cost a dozen numpy
calls, whatever the size of the micrograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Rle
from tem_seg.data import rle

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """The vertical runs of N masks in a frame ``size`` (H, W) px, sorted by particle, column and row.

    particle (R,) 0..N-1; column (R,); top, bottom (R,) rows, half-open: pixels [top, bottom) × [column, column + 1).
    """

    count: int
    size: tuple[int, int]
    particle: IntArray
    column: IntArray
    top: IntArray
    bottom: IntArray

    def total(self, values: NDArray[np.float64] | IntArray) -> NDArray[np.float64]:
        """Sum of a value a run (R,) → (N,) float64 a particle; 0 for an empty mask."""
        return np.bincount(self.particle, weights=values, minlength=self.count).astype(np.float64)

    def only(self, chosen: NDArray[np.bool_]) -> Runs:
        """The masks where ``chosen`` (N,) is true, numbered anew."""
        kept = chosen[self.particle]
        number = np.cumsum(chosen) - 1
        parts = (values[kept] for values in (self.column, self.top, self.bottom))
        return Runs(int(chosen.sum()), self.size, number[self.particle[kept]], *parts)


def runs_of(masks: Sequence[Rle], size: tuple[int, int]) -> Runs:
    """N masks of one frame ``size`` (H, W) → Runs. Runs that go on in the next column are cut at the column's end."""
    for index, mask in enumerate(masks):
        if tuple(mask["size"]) != tuple(size):
            raise ValueError(f"mask {index} has size {mask['size']}, the micrograph {list(size)}")
    height = size[0]
    counts, first = rle.expand_many([mask["counts"] for mask in masks])
    owner = np.repeat(np.arange(len(masks)), np.diff(first))
    place = np.arange(len(counts)) - first[owner]
    edges = np.cumsum(counts)
    ends = edges - (edges - counts)[first[owner]] if len(counts) else edges
    inside = (place % 2 == 1) & (counts > 0)
    owner, ends, starts = owner[inside], ends[inside], (ends - counts)[inside]
    column = starts // height
    columns = (ends - 1) // height - column + 1
    if (columns > 1).any():
        step = np.arange(columns.sum()) - np.repeat(np.cumsum(columns) - columns, columns)
        owner, starts, ends, column = (np.repeat(values, columns) for values in (owner, starts, ends, column))
        column = column + step
    top, bottom = np.maximum(starts - column * height, 0), np.minimum(ends - column * height, height)
    return Runs(len(masks), size, owner, column, top, bottom)

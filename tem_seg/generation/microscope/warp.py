"""Where image content went when a step moved it, so that masks can follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.generation.raster import Crop, bounds, following

Points = NDArray[np.float64]
SPACING_PX = 1.0
CLOSE_PX = 1e-3
MOST_ROUNDS = 100


@dataclass(frozen=True)
class Warp:
    """Calling it takes points (K, 2) x, y px of the undistorted image to where they are seen.

    sources: for every step that moved content, the first one first, a function from points after the step to where
    their content was before it. It must be known outside the image too (particles reach out of it), and its distance
    from the identity must change by less than the points do, as it does in any scan that never runs backwards.
    """

    sources: tuple[Callable[[Points], Points], ...]

    def __call__(self, points: Points) -> Points:
        """Undistorted → as seen, both (K, 2) x, y px."""
        for source in self.sources:
            points = _inverse(source, points)
        return points

    def source(self, points: Points) -> Points:
        """As seen → undistorted, both (K, 2) x, y px."""
        for source in reversed(self.sources):
            points = source(points)
        return points

    def then(self, later: Warp) -> Warp:
        """This one, and after it another."""
        return Warp(self.sources + later.sources)


def _inverse(source: Callable[[Points], Points], points: Points) -> Points:
    """x with source(x) = points, by x ← x + points − source(x), which a contracting displacement makes converge."""
    found = points
    for _ in range(MOST_ROUNDS):
        miss = points - source(found)
        found = found + miss
        if not miss.size or np.abs(miss).max() < CLOSE_PX:
            return found
    raise ValueError(f"a warp cannot be inverted: {np.abs(miss).max():.2g} px off after {MOST_ROUNDS} rounds")


def warped_outlines(outlines: Sequence[Points], warp: Warp | None) -> list[Points]:
    """Outlines (K, 2) px → as seen, with corners every SPACING_PX, since straight edges do not stay straight."""
    if warp is None or not outlines:
        return list(outlines)
    dense = [_divided(outline) for outline in outlines]
    return np.split(warp(np.concatenate(dense)), np.cumsum([len(outline) for outline in dense])[:-1])


def _divided(outline: Points) -> Points:
    steps = following(outline) - outline
    pieces = np.maximum(1, np.ceil(np.hypot(steps[:, 0], steps[:, 1]) / SPACING_PX)).astype(np.int64)
    place = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = place / np.repeat(pieces, pieces)
    return np.asarray(np.repeat(outline, pieces, axis=0) + share[:, None] * np.repeat(steps, pieces, axis=0))


def warped_mask(mask: Crop, warp: Warp) -> Crop:
    """A mask's crop as seen, which may reach out of the image: each pixel takes what its centre shows."""
    height, width = mask.values.shape
    if not mask.values.size:
        return mask
    x, y = np.arange(width + 1.0) + mask.x0, np.arange(height + 1.0) + mask.y0
    sides = [np.stack([x, np.full_like(x, edge)], axis=1) for edge in (y[0], y[-1])]
    sides += [np.stack([np.full_like(y, edge), y], axis=1) for edge in (x[0], x[-1])]
    x0, y0, x1, y1 = bounds(warp(np.concatenate(sides)))
    grid = np.stack(np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5), axis=-1).reshape(-1, 2)
    column, row = np.floor(warp.source(grid) - (mask.x0, mask.y0)).astype(np.int64).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    values = np.zeros(len(grid), bool)
    values[inside] = mask.values[row[inside], column[inside]]
    return Crop(values.reshape(y1 - y0, x1 - x0), x0, y0)


def resampled(
    image: NDArray[np.float32], row_x: NDArray[np.float64], column_x: NDArray[np.float64], row_y: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Image (H, W) whose pixel (r, c) shows what lay at (row_x[r] + column_x[c], row_y[r]) px; its borders go on."""
    half = 0.5  # OpenCV counts from the first pixel's centre
    source_x = row_x.astype(np.float32)[:, None] + (column_x - half).astype(np.float32)
    source_y = np.repeat((row_y - half).astype(np.float32)[:, None], len(column_x), axis=1)
    seen = cv2.remap(image, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.float32)

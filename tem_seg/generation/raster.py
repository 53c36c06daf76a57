"""From outlines in nm to pixels of a crop: masks and thickness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Particle

SAMPLED_PX = 64  # crops smaller than this are sampled more finely than the pixels, so that edges fall between them
MAX_SAMPLES = 4
AT_ONCE = 64  # particles whose masks are in memory together
Box = tuple[int, int, int, int]


Number = TypeVar("Number", np.float64, np.complex128)


@dataclass(frozen=True, slots=True)
class Crop:
    """A piece (h, w) of a micrograph, numbers or a mask, whose top-left pixel is (x0, y0)."""

    values: NDArray[Any]
    x0: int
    y0: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the crop lies in the micrograph."""
        return slice(self.y0, self.y0 + self.values.shape[0]), slice(self.x0, self.x0 + self.values.shape[1])


def following(values: NDArray[Number]) -> NDArray[Number]:
    """Every corner's successor on a closed outline (np.roll by −1 along axis 0, at a tenth of its cost)."""
    return np.concatenate((values[1:], values[:1]))


def bounds(outline: NDArray[np.float64]) -> Box:
    """Outline (K, 2) x, y px → the pixels x0, y0, x1, y1 (half-open) that it may touch."""
    x0, y0 = (int(v) for v in np.floor(outline.min(axis=0)))
    x1, y1 = (int(v) for v in np.ceil(outline.max(axis=0)))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def fill(outline: NDArray[np.float64], box: Box, samples: int = 1) -> NDArray[np.bool_]:
    """Outline (K, 2) x, y px → bool mask of the pixels of box (x0, y0, x1, y1) whose centre lies inside.

    ``samples`` > 1 divides each pixel into samples × samples. Even-odd rule along rows. OpenCV's and Pillow's polygons
    also take every pixel that the border crosses, which makes an 8 px disc 25 % too large.
    """
    return _filled([outline], np.array([box]), np.array([samples]), 0)[0]


def masks(outlines: Sequence[NDArray[np.float64]]) -> list[Crop]:
    """As :func:`fill` for many outlines, each in the box of its :func:`bounds`: a few numpy calls for all of them."""
    boxes = _all_bounds(outlines)
    filled = _filled(outlines, boxes, np.ones(len(boxes), np.int64), 0)
    return [Crop(mask, x0, y0) for mask, (x0, y0, _, _) in zip(filled, boxes.tolist(), strict=True)]


def _all_bounds(outlines: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    """bounds of N outlines: (N, 4)."""
    if not outlines:
        return np.zeros((0, 4), np.int64)
    points, first = np.concatenate(outlines), _starts([len(outline) for outline in outlines])[:-1]
    low = np.floor(np.minimum.reduceat(points, first)).astype(np.int64)
    high = np.ceil(np.maximum.reduceat(points, first)).astype(np.int64)
    return np.concatenate([low, np.maximum(high, low + 1)], axis=1)


def _starts(counts: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of N pieces begins in a row of all of them, and where the last one ends: (N + 1,)."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def _filled(
    outlines: Sequence[NDArray[np.float64]], boxes: NDArray[np.int64], samples: NDArray[np.int64], margin: int
) -> list[NDArray[np.bool_]]:
    """See fill; boxes (N, 4), samples (N,). margin: samples outside the box that the masks go on in all directions."""
    if not outlines:
        return []
    first = _starts([len(outline) for outline in outlines])
    owner = np.repeat(np.arange(len(outlines)), np.diff(first))
    x, y = ((np.concatenate(outlines) - boxes[owner, :2]) * samples[owner, None] + margin).T
    after = np.arange(1, len(x) + 1)
    after[first[1:] - 1] = first[:-1]
    step_x, step_y = x[after] - x, y[after] - y
    width, height = ((boxes[:, 2:] - boxes[:, :2]) * samples[:, None] + 2 * margin).T
    # an edge crosses the centre line of row r, at r + 0.5, where one end lies on or above it and the other below
    row_of = np.clip(np.ceil(y - 0.5), 0, height[owner]).astype(np.int64)
    crossed = np.abs(row_of[after] - row_of)
    edge = np.repeat(np.arange(len(x)), crossed)
    row = np.arange(len(edge)) - _starts(crossed)[edge] + np.minimum(row_of, row_of[after])[edge]
    crossing = x[edge] + (row + 0.5 - y[edge]) / step_y[edge] * step_x[edge]
    wide, begin = width[owner[edge]], _starts(width * height)
    column = np.clip(np.ceil(crossing - 0.5), 0, wide).astype(np.int64)
    changes = np.sort(begin[owner[edge]] + row * wide + column)  # an even number in every row: starts and ends of runs
    inside = (np.arange(len(changes) + 1) & 1).astype(bool)
    flat = np.repeat(inside, np.diff(changes, prepend=0, append=begin[-1]))
    shapes = zip(begin.tolist(), height.tolist(), width.tolist(), strict=False)
    return [flat[at : at + rows * columns].reshape(rows, columns) for at, rows, columns in shapes]


def thickness_nm(particle: Particle, outline_px: NDArray[np.float64]) -> Crop:
    """Thickness in nm along the beam in every pixel of the particle's box (which may reach out of the image).

    It rises from the edge inwards as height · (1 − (1 − d / b)^p)^(1/p), d the distance to the edge, and stays at the
    height from d = b on; b = bevel × the largest d. bevel 1 with p = 2 is a sphere, or a rod with round cross-section;
    bevel 1 with p = 1 a pyramid; a small bevel a plate or cube with rounded edges.
    """
    return next(thicknesses_nm([particle], [outline_px]))


def thicknesses_nm(particles: Sequence[Particle], outlines_px: Sequence[NDArray[np.float64]]) -> Iterator[Crop]:
    """As :func:`thickness_nm` for many particles, one after the other."""
    for particle, (depth, box) in zip(particles, _depths(outlines_px), strict=True):
        profile = _averaged(_profile(particle, depth), box)
        yield Crop(np.asarray(profile * np.float32(particle.height_nm), np.float32), box[0], box[1])


def depths_px(outlines: Sequence[NDArray[np.float64]]) -> Iterator[Crop]:
    """Distance in px of every pixel of an outline's box to the outline, inwards; 0 outside.

    One outline after the other; in small ones the mean of what samples of the pixel have.
    """
    for depth, box in _depths(outlines):
        distance = np.maximum(depth, np.float32(0.0), out=depth)
        distance *= np.float32((box[2] - box[0]) / depth.shape[1])
        yield Crop(_averaged(distance, box), box[0], box[1])


def _depths(outlines: Sequence[NDArray[np.float64]]) -> Iterator[tuple[NDArray[np.float32], Box]]:
    """Distance to the edge in samples, negative outside, of every sample of a box."""
    for begin in range(0, len(outlines), AT_ONCE):
        some = outlines[begin : begin + AT_ONCE]
        boxes = _all_bounds(some)
        samples = np.clip(SAMPLED_PX // (boxes[:, 2:] - boxes[:, :2]).max(axis=1), 1, MAX_SAMPLES)
        for mask, (x0, y0, x1, y1) in zip(_filled(some, boxes, samples, 1), boxes.tolist(), strict=True):
            # distance to the nearest outside sample's centre; the edge lies half a sample before it
            distance = np.asarray(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5), np.float32)
            depth = distance[1:-1, 1:-1]
            depth -= np.float32(0.5)
            yield depth, (x0, y0, x1, y1)


def _averaged(values: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Samples → pixels of the box."""
    size = (box[2] - box[0], box[3] - box[1])
    if values.shape == size[::-1]:
        return values
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _profile(particle: Particle, rise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thickness over height from the distance to the edge in samples, which is overwritten."""
    deepest = max(float(rise.max()), 0.5)
    bevel, power = particle.contrast.get("bevel", 1.0), particle.contrast.get("edge_power", 2.0)
    rise *= np.float32(1.0 / max(bevel * deepest, 1e-6))
    np.maximum(rise, np.float32(0.0), out=rise)
    if power not in (1.0, 2.0) or bevel < 1.0:
        np.minimum(rise, np.float32(1.0), out=rise)
    if power == 2.0:
        rise *= np.float32(2.0) - rise
        np.sqrt(rise, out=rise)
    elif power != 1.0:
        np.power(np.float32(1.0) - rise, np.float32(power), out=rise)
        np.power(np.float32(1.0) - rise, np.float32(1.0 / power), out=rise)
    return rise


def cut(crop: Crop, image_size: tuple[int, int]) -> Crop | None:
    """The part of a crop that lies in an image of (H, W) px; None if nothing does."""
    height, width = image_size
    top, left = max(0, -crop.y0), max(0, -crop.x0)
    values = crop.values[top : max(top, height - crop.y0), left : max(left, width - crop.x0)]
    return Crop(values, crop.x0 + left, crop.y0 + top) if values.size else None

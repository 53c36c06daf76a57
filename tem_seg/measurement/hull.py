"""Feret diameters and convexity of masks, from the convex hulls of their pixel centres.

A mask is a sampling: pixel (r, c) is in it where the particle covers the pixel's centre. An edge that runs along
the lattice direction (a, b) (whole numbers without a common factor, L = √(a² + b²)) can be moved outward by up to one
line spacing 1/L before the next pixel centre joins, so its expected place is half a spacing outside the outermost
centres: half a pixel for an upright edge, 0.35 px at 45°, next to nothing at a slope like 7/10. The hull of pixel
*corners*, which moves every edge out by (|a| + |b|) / 2L, makes a rotated rectangle up to 1.4 px too wide and a
disc 1.3 px too long; the hull of pixel *centres* makes all of them too small.
tests/measurement/test_hull.py holds the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.measurement.runs import Runs

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
UPRIGHT = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.int64)
CHUNK = 1 << 15  # numbers, 256 kB: a stack stays in the cache


@dataclass(frozen=True, slots=True)
class Polygons:
    """N convex polygons one after the other: polygon i has the corners points[first[i]:first[i + 1]], x, y in px.

    points (P, 2) int64 or float64; first (N + 1,). A polygon without corners is that of an empty mask.
    """

    points: NDArray[np.int64] | NDArray[np.float64]
    first: IntArray

    @property
    def corners(self) -> IntArray:
        """Number of corners of every polygon, (N,)."""
        return np.diff(self.first)

    def owner(self) -> IntArray:
        """The polygon that each point belongs to, (P,)."""
        return np.repeat(np.arange(len(self.first) - 1), self.corners)

    def following(self) -> IntArray:
        """Place of the next corner round the same polygon, (P,)."""
        place = np.arange(1, len(self.points) + 1)
        some = self.corners > 0
        place[self.first[1:][some] - 1] = self.first[:-1][some]
        return place

    def total(self, values: IntArray | FloatArray) -> FloatArray:
        """Sum of a value a point (P,) → (N,)."""
        return np.bincount(self.owner(), weights=values, minlength=len(self.first) - 1).astype(np.float64)


def joined(parts: Sequence[NDArray[np.generic]], columns: int) -> Polygons:
    """Polygons (or whatever has ``columns`` numbers a corner) from the points (M, columns) of each."""
    first = np.r_[0, np.cumsum([len(part) for part in parts], dtype=np.int64)]
    return Polygons(np.concatenate([np.zeros((0, columns), np.int64), *parts]), first)


def centre_hulls(runs: Runs) -> Polygons:
    """Convex hulls (column, row) of the pixel centres of N masks; 1 or 2 corners where the hull has no area."""
    pixels = np.stack([np.r_[runs.column, runs.column], np.r_[runs.top, runs.bottom - 1]], axis=1).astype(np.int32)
    # the last pixel of every run directly after its first, so that a particle's pixels are one slice
    pixels = pixels.reshape(2, -1, 2).swapaxes(0, 1).reshape(-1, 2)
    first = 2 * np.searchsorted(runs.particle, np.arange(runs.count + 1))
    hulls = [
        cv2.convexHull(pixels[start:end], clockwise=False)[:, 0] if end > start else pixels[:0]
        for start, end in zip(first[:-1].tolist(), first[1:].tolist(), strict=True)
    ]
    return joined(hulls, 2)


def convex_area_px(hulls: Polygons) -> FloatArray:
    """Number of pixel centres in and on each hull (N,): Pick's theorem, area + boundary points / 2 + 1.

    Of a mask without dents this is the mask's area, at any size and angle, which the area of a polygon is not.
    """
    here, there = hulls.points, hulls.points[hulls.following()]
    edges = there - here
    doubled_area = np.abs(hulls.total(here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]))
    boundary = hulls.total(np.gcd(edges[:, 0], edges[:, 1]))
    return np.where(hulls.corners > 0, (doubled_area + boundary) / 2 + 1, 0.0)


def outlines(hulls: Polygons) -> Polygons:
    """Hulls of pixel centres → the convex polygons (M >= 3 corners, float64) that they sample, in the same frame.

    Every edge, and the upright rectangle around, is moved out by half its line spacing; the polygon is what lies
    inside all of them, found as the convex hull of the dual points normal / distance.
    """
    count = len(hulls.first) - 1
    some = np.flatnonzero(hulls.corners > 0)
    centre = np.stack([hulls.total(hulls.points[:, axis]) for axis in (0, 1)], axis=1)[some]
    centre /= hulls.corners[some, None]
    steps, point, owner = _lines(hulls, some)
    length = np.sqrt((steps**2).sum(axis=1))
    normal = np.stack([steps[:, 1], -steps[:, 0]], axis=1) / length[:, None]
    distance = ((point - centre[owner]) * normal).sum(axis=1) + 0.5 / length
    first = np.searchsorted(owner, np.arange(len(some) + 1))
    dual = (normal / distance[:, None]).astype(np.float32)
    kept = [
        start + cv2.convexHull(dual[start:end], returnPoints=False)[:, 0]
        for start, end in zip(first[:-1].tolist(), first[1:].tolist(), strict=True)
    ]
    lines = joined([np.stack([k, owner[k]], axis=1) for k in kept], 2)
    chosen, follow = lines.points[:, 0], lines.following()
    points = _crossings(normal[chosen], distance[chosen], follow) + centre[lines.points[:, 1]]
    corners = np.zeros(count, np.int64)
    corners[some] = lines.corners
    return Polygons(points, np.r_[0, np.cumsum(corners)])


def _lines(hulls: Polygons, some: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """The edges of the hulls and of the upright rectangles around them, clockwise as displayed, sorted by particle.

    Returns (E, 2) the edges' directions in smallest whole numbers, (E, 2) a point on each, (E,) its place in ``some``.
    """
    edges = hulls.points[hulls.following()] - hulls.points
    divisor = np.gcd(edges[:, 0], edges[:, 1])
    real = divisor > 0
    place = np.zeros(len(hulls.first) - 1, np.int64)
    place[some] = np.arange(len(some))
    low, high = (function.reduceat(hulls.points, hulls.first[some]) for function in (np.minimum, np.maximum))
    # walked along UPRIGHT, in the sense of the hulls: the top edge, the right one, the bottom, the left
    touched = np.stack([low, np.c_[high[:, 0], low[:, 1]], high, np.c_[low[:, 0], high[:, 1]]], axis=1)
    steps = np.concatenate([edges[real] // divisor[real, None], np.tile(UPRIGHT, (len(some), 1))])
    points = np.concatenate([hulls.points[real], touched.reshape(-1, 2)])
    owner = np.concatenate([place[hulls.owner()[real]], np.repeat(np.arange(len(some)), 4)])
    order = np.argsort(owner, kind="stable")
    return steps[order], points[order], owner[order]


def _crossings(normal: FloatArray, distance: FloatArray, follow: IntArray) -> FloatArray:
    """Where each line normal · x = distance, (M, 2) and (M,), meets the line that follows it, (M, 2)."""
    other, far = normal[follow], distance[follow]
    determinant = normal[:, 0] * other[:, 1] - normal[:, 1] * other[:, 0]
    x = (distance * other[:, 1] - far * normal[:, 1]) / determinant
    y = (far * normal[:, 0] - distance * other[:, 0]) / determinant
    return np.stack([x, y], axis=1)


def min_feret(polygons: Polygons) -> FloatArray:
    """Smallest distance (N,) of two parallel lines that enclose each polygon: one of them lies on an edge."""
    return calipers(polygons)[0]


def calipers(polygons: Polygons) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Each (N,): min Feret diameter, and width <= length of the enclosing rectangle of the smallest area.

    Both have a side on an edge of the polygon (the rectangle: Freeman and Shapira 1975).
    """
    result = np.full((3, len(polygons.first) - 1), np.nan)
    for chosen, points in _stacks(polygons):
        edges = np.roll(points, -1, axis=1) - points
        length = np.sqrt((edges**2).sum(axis=2))
        with np.errstate(divide="ignore", invalid="ignore"):  # corners that fill up a stack make edges of length 0
            along = edges / np.where(length > 1e-6, length, np.nan)[..., None]
            across = np.stack([along[..., 1], -along[..., 0]], axis=2)
            width, extent = _reach(across, points), _reach(along, points)
            best = np.argmin(np.where(np.isnan(width), np.inf, width * extent), axis=1)[:, None]
        sides = np.take_along_axis(width, best, 1)[:, 0], np.take_along_axis(extent, best, 1)[:, 0]
        result[:, chosen] = np.where(np.isnan(width), np.inf, width).min(axis=1), np.minimum(*sides), np.maximum(*sides)
    return result[0], result[1], result[2]


def max_feret(polygons: Polygons) -> FloatArray:
    """Largest distance (N,) of two corners of each polygon."""
    return longest(polygons)[0]


def longest(polygons: Polygons) -> tuple[FloatArray, FloatArray]:
    """Each (N,): max Feret diameter, and the width at right angles to it."""
    result = np.full((2, len(polygons.first) - 1), np.nan)
    for chosen, points in _stacks(polygons):
        count, corners = points.shape[:2]
        x, y = points[..., 0], points[..., 1]
        squared = ((x[:, :, None] - x[:, None]) ** 2 + (y[:, :, None] - y[:, None]) ** 2).reshape(count, -1)
        ends = np.divmod(squared.argmax(axis=1), corners)
        rows = np.arange(count)
        length = np.sqrt(squared.max(axis=1))
        along = points[rows, ends[1]] - points[rows, ends[0]]
        with np.errstate(invalid="ignore"):  # all corners in one place
            across = np.stack([along[:, 1], -along[:, 0]], axis=1)[:, None] / length[:, None, None]
        result[:, chosen] = length, _reach(across, points)[:, 0]
    return result[0], result[1]


def _reach(directions: FloatArray, points: FloatArray) -> FloatArray:
    """Extent (B, D) of points (B, M, 2) along unit vectors (B, D, 2)."""
    places = directions @ points.swapaxes(1, 2)
    extent: FloatArray = places.max(axis=2) - places.min(axis=2)
    return extent


def _stacks(polygons: Polygons) -> Iterator[tuple[IntArray, FloatArray]]:
    """Polygons of like corner numbers together, empty ones left out: their indices (B,) and points (B, M, 2).

    Shorter ones are filled up with their last corner; B × M² stays below CHUNK, so that memory does.
    """
    corners = polygons.corners
    order = np.argsort(corners, kind="stable")[::-1]
    order = order[corners[order] > 0]
    while len(order):
        most = int(corners[order[0]])
        chosen, order = np.split(order, [max(1, CHUNK // most**2)])
        place = np.minimum(np.arange(most), corners[chosen, None] - 1) + polygons.first[chosen, None]
        yield chosen, polygons.points[place].astype(np.float64)

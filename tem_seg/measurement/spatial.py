"""How particles lie: Ripley's L, the Clark-Evans index, and a test against complete spatial randomness.

Points (N, 2) x, y in a frame of ``extent`` (width, height), both in the same unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import norm

from tem_seg.measurement.contacts import nearest_centre

FloatArray = NDArray[np.float64]
Extent = tuple[float, float]
FEWEST_POINTS = 10
"""Fewer points in all images together say nothing of how they lie."""
FARTHEST = 0.25
"""Distances looked at go up to this share of the shortest side: beyond, few pairs and large corrections."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The points of one image and its frame."""

    points: FloatArray
    extent: Extent

    def __post_init__(self) -> None:
        width, height = self.extent
        if self.points.ndim != 2 or self.points.shape[1] != 2 or not (width > 0 and height > 0):
            raise ValueError(f"expected points (N, 2) in a (width, height), got {self.points.shape}, {self.extent}")
        if not ((self.points >= 0) & (self.points <= self.extent)).all():
            raise ValueError(f"points lie outside their frame of {width:g} × {height:g}")


@dataclass(frozen=True, slots=True)
class Ripley:
    """L(r) (R,) at the distances r (R,), and its envelope: 2.5 and 97.5 % of as many points laid at random.

    p: how often points at random are as far from L(r) = r, at the distance where they are farthest (a test of all r at
    once; Diggle 1979). clustered: whether that farthest distance lies above r.
    """

    r: FloatArray
    l_of_r: FloatArray
    low: FloatArray
    high: FloatArray
    p: float
    clustered: bool


def ripley_l(patterns: Sequence[Pattern], r: FloatArray) -> FloatArray:
    """Ripley's L (R,) = √(K / π) at the distances r (R,), of all images together: r for points laid at random.

    K with the translation correction (Ohser and Stoyan 1981): a pair at (dx, dy) counts 1 / ((W - |dx|) (H - |dy|)),
    the inverse of where it could lie in the frame W × H. Pooled over images as Σ of such sums / Σ N (N - 1) / (W H)²,
    so that images weigh by their pairs and different densities do not look like clusters. NaN without two points in one
    image. Raises ValueError for r beyond the shortest side.
    """
    shortest = min((min(pattern.extent) for pattern in patterns), default=np.inf)
    if len(r) and not (np.min(r) >= 0 and np.max(r) < shortest):
        raise ValueError(f"distances must lie between 0 and the shortest side of the frames, {shortest:g}")
    sums, squared = np.zeros(len(r)), 0.0
    for pattern in patterns:
        width, height = pattern.extent
        count = len(pattern.points)
        squared += count * (count - 1) / (width * height) ** 2
        sums += _pair_sums(pattern, r)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(sums / squared / np.pi) if squared else np.full(len(r), np.nan)


def _pair_sums(pattern: Pattern, r: FloatArray) -> FloatArray:
    """Σ over ordered pairs no farther apart than r of 1 / ((W - |dx|) (H - |dy|)), (R,)."""
    if len(pattern.points) < 2 or not len(r):
        return np.zeros(len(r))
    pairs = cKDTree(pattern.points).query_pairs(float(np.max(r)), output_type="ndarray")
    apart = np.abs(pattern.points[pairs[:, 0]] - pattern.points[pairs[:, 1]])
    weights = 2.0 / ((pattern.extent[0] - apart[:, 0]) * (pattern.extent[1] - apart[:, 1]))
    distance = np.hypot(apart[:, 0], apart[:, 1])
    order = np.argsort(distance)
    total = np.r_[0.0, np.cumsum(weights[order])]
    return np.asarray(total[np.searchsorted(distance[order], r, side="right")], np.float64)


def ripley(
    patterns: Sequence[Pattern], rng: np.random.Generator, *, steps: int = 40, simulations: int = 199
) -> Ripley | None:  # fmt: skip
    """L(r) at ``steps`` distances up to a quarter of the shortest side, against ``simulations`` of as many points laid
    at random in the same frames; None for fewer than 10 points, or no two of them in one image."""
    counts = [len(pattern.points) for pattern in patterns]
    if sum(counts) < FEWEST_POINTS or max(counts) < 2:
        return None
    farthest = FARTHEST * min(min(pattern.extent) for pattern in patterns)
    r = np.linspace(farthest / steps, farthest, steps)
    found = ripley_l(patterns, r)
    drawn = np.array([ripley_l(_at_random(patterns, rng), r) for _ in range(simulations)])
    apart, most = np.abs(found - r), np.abs(drawn - r).max(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    p = (1 + int((most >= apart.max()).sum())) / (simulations + 1)
    return Ripley(r, found, low, high, p, bool(found[apart.argmax()] > r[apart.argmax()]))


def _at_random(patterns: Sequence[Pattern], rng: np.random.Generator) -> list[Pattern]:
    return [Pattern(rng.uniform((0, 0), p.extent, p.points.shape), p.extent) for p in patterns]


@dataclass(frozen=True, slots=True)
class ClarkEvans:
    """index: mean distance to the nearest point over that of points laid at random: below 1 clustered, above 1 regular.
    p: of an index as far from 1 for points at random (two-sided, normal approximation). n: points."""

    index: float
    p: float
    n: int


def clark_evans(patterns: Sequence[Pattern]) -> ClarkEvans | None:
    """Clark and Evans' index (Ecology 35, 445, 1954) of all images together, Donnelly's (1978) correction of edges.

    None for fewer than 10 points in images of at least two. Without the correction points at random have an index above
    1, since the nearest point may lie outside the frame.
    """
    used = [pattern for pattern in patterns if len(pattern.points) > 1]
    n = sum(len(pattern.points) for pattern in used)
    if n < FEWEST_POINTS:
        return None
    total, expected, variance = 0.0, 0.0, 0.0
    for pattern in used:
        count, (width, height) = len(pattern.points), pattern.extent
        area, around = width * height, 2 * (width + height)
        total += float(nearest_centre(pattern.points).sum())
        expected += 0.5 * np.sqrt(area * count) + (0.0514 + 0.041 / np.sqrt(count)) * around
        # of the sum of count distances: count² times that of their mean
        variance += 0.0703 * area + 0.037 * around * np.sqrt(area / count)
    z = (total - expected) / np.sqrt(variance)
    return ClarkEvans(float(total / expected), float(2 * norm.sf(abs(z))), n)

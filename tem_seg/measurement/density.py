"""Kernel estimate of a density of sizes: the smooth curve over a histogram, and its maximum, the mode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
FINE, MOST = 16, 1 << 14
"""Points a bandwidth, and at most in all."""
REACH = 5.0
"""The kernel ends here, in bandwidths."""


@dataclass(frozen=True, slots=True)
class Density:
    """density (P,) per unit of size at the sizes ``at`` (P,), increasing; its integral is 1.

    bandwidth: standard deviation of the kernel, in ln size where ``logarithmic``, else in the sizes' unit.
    """

    at: FloatArray
    density: FloatArray
    bandwidth: float
    logarithmic: bool

    @property
    def mode(self) -> float:
        """Size at the maximum, by the parabola through the highest point and its neighbours."""
        top = int(np.argmax(self.density))
        if not 0 < top < len(self.at) - 1:
            return float(self.at[top])
        near = slice(top - 1, top + 2)
        curve = np.polyfit(self.at[near] - self.at[top], self.density[near] / self.density[top], 2)
        return float(self.at[top] - curve[1] / (2 * curve[0]) if curve[0] < 0 else self.at[top])

    def __call__(self, sizes: FloatArray | float) -> FloatArray:
        """The density at any sizes, their shape."""
        return np.asarray(np.interp(sizes, self.at, self.density, left=0.0, right=0.0))


def estimate(sizes: FloatArray, weights: FloatArray) -> Density | None:
    """The Gaussian kernel estimate from finite sizes and positive weights, (N,) each; None where sizes do not differ.

    On ln size where all are positive, which gives a wide distribution one bandwidth that suits both its ends.
    Bandwidth by Silverman (Density Estimation, 1986, eq. 3.31): 0.9 · min(SD, IQR / 1.349) · n^(-1/5), with Kish's
    effective n. Sizes are sorted into a fine grid first, so that a million of them cost no more than a thousand.
    """
    logarithmic = len(sizes) > 0 and bool((sizes > 0).all())
    values = np.log(sizes) if logarithmic else sizes
    width = _bandwidth(values, weights)
    if not width:
        return None
    low, high = values.min() - REACH * width, values.max() + REACH * width
    count = int(min(np.ceil(FINE * (high - low) / width), MOST))
    step = (high - low) / (count - 1)
    place = (values - low) / step
    first = np.minimum(place.astype(np.int64), count - 2)
    # each particle is shared between its two neighbours on the grid, which keeps its place
    mass = np.bincount(first, weights * (first + 1 - place), count)
    mass += np.bincount(first + 1, weights * (place - first), count)
    smooth = _smoothed(np.asarray(mass, np.float64), width / step) / (step * weights.sum())
    grid = low + step * np.arange(count)
    if not logarithmic:
        return Density(grid, smooth, width, False)
    at = np.exp(grid)
    return Density(at, smooth / at, width, True)


def _smoothed(mass: FloatArray, sd: float) -> FloatArray:
    """mass (P,) spread by a Gaussian of ``sd`` points, as scipy.ndimage.gaussian_filter1d (slow to import)."""
    radius = int(REACH * sd + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sd) ** 2)
    return np.convolve(mass, kernel / kernel.sum())[radius : radius + len(mass)]


def _bandwidth(values: FloatArray, weights: FloatArray) -> float:
    """Silverman's; 0 where all values are equal but for rounding."""
    if len(values) < 2 or np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return 0.0
    mean = np.average(values, weights=weights)
    spread = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
    order = np.argsort(values)
    at = np.cumsum(weights[order]) - weights[order] / 2
    quartiles = np.interp([0.25 * weights.sum(), 0.75 * weights.sum()], at, values[order])
    narrow = float(quartiles[1] - quartiles[0]) / 1.349
    number = weights.sum() ** 2 / (weights**2).sum()
    return 0.9 * (min(spread, narrow) if narrow > 0 else spread) * float(number**-0.2)

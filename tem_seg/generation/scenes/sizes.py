"""Random sizes within limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tem_seg.generation.ranges import Range

REDRAWS = 40


def log_normal(
    rng: np.random.Generator, count: int, median: float, sigma_log: float, limits: Range
) -> NDArray[np.float64]:  # fmt: skip
    """(count,) sizes of that median and standard deviation of ln(size), in the median's unit, within limits.

    Those outside are drawn again, which keeps the shape of the distribution between the limits; what is still outside
    after 40 times (median far outside) is set to the limit.
    """
    sizes = median * np.exp(sigma_log * rng.standard_normal(count))
    for _ in range(REDRAWS):
        outside = (sizes < limits[0]) | (sizes > limits[1])
        if not outside.any():
            break
        sizes[outside] = median * np.exp(sigma_log * rng.standard_normal(int(outside.sum())))
    return np.clip(sizes, *limits)


def mean_area(median: float, sigma_log: float) -> float:
    """Mean area of discs whose diameters are log-normal: π/4 · median² · exp(2 σ²)."""
    return float(np.pi / 4.0 * median**2 * np.exp(2.0 * sigma_log**2))

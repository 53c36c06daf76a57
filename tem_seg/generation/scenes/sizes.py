"""Random sizes within limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
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


def biggest_median_px(fewest: float, max_coverage: float, sigma_log: float, image_size: tuple[int, int]) -> float:
    """Largest median diameter in px at which so many particles of log-normal size stay within max_coverage."""
    share = max_coverage * image_size[0] * image_size[1] / max(fewest, 1.0)
    return float(np.sqrt(share / mean_area(1.0, sigma_log)))


def check_smallest(owner: str, min_diameter_px: float, diameter_px: Range, factor: float) -> None:
    """UserError if sizes are cut off above ``factor`` × the smallest median."""
    if min_diameter_px > factor * diameter_px[0]:
        limit = "" if factor == 1.0 else f"{factor:g} × "
        raise UserError(
            f"{owner}.min_diameter_px {min_diameter_px:g} cuts off most particles: it must not exceed "
            f"{limit}the smallest median, diameter_px[0] = {diameter_px[0]:g}"
        )


@dataclass(frozen=True, slots=True)
class Magnification:
    """Magnification follows particle size, as in practice: the median is seen within diameter_px.

    owner: name of the recipe, for messages. pixel_size_nm: what the microscope can do.
    """

    owner: str
    diameter_px: Range
    pixel_size_nm: Range

    def pixel_sizes_nm(self, median_nm: float, biggest_px: float) -> Range:
        """Those at which that median is seen within diameter_px, and at most biggest_px; min > max: none."""
        largest_px = min(self.diameter_px[1], biggest_px)
        low, high = median_nm / largest_px, median_nm / self.diameter_px[0]
        return max(self.pixel_size_nm[0], low), min(self.pixel_size_nm[1], high)

    def check(self, medians_nm: Range, biggest_px: float, what: str = "particles") -> None:
        """UserError if the smallest or largest median is seen at no such pixel size."""
        for median_nm in medians_nm:
            low, high = self.pixel_sizes_nm(median_nm, biggest_px)
            if low > high:
                raise UserError(
                    f"{self.owner}.pixel_size_nm {list(self.pixel_size_nm)} shows {what} of diameter_nm "
                    f"{median_nm:g} at no diameter within diameter_px {list(self.diameter_px)} (here at most "
                    f"{biggest_px:.1f} px): widen one of them"
                )

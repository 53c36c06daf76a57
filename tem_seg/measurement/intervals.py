"""Mean and quantiles of a size distribution with the interval that counting leaves, clustered by image.

The mean on ln scale; quantiles by Woodruff's method (J. Am. Stat. Assoc. 47, 635, 1952): an interval of the share of
particles below the estimate, turned into sizes by the sizes' own distribution. Variance and critical value:
:mod:`tem_seg.measurement.clusters`. scripts/coverage_of_intervals.py measures how often such intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from tem_seg.core.errors import UserError
from tem_seg.core.weighted import known, quantile
from tem_seg.measurement import clusters
from tem_seg.measurement.clusters import Components, Images
from tem_seg.measurement.density import Density, estimate

FloatArray = NDArray[np.float64]
FEWEST_IMAGES = 3
OPEN = 1e3
"""An interval with an end this many times larger or smaller than the figure is none: it says that nothing is known."""
LEVELS = {"d10": 0.1, "d50": 0.5, "d90": 0.9}
QUANTITIES = ("mean", *LEVELS)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of a distribution and what counting leaves open of it, lengths in the sizes' unit.

    low, high: the interval of the ``level``; standard_uncertainty: of counting alone; degrees: the degrees of freedom
    of Student's t that stretch one into the other. images: those with particles. Without an interval these are None
    and ``reason`` says why. components: variances of a particle's relative influence, between images and within them.
    """

    quantity: str
    value: float
    low: float | None
    high: float | None
    standard_uncertainty: float | None
    degrees: float | None
    level: float
    images: int
    particles: int
    components: Components | None = None
    reason: str | None = None


def estimates(
    values: ArrayLike, images: ArrayLike, weights: ArrayLike | None = None, *,
    quantities: Sequence[str] = QUANTITIES, level: float = 0.95,
) -> dict[str, Estimate]:  # fmt: skip
    """Sizes (N,), the image that each particle is of (N,), weights (N,) → quantity: Estimate, of "mean", "d10", "d50",
    "d90".

    Particles without a finite size or of weight 0 are left out. Images without particles say nothing of sizes. There is
    no interval with fewer than 3 images: from one, nothing is known of what differs between images.
    """
    if unknown := sorted(set(quantities) - set(QUANTITIES)):
        raise UserError(f"no quantity {', '.join(unknown)}: known are {', '.join(QUANTITIES)}")
    if not 0 < level < 1:
        raise UserError(f"a level of confidence of {level:g}: it lies between 0 and 1, such as 0.95")
    sizes, shares, kept = known(values, weights)
    keys = np.asarray(images).ravel()
    if len(keys) != len(kept):
        raise UserError(f"{len(kept)} sizes came with {len(keys)} images: say for each particle which image it is of")
    keys = keys[kept]
    return {name: _estimate(name, sizes, keys, shares, level) for name in quantities}


def influence(quantity: str, sizes: FloatArray, value: float, density: Density) -> FloatArray | None:
    """How far each particle (N,) pulls the figure from ``value``, in the sizes' unit, so that the figure is value + the
    weighted mean of influences; None where there is no density at the quantile.
    """
    if quantity == "mean":
        return sizes - value
    height = float(density(value))
    return (LEVELS[quantity] - _below(sizes, value)) / height if height > 0 else None


def _estimate(name: str, sizes: FloatArray, keys: NDArray[np.generic], weights: FloatArray, level: float) -> Estimate:
    if name == "mean":
        value = float(np.average(sizes, weights=weights)) if len(sizes) else float("nan")
    else:
        value = float(quantile(sizes, LEVELS[name], weights))
    groups = clusters.grouped(keys, weights) if len(sizes) else None
    count = groups.count if groups else 0
    plain = Estimate(name, value, None, None, None, None, level, count, len(sizes))
    if groups is None or not np.isfinite(value):
        return replace(plain, reason=f"{len(sizes)} particles do not determine it")
    if count < FEWEST_IMAGES:
        return replace(
            plain,
            reason=f"particles of {count} image{'s' if count > 1 else ''}: what differs between images, and so an "
            f"uncertainty, needs {FEWEST_IMAGES} or more",
        )
    if np.ptp(sizes) <= 1e-9 * np.abs(sizes).max():
        return replace(plain, low=value, high=value, standard_uncertainty=0.0, degrees=float("inf"))
    return _with_interval(plain, sizes, weights, groups)


def _with_interval(plain: Estimate, sizes: FloatArray, weights: FloatArray, groups: Images) -> Estimate:
    density = estimate(sizes, weights)
    assert density is not None  # the sizes differ
    pulls = influence(plain.quantity, sizes, plain.value, density)
    if pulls is None:
        return replace(plain, reason="the distribution has a gap at this quantile")
    counted = sizes if plain.quantity == "mean" else _below(sizes, plain.value)
    found = clusters.spread(counted, groups)
    factor = found.critical(plain.level)
    if not np.isfinite(factor):
        most = float(groups.share.max())
        return replace(
            plain, reason=f"one image holds {most:.0%} of the weight of all particles: the others say too little"
        )
    if plain.quantity == "mean":
        low, high = _mean_ends(plain.value, factor * found.standard_error, bool((sizes > 0).all()))
    else:
        # images count in whole particles: three with the same count by chance are not certain of it
        error = float(np.sqrt(found.standard_error**2 + ((groups.share * groups.noise) ** 2).sum() / 12))
        low, high = _quantile_ends(plain, sizes, weights, error, factor, density)
    if (sizes > 0).all() and not plain.value / OPEN <= low <= high <= plain.value * OPEN:
        return replace(plain, reason=f"what was counted leaves it open by a factor of more than {OPEN:,.0f}")
    relative = clusters.components(pulls / plain.value, groups) if plain.value else None
    return replace(
        plain, low=low, high=high, standard_uncertainty=(high - low) / (2 * factor),
        degrees=clusters.equivalent_degrees(factor, plain.level), components=relative,
    )  # fmt: skip


def _mean_ends(value: float, reach: float, positive: bool) -> tuple[float, float]:
    if not positive:
        return value - reach, value + reach
    factor = float(np.exp(min(reach / value, 2 * np.log(OPEN))))  # no overflow: beyond, nothing is known
    return value / factor, value * factor


def _quantile_ends(
    plain: Estimate, sizes: FloatArray, weights: FloatArray, error: float, factor: float, density: Density
) -> tuple[float, float]:
    """Woodruff's; where an end would lie beyond the sizes seen, by the density at the quantile, if that is farther out.

    The median's share on the logit scale, those of D10 and D90 as they are: so both ends miss the truth about as often
    (on the logit scale, the end farther from the median misses D10 and D90 five times as often as the other).
    """
    level, reach = LEVELS[plain.quantity], factor * error
    inside = expit(logit(level) + np.array([-reach, reach]) / (level * (1 - level)))
    plainly = inside if level == 0.5 else level + np.array([-reach, reach])
    seen = np.where((plainly > 0) & (plainly < 1), plainly, np.nan)
    ends = np.where(np.isnan(seen), np.nan, quantile(sizes, np.nan_to_num(seen, nan=0.5), weights))
    farther = quantile(sizes, inside, weights)
    by_density = _mean_ends(plain.value, reach / float(density(plain.value)), density.logarithmic)
    low = ends[0] if np.isfinite(ends[0]) else np.nanmin([farther[0], by_density[0]])
    high = ends[1] if np.isfinite(ends[1]) else np.nanmax([farther[1], by_density[1]])
    return min(float(low), plain.value), max(float(high), plain.value)


def _below(sizes: FloatArray, value: float) -> FloatArray:
    return (sizes <= value).astype(np.float64)

"""Quantiles and moments of particles that weigh differently: one rule for measurements, analyses and reports."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tem_seg.core.errors import UserError

FloatArray = NDArray[np.float64]


def known(values: ArrayLike, weights: ArrayLike | None = None) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Sizes and weights of the particles that have both (K,), (K,), and which they were (N,); weights 1 by default.

    A weight of 0 leaves a particle out. Raises UserError where the two differ in length or a weight is negative.
    """
    sizes = np.asarray(values, np.float64).ravel()
    shares = np.ones_like(sizes) if weights is None else np.asarray(weights, np.float64).ravel()
    if len(shares) != len(sizes):
        raise UserError(f"{len(sizes)} sizes came with {len(shares)} weights: give one weight a particle")
    if (shares < 0).any():
        raise UserError(f"a particle has the weight {shares.min():g}: weights are 0 or more")
    kept = np.isfinite(sizes) & np.isfinite(shares) & (shares > 0)
    return sizes[kept], shares[kept], kept


def quantile(values: ArrayLike, levels: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Sizes below which the shares ``levels`` of all weight lie, the levels' shape.

    A particle of weight w stands at the middle of its own step of the cumulative distribution; between particles it is
    linear. With equal weights that is Hazen's rule (type 5 of Hyndman and Fan, Am. Stat. 50, 361, 1996), whose median
    is the usual one. Beyond the middles of the first and last step a quantile is not known: NaN, as D10 of four
    particles, or D90 by volume where the largest particle alone is more than a fifth of the volume.
    """
    sizes, shares, _ = known(values, weights)
    wanted = np.asarray(levels, np.float64)
    if not len(sizes):
        return np.full(wanted.shape, np.nan)
    order = np.argsort(sizes, kind="stable")
    sizes, shares = sizes[order], shares[order]
    at = (np.cumsum(shares) - shares / 2) / shares.sum()
    outside = np.nan if sizes[0] < sizes[-1] else sizes[0]
    near = 1e-12  # five particles have their D10 at the first middle, 0.1, but for rounding
    inside = (wanted >= at[0] - near) & (wanted <= at[-1] + near)
    return np.asarray(np.where(inside, np.interp(wanted, at, sizes), outside), np.float64)


def effective_number(weights: FloatArray) -> float:
    """Kish's number of equally weighted particles that would scatter as much, (Σ w)² / Σ w²; 0 of none."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0


def mean_and_sd(sizes: FloatArray, shares: FloatArray) -> tuple[float, float]:
    """Of known sizes (N,) and weights (N,) > 0. The SD has n - 1 in the denominator, with weights Kish's number - 1;
    NaN where undefined.
    """
    if not len(sizes):
        return float("nan"), float("nan")
    mean = float(np.average(sizes, weights=shares))
    number = effective_number(shares)
    if number <= 1 + 1e-12:
        return mean, float("nan")
    variance = float(np.average((sizes - mean) ** 2, weights=shares)) * number / (number - 1)
    return mean, float(np.sqrt(variance))

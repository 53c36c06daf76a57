"""Size distributions in numbers: weightings, quantiles, moments, mode, and bins that several samples share.

Weights say what a particle counts for. A counting rule may give one (Miles and Lantuéjoul's, where border particles
are left out); a weighting by area or volume multiplies it by the diameter's second or third power (ISO 9276-1: q0 by
number, q2 by area, q3 by volume). All functions leave out particles whose size is not finite; sizes of no particles
are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.weighted import effective_number, known, mean_and_sd, quantile
from tem_seg.measurement.density import estimate

FloatArray = NDArray[np.float64]
MAX_BINS = 100
WIDE = 12.0
"""From this ratio of the largest to the smallest size on, bins are logarithmic."""
WEIGHTINGS = {"number": 0, "area": 2, "volume": 3}
"""What a distribution is weighted by → power of the diameter."""


def weights_by(diameters: ArrayLike, weighting: str, counted: ArrayLike | None = None) -> FloatArray:
    """Weights (N,) of particles of these diameters in a distribution by "number", "area" or "volume".

    counted: what each particle counts for by number, 1 where it is left out. A volume weight takes every particle for a
    sphere of its diameter (or all for bodies of one shape): a micrograph does not show more.
    """
    if weighting not in WEIGHTINGS:
        raise UserError(f"no weighting {weighting!r}: a distribution is weighted by {', '.join(WEIGHTINGS)}")
    sizes = np.asarray(diameters, np.float64)
    return sizes ** WEIGHTINGS[weighting] * (1.0 if counted is None else np.asarray(counted, np.float64))


def summarise(values: ArrayLike, weights: ArrayLike | None = None) -> dict[str, float | int]:
    """What is said of a distribution in numbers; NaN where undefined.

    n (particles), n_effective (Kish's), mean, sd, median, mode, d10, d50, d90, span = (d90 - d10) / d50,
    geometric_mean, geometric_sd (of positive sizes). sd has n - 1 in the denominator, with weights n_effective - 1.
    mode is the maximum of the kernel estimate of :mod:`tem_seg.measurement.density`.
    """
    sizes, shares, _ = known(values, weights)
    mean, sd = mean_and_sd(sizes, shares)
    positive = len(sizes) > 0 and bool((sizes > 0).all())
    log_mean, log_sd = mean_and_sd(np.log(sizes), shares) if positive else (np.nan, np.nan)
    d10, d50, d90 = quantile(sizes, [0.1, 0.5, 0.9], shares).tolist()
    return {
        "n": len(sizes),
        "n_effective": effective_number(shares),
        "mean": mean,
        "sd": sd,
        "median": d50,
        "mode": mode(sizes, shares),
        "d10": d10,
        "d50": d50,
        "d90": d90,
        "span": (d90 - d10) / d50 if d50 else float("nan"),
        "geometric_mean": float(np.exp(log_mean)),
        "geometric_sd": float(np.exp(log_sd)),
    }


def mode(values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The most frequent size: maximum of the kernel estimate; the size itself where all are equal, NaN of none."""
    sizes, shares, _ = known(values, weights)
    found = estimate(sizes, shares)
    if found is None:
        return float(sizes[0]) if len(sizes) and sizes.min() == sizes.max() else float("nan")
    return found.mode


def histogram(
    samples: Mapping[str, ArrayLike], weights: Mapping[str, ArrayLike] | None = None, *, spacing: str = "auto"
) -> dict[str, Any]:
    """Counts of several samples in the same bins: {"edges": (B + 1,), "counts": {name: (B,)}, "rule": text}.

    Bins are laid over all samples together, their width by Freedman and Diaconis, 2 IQR / n^(1/3) (Z. Wahrscheinlich-
    keitstheorie 57, 453, 1981), of the sample that asks for the narrowest; at most 100 bins. Where every IQR is 0,
    Sturges' number of bins; one bin where all values are equal; none without values. spacing: "linear", "log" (equal
    steps of ln size, to which the same rules apply) or "auto", log where the largest size is 12 or more times the
    smallest. weights, by name: counts are sums of weights; the bins stay those of the particles.
    """
    if spacing not in ("auto", "linear", "log"):
        raise UserError(f"no spacing {spacing!r} of bins: use auto, linear or log")
    found = {name: known(values, (weights or {}).get(name)) for name, values in samples.items()}
    pooled = np.concatenate([np.zeros(0), *(sizes for sizes, _, _ in found.values())])
    if spacing == "log" and len(pooled) and pooled.min() <= 0:
        raise UserError(f"a size of {pooled.min():g} has no place on a logarithmic axis: use spacing linear")
    wide = len(pooled) > 0 and pooled.min() > 0 and WIDE * pooled.min() <= pooled.max()
    logarithmic = spacing == "log" or (spacing == "auto" and wide)
    scale = np.log if logarithmic else np.asarray
    edges, rule = _edges([scale(sizes) for sizes, _, _ in found.values()])
    if logarithmic and len(edges):
        # exp(ln) rounds, which must not drop the largest particle
        outer = np.exp(edges[[0, -1]])
        edges = np.r_[min(outer[0], pooled.min()), np.exp(edges[1:-1]), max(outer[1], pooled.max())]
        rule += " in ln size"
    counts = {
        name: np.histogram(sizes, edges, weights=None if weights is None else shares)[0].tolist() if len(edges) else []
        for name, (sizes, shares, _) in found.items()
    }
    return {"edges": edges.tolist(), "counts": counts, "rule": rule}


def _edges(samples: list[FloatArray]) -> tuple[FloatArray, str]:
    pooled = np.concatenate([np.zeros(0), *samples])
    if not len(pooled):
        return np.zeros(0), "no values"
    low, high = float(pooled.min()), float(pooled.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = 0.5 * max(abs(low), 1.0)
        return np.array([low - half, high + half]), "one bin: all values are equal"
    widths = [2.0 * float(np.subtract(*np.percentile(s, [75, 25]))) / len(s) ** (1 / 3) for s in samples if len(s) > 1]
    width = min((w for w in widths if w > 0), default=0.0)
    if not width:
        bins, rule = int(np.ceil(np.log2(len(pooled)))) + 1, "Sturges (interquartile range 0)"
    else:
        wanted = (high - low) / width
        bins, rule = int(np.ceil(min(wanted, MAX_BINS))), "Freedman–Diaconis"
        rule += f", at most {MAX_BINS} bins" if wanted > MAX_BINS else ""
    return np.linspace(low, high, bins + 1), f"{rule}: {bins} bins of width {(high - low) / bins:.4g}"

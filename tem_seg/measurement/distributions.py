"""Size distributions: what is said of them in numbers, and bins that two of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_BINS = 100


def summarise(values: ArrayLike) -> dict[str, float | int]:
    """n, mean, sd (n - 1 in the denominator) and median of the values that are finite; NaN where undefined."""
    known = _finite(values)
    return {
        "n": len(known),
        "mean": float(known.mean()) if len(known) else float("nan"),
        "sd": float(known.std(ddof=1)) if len(known) > 1 else float("nan"),
        "median": float(np.median(known)) if len(known) else float("nan"),
    }


def histogram(samples: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """Counts of several samples in the same bins: {"edges": (B + 1,), "counts": {name: (B,)}, "rule": text}.

    Bins are laid over all samples together, their width by Freedman and Diaconis, 2 IQR / n^(1/3) (Z. Wahrscheinlich-
    keitstheorie 57, 453, 1981), of the sample that asks for the narrowest; at most 100 bins. Where every IQR is 0,
    Sturges' number of bins; one bin where all values are equal; none without values.
    """
    known = {name: _finite(values) for name, values in samples.items()}
    edges, rule = _edges(list(known.values()))
    counts = {name: np.histogram(values, edges)[0].tolist() if len(edges) else [] for name, values in known.items()}
    return {"edges": edges.tolist(), "counts": counts, "rule": rule}


def _edges(samples: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], str]:
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


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64).ravel()
    return array[np.isfinite(array)]

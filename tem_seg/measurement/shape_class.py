"""Shape classes by simple rules, each from the literature (docs/measurands.md), of what has been measured already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CLASSES = ("irregular", "rod", "rectangular", "triangular", "elongated", "round")
SMALLEST_PX2 = 150.0
"""Below about 14 px across too few pixels tell a square from a disc."""
DENTED = 0.9
"""Solidity: two discs that touch in a point have 2π / (4 + π) = 0.88, every convex shape 1."""
ROD = 3.0
"""Longest over shortest extent: ISO/TS 80004-2:2015 speaks of nanofibres where they differ "typically by more than 3
times"; WHO's fibre criterion is 3 too."""
ELONGATED = 1.5
"""Long over short axis: Zingg (1935) calls shapes elongated where the shorter is below 2/3 of the longer."""


def rosin(filled: FloatArray, invariant: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rectangularity, triangularity, ellipticity (N,) in (0, 1], 1 for the ideal shape, however stretched.

    Rosin, Machine Vision and Applications 14, 172 (2003): area over that of the enclosing rectangle of the smallest
    area (``filled``); and how near the affine moment invariant lies to a triangle's 1/108, to an ellipse's 1/16π².
    """
    triangle, ellipse = 108.0 * invariant, 16.0 * np.pi**2 * invariant
    with np.errstate(divide="ignore", invalid="ignore"):
        return filled, np.minimum(triangle, 1 / triangle), np.minimum(ellipse, 1 / ellipse)


def classify(
    area: FloatArray, solidity: FloatArray, aspect: FloatArray, axes: FloatArray, filled: FloatArray,
    invariant: FloatArray,
) -> NDArray[np.object_]:  # fmt: skip
    """Shape class (N,) of CLASSES, None where too few pixels tell.

    area px². solidity. aspect: max over min Feret diameter. axes: short over long axis of the ellipse. filled: area
    over that of the smallest rectangle. invariant: ``moments.affine_invariant``. The first rule that holds counts:
    irregular (dented), rod (more than 3 times as long as wide), the ideal shape that Rosin's measures put first
    (rectangular, triangular), and of the elliptic ones elongated or round.
    """
    best = np.argmax(np.nan_to_num(np.stack(rosin(filled, invariant))), axis=0)
    rules = [solidity < DENTED, aspect > ROD, best == 0, best == 1, axes < 1 / ELONGATED]
    named = np.select(rules, list(CLASSES[:-1]), CLASSES[-1]).astype(object)
    named[~(area >= SMALLEST_PX2)] = None
    return named

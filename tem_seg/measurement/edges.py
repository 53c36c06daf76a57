"""From how far an outline may lie from the true one to how far a diameter may: what is common and what averages out.

An outline displaced outward by δ(s) along its length L changes the area by ∮ δ ds, and so the equivalent diameter d by

    Δd = 2 / (π d) · ∮ δ ds = 2 · L / (π d) · δ̄,     δ̄ the mean displacement; for a disc 2 δ̄.

A Feret diameter changes by 2 δ̄ of the two places that it touches, whatever the shape. ``edge_sd`` σ of particles.csv
is the standard deviation of an arc's mean displacement, an eighth of the outline at a time, calibrated on validation:
of three parts, σ² = common² + particle² + arc²: common to all particles (the model's edge is too far out everywhere),
to one particle or image (focus), and of the arc alone.

**Common**: does not average out. Its size is not known from σ but for a bound: it is at most σ, either way. So a
rectangular distribution of half-width σ (JCGM 100:2008, 4.3.7), unless a bias was measured against annotations.

**Random**: differs from particle to particle. It is already in the scatter of the measured sizes and so in the counting
uncertainty of their mean; entering it again would count it twice. But it widens the distribution, so D10 is too low and
D90 too high; :func:`widening` says by how much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tem_seg.core.errors import UserError

FloatArray = NDArray[np.float64]
ARC = 1.0 / 8.0
"""edge_sd is of arcs of this share of the outline (evaluation.edge_spread.ARCS)."""


def diameter_factor(perimeter: ArrayLike, diameter: ArrayLike) -> FloatArray:
    """By how much the equivalent diameter grows when the whole outline moves outward by 1: 2 L / (π d), a disc's 2."""
    return np.asarray(2.0 * np.asarray(perimeter, np.float64) / (np.pi * np.asarray(diameter, np.float64)))


def averaged(correlation: ArrayLike, arc: float = ARC) -> FloatArray:
    """SD of the whole outline's mean displacement over that of an arc's, in [√arc, 1].

    correlation: length ℓ, in shares of the outline, over which displacements fall alike as exp(-distance / ℓ); arc: its
    length, in shares too. Mean over a stretch a: variance 2 (x - 1 + e^(-x)) / x² of a point's, x = a / ℓ; round the
    closed outline: 2ℓ (1 - e^(-1 / 2ℓ)). At ℓ → 0 the arcs are independent, √(1/8); at ℓ → ∞ all is one, 1.
    """
    length = np.asarray(correlation, np.float64)
    if (length < 0).any() or np.isnan(length).any():
        raise UserError(f"a correlation length of {length.min():g} of the outline: it is 0 or more")
    if not 0 < arc <= 1:
        raise UserError(f"an arc of {arc:g} outlines: it is more than 0 and at most 1")
    safe = np.clip(length, 1e-6, 1e4)  # beyond, the formulas lose digits and the limits are reached
    x = arc / safe
    return np.asarray(np.sqrt(safe * -np.expm1(-0.5 / safe) * x**2 / (x + np.expm1(-x))))


def random_diameter_sd(edge_sd: ArrayLike, factor: ArrayLike = 2.0, correlation: float = 0.0) -> FloatArray:
    """Standard deviation of a single particle's diameter from the random part of its edge, in edge_sd's unit.

    factor: :func:`diameter_factor`, or 2 for discs and Feret diameters. The part that is common to all particles is not
    taken out of edge_sd, so this is an upper bound.
    """
    return np.asarray(np.asarray(factor, np.float64) * np.asarray(edge_sd, np.float64) * averaged(correlation))


def widening(value: float, centre: float, sd: float, noise_sd: float) -> float:
    """How far a quantile ``value`` lies too far from the median ``centre`` because sizes carry noise, signed.

    sd: of the measured sizes, of which noise_sd is one part: true sizes scatter by √(sd² - noise²), and a quantile's
    distance from the centre shrinks in proportion (of normal distributions exactly, of others about). All of the
    distance where noise is all of the scatter.
    """
    if not sd > 0:
        return 0.0
    true = np.sqrt(max(sd**2 - noise_sd**2, 0.0))
    return float((value - centre) * (1.0 - true / sd))

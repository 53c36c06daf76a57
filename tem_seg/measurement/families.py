"""Families of distributions, fitted by maximum likelihood to many samples at once: what :mod:`.fits` compares.

A family is fitted to B samples of n values each, (B, n), because a bootstrap needs it some hundred times. Parameters
are arrays (B,) or, of a mixture's two components, (B, 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]
Parameters = tuple[FloatArray, ...]
STEPS, SETTLED = 60, 1e-10
"""Newton's steps, at most, and when they stop."""


@dataclass(frozen=True, slots=True)
class Family:
    """How a family is fitted, drawn from and written down; ``log``: on ln x, that is log-normal for normal.

    fit (B, n) → parameters; frozen(parameters) has cdf, logpdf of (B, n) values and rvs; named(parameters of one
    sample) → {name: value} for a table. free: number of free parameters; least: of values that a fit needs.
    """

    fit: Callable[[FloatArray], Parameters]
    frozen: Callable[[Parameters], Any]
    named: Callable[[Parameters], dict[str, float]]
    free: int
    least: int
    positive: bool = True
    log: bool = False


def fit_normal(x: FloatArray) -> Parameters:
    """Mean and SD (n in the denominator: maximum likelihood), (B,) each."""
    return x.mean(axis=1), x.std(axis=1)


def fit_weibull(x: FloatArray) -> Parameters:
    """Shape k and scale λ, (B,) each; the profile likelihood's equation for k by Newton's method in ln k.

    Σ x^k ln x / Σ x^k - 1 / k = mean ln x (Cohen, Technometrics 7, 579, 1965), x over its maximum so that powers stay
    finite. It has one root.
    """
    top = x.max(axis=1, keepdims=True)
    logs = np.log(x / top)
    mean = logs.mean(axis=1)
    shape = 1.2825 / logs.std(axis=1)  # π / √6: the moments of ln x
    for _ in range(STEPS):
        powers = np.exp(shape[:, None] * logs)
        total, first, second = (np.sum(powers * logs**order, axis=1) for order in (0, 1, 2))
        value = first / total - 1 / shape - mean
        slope = second / total - (first / total) ** 2 + 1 / shape**2
        step = np.clip(value / (slope * shape), -1.0, 1.0)
        shape = shape * np.exp(-step)
        if (np.abs(step) < SETTLED).all():
            break
    return shape, top[:, 0] * np.exp(np.log(np.exp(shape[:, None] * logs).mean(axis=1)) / shape)


def fit_gamma(x: FloatArray) -> Parameters:
    """Shape k and scale θ, (B,) each: ln k - ψ(k) = ln mean x - mean ln x by Newton's method in ln k (Minka 2002)."""
    mean = x.mean(axis=1)
    gap = np.log(mean) - np.log(x).mean(axis=1)
    shape = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    for _ in range(STEPS):
        value = np.log(shape) - special.digamma(shape) - gap
        slope = 1 - shape * special.polygamma(1, shape)
        step = np.clip(value / slope, -1.0, 1.0)
        shape = shape * np.exp(-step)
        if (np.abs(step) < SETTLED).all():
            break
    return shape, mean / shape


def _normal(parameters: Parameters) -> Any:
    return stats.norm(parameters[0][:, None], parameters[1][:, None])


def _weibull(parameters: Parameters) -> Any:
    return stats.weibull_min(parameters[0][:, None], scale=parameters[1][:, None])


def _gamma(parameters: Parameters) -> Any:
    return stats.gamma(parameters[0][:, None], scale=parameters[1][:, None])


def _named(*names: str) -> Callable[[Parameters], dict[str, float]]:
    return lambda parameters: {name: float(value[0]) for name, value in zip(names, parameters, strict=True)}


def _geometric(parameters: Parameters) -> dict[str, float]:
    return {"geometric_mean": float(np.exp(parameters[0][0])), "geometric_sd": float(np.exp(parameters[1][0]))}


NORMAL = Family(fit_normal, _normal, _named("mean", "sd"), 2, 3, positive=False)
LOGNORMAL = Family(fit_normal, _normal, _geometric, 2, 3, log=True)
WEIBULL = Family(fit_weibull, _weibull, _named("shape", "scale"), 2, 3)
GAMMA = Family(fit_gamma, _gamma, _named("shape", "scale"), 2, 3)

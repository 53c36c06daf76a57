"""Which distribution describes the sizes: maximum likelihood, AICc, and a test whose p-value knows of the fitting.

The Anderson-Darling statistic of a fitted distribution is smaller than its tables say, because the parameters were
taken from the same sizes. So the p-value is found by a parametric bootstrap (Stute, González Manteiga and Presedo
Quindimil, Metrika 40, 243, 1993): draw from the fit, fit again, and count how often the statistic is as large.
Particles are taken as independent: where images differ, p is too small, never too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tem_seg.core.errors import UserError
from tem_seg.measurement import families, mixtures
from tem_seg.measurement.families import Family, Parameters

FloatArray = NDArray[np.float64]
FAMILIES: dict[str, Family] = {
    "normal": families.NORMAL,
    "lognormal": families.LOGNORMAL,
    "weibull": families.WEIBULL,
    "gamma": families.GAMMA,
    "two_normals": mixtures.TWO_NORMALS,
    "two_lognormals": mixtures.TWO_LOGNORMALS,
}
CHUNK = 1 << 18
"""Numbers that one part of the bootstrap works on."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One family fitted to n sizes. What could not be had is None, and ``reason`` says why.

    parameters: by name, lengths in the sizes' unit. aicc: Akaike's criterion corrected for small samples; delta_aicc
    and weight compare it with the other families of the same call (weight: share of the evidence, sums to 1).
    anderson_darling: A²; p_value: by n_boot bootstrap samples, None where none were asked for.
    """

    family: str
    n: int
    parameters: dict[str, float] | None = None
    log_likelihood: float | None = None
    aicc: float | None = None
    delta_aicc: float | None = None
    weight: float | None = None
    anderson_darling: float | None = None
    p_value: float | None = None
    n_boot: int = 0
    reason: str | None = None


def fit_all(
    values: ArrayLike, *, rng: np.random.Generator, names: Sequence[str] = tuple(FAMILIES), n_boot: int = 199
) -> list[Fit]:
    """The families ``names`` fitted to the sizes (N,) by number, in the order given; sizes that are not finite left
    out.

    A family that cannot be fitted (too few sizes, all equal, sizes of 0 or less) has a reason in place of figures.
    """
    if unknown := sorted(set(names) - set(FAMILIES)):
        raise UserError(f"no distribution {', '.join(unknown)}: known are {', '.join(FAMILIES)}")
    sizes = np.asarray(values, np.float64).ravel()
    sizes = sizes[np.isfinite(sizes)]
    return _compared([_fit(name, sizes, n_boot, rng) for name in names])


def pdf(fit: Fit, sizes: ArrayLike) -> FloatArray:
    """The fitted density per unit of size, for a plot; its reason as UserError where there is no fit."""
    if fit.parameters is None:
        raise UserError(f"no {fit.family} fit to draw: {fit.reason}")
    family, given = FAMILIES[fit.family], _arrays(fit)
    at = np.asarray(sizes, np.float64)
    x = np.log(at) if family.log else at
    density = np.exp(family.frozen(given).logpdf(x.reshape(1, -1))).reshape(at.shape)
    return np.asarray(density / at if family.log else density)


def _fit(name: str, sizes: FloatArray, n_boot: int, rng: np.random.Generator) -> Fit:
    family = FAMILIES[name]
    if reason := _refusal(family, sizes):
        return Fit(name, len(sizes), reason=reason)
    x = np.log(sizes)[None] if family.log else sizes[None]
    found = family.fit(x)
    frozen = family.frozen(found)
    likelihood = float(frozen.logpdf(x).sum() - (x.sum() if family.log else 0.0))
    statistic = float(anderson_darling(frozen.cdf(np.sort(x, axis=1)))[0])
    n, k = len(sizes), family.free
    aicc = 2 * k - 2 * likelihood + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else None
    reason = None if aicc is not None else f"AICc of {k} parameters needs {k + 2} particles"
    return Fit(
        name, n, family.named(found), likelihood, aicc,
        anderson_darling=statistic, p_value=_p_value(family, found, n, statistic, n_boot, rng), n_boot=n_boot,
        reason=reason,
    )  # fmt: skip


def _arrays(fit: Fit) -> Parameters:
    """The parameters of one fit as the family's functions take them."""
    values = np.array(list((fit.parameters or {}).values()))
    if len(values) == 6:
        parts = tuple(values.reshape(2, 3).T[:, None])
        return (parts[0], np.log(parts[1]), np.log(parts[2])) if FAMILIES[fit.family].log else parts
    return tuple(np.log(values)[:, None]) if FAMILIES[fit.family].log else tuple(values[:, None])


def _refusal(family: Family, sizes: FloatArray) -> str | None:
    if len(sizes) < family.least:
        return f"{len(sizes)} particles: this fit needs {family.least}"
    if family.positive and sizes.min() <= 0:
        return f"a size of {sizes.min():g}: this distribution is of positive sizes"
    if np.ptp(sizes) <= 1e-9 * np.abs(sizes).max():
        return f"all {len(sizes)} sizes are equal: there is no spread to fit"
    return None


def anderson_darling(cumulative: FloatArray) -> FloatArray:
    """A² (B,) of B samples, from a distribution's cdf at their sorted values (B, n)."""
    n = cumulative.shape[1]
    safe = np.clip(cumulative, 1e-300, 1 - 1e-16)
    factor = (2 * np.arange(1, n + 1) - 1) / n
    return np.asarray(-n - (factor * (np.log(safe) + np.log1p(-safe[:, ::-1]))).sum(axis=1))


def _p_value(
    family: Family, found: Parameters, n: int, statistic: float, n_boot: int, rng: np.random.Generator
) -> float | None:
    """Share of bootstrap samples with a statistic at least as large, the sample itself counted among them."""
    if not n_boot:
        return None
    larger, left = 0, n_boot
    while left:
        rows = min(left, max(1, CHUNK // n))
        drawn = np.asarray(family.frozen(found).rvs(size=(rows, n), random_state=rng))
        again = family.frozen(family.fit(drawn)).cdf(np.sort(drawn, axis=1))
        larger += int((anderson_darling(again) >= statistic).sum())
        left -= rows
    return (larger + 1) / (n_boot + 1)


def _compared(fits: list[Fit]) -> list[Fit]:
    known = [fit.aicc for fit in fits if fit.aicc is not None]
    if not known:
        return fits
    least = min(known)
    total = sum(np.exp(-(aicc - least) / 2) for aicc in known)
    return [
        fit if fit.aicc is None else replace(
            fit, delta_aicc=fit.aicc - least, weight=float(np.exp(-(fit.aicc - least) / 2) / total)
        )
        for fit in fits
    ]  # fmt: skip

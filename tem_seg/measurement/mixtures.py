"""Mixtures of two normal or log-normal distributions: two populations of particles in one sample. Fitted by EM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tem_seg.measurement.families import Family, Parameters

FloatArray = NDArray[np.float64]
STARTS = (0.5, 0.2, 0.8)
"""EM starts with the sample cut at these shares, smaller particles one component, larger ones the other."""
GROUPS = 500
"""A sample of more values is worked on in that many groups of neighbours, of equal number, with their variances."""
STEPS, SETTLED = 300, 1e-6
"""Steps of EM, at most; it stops where a sample's mean log-likelihood gains less than this."""
NARROWEST = 0.05
"""A component's SD is at least this share of the sample's: without a bound the likelihood grows without end around a
single value (Hathaway, Ann. Stat. 13, 795, 1985)."""
LEAST = 10


@dataclass(frozen=True, slots=True)
class TwoNormals:
    """The distributions of B samples: share, mean and SD of the components, (B, 2) each."""

    share: FloatArray
    mean: FloatArray
    sd: FloatArray

    def cdf(self, x: FloatArray) -> FloatArray:
        """x (B, n) → (B, n)."""
        return np.asarray(sum(self.share[:, k, None] * ndtr(self._standard(x, k)) for k in (0, 1)))

    def logpdf(self, x: FloatArray) -> FloatArray:
        """x (B, n) → (B, n)."""
        return np.asarray(np.logaddexp(self.log_part(x, 0), self.log_part(x, 1)))

    def rvs(self, size: tuple[int, int], random_state: np.random.Generator) -> FloatArray:
        """size (B, n) → draws; the parameters of one sample serve all."""
        second = random_state.random(size) >= self.share[:, 0, None]
        chosen = second.astype(np.int64)
        normal = random_state.standard_normal(size)
        mean, sd = (np.take_along_axis(self._rows(part, size), chosen, 1) for part in (self.mean, self.sd))
        return np.asarray(mean + normal * sd)

    def _standard(self, x: FloatArray, k: int) -> FloatArray:
        return (x - self.mean[:, k, None]) / self.sd[:, k, None]

    def log_part(self, x: FloatArray, k: int) -> FloatArray:
        """Logarithm of what component k adds to the density, (B, n)."""
        scale = np.log(self.share[:, k] / self.sd[:, k]) - 0.5 * np.log(2 * np.pi)
        return np.asarray(scale[:, None] - 0.5 * self._standard(x, k) ** 2)

    @staticmethod
    def _rows(values: FloatArray, size: tuple[int, int]) -> FloatArray:
        return np.broadcast_to(values, (size[0], 2))


@dataclass(frozen=True, slots=True)
class _Grouped:
    """Sorted values in groups of neighbours: mean and variance of each group (B, m), number in each (m,)."""

    mean: FloatArray
    variance: FloatArray
    count: FloatArray

    def rows(self, chosen: NDArray[np.bool_]) -> _Grouped:
        """The samples for which chosen (B,) is True; all have the same numbers in their groups."""
        return _Grouped(self.mean[chosen], self.variance[chosen], self.count)


def _grouped(x: FloatArray) -> _Grouped:
    ordered = np.sort(x, axis=1)
    first = np.linspace(0, x.shape[1], min(x.shape[1], GROUPS), endpoint=False).astype(np.int64)
    count = np.diff(np.r_[first, x.shape[1]]).astype(np.float64)
    mean = np.add.reduceat(ordered, first, axis=1) / count
    square = np.add.reduceat((ordered - np.repeat(mean, count.astype(np.int64), axis=1)) ** 2, first, axis=1)
    return _Grouped(mean, square / count, count)


def fit_two(x: FloatArray) -> Parameters:
    """x (B, n) → share, mean, SD of two components, (B, 2) each, smaller mean first; the best of several starts."""
    values, floor = _grouped(x), NARROWEST * x.std(axis=1)
    found, highest = [], []
    for start in STARTS:
        split = np.cumsum(values.count) <= max(1.0, start * x.shape[1])
        parameters, likelihood = _climb(values, _step(values, split[None], floor), floor)
        found.append(parameters)
        highest.append(likelihood)
    best = np.argmax(highest, axis=0)
    chosen = [np.take_along_axis(np.stack(v, axis=1), best[:, None, None], 1)[:, 0] for v in zip(*found, strict=True)]
    order = np.argsort(chosen[1], axis=1)
    return tuple(np.take_along_axis(values, order, 1) for values in chosen)


def _climb(values: _Grouped, start: Parameters, floor: FloatArray) -> tuple[Parameters, FloatArray]:
    """EM from a start, each sample until it gains no more: parameters, and mean log-likelihood (B,)."""
    found = tuple(part.copy() for part in start)
    reached, left = np.full(len(floor), -np.inf), np.ones(len(floor), np.bool_)
    for _ in range(STEPS):
        here = values.rows(left)
        mixture = TwoNormals(*(part[left] for part in found))
        log_parts = [mixture.log_part(here.mean, k) for k in (0, 1)]
        total = np.logaddexp(*log_parts)
        likelihood = total @ here.count / here.count.sum()
        rising = likelihood - reached[left] >= SETTLED
        reached[left] = likelihood
        for part, new in zip(found, _step(here, np.exp(log_parts[0] - total), floor[left]), strict=True):
            part[left] = new
        left[left] = rising
        if not left.any():
            break
    return found, reached


def _step(values: _Grouped, first: NDArray[np.generic], floor: FloatArray) -> Parameters:
    """M step: first (B, m) or (1, m), the probability that a value is of the first component."""
    parts = np.broadcast_to(first, values.mean.shape).astype(np.float64)
    masses, means, spreads = [], [], []
    for part in (parts * values.count, (1.0 - parts) * values.count):
        mass = np.maximum(part.sum(axis=1), 1e-9)
        mean = (part * values.mean).sum(axis=1) / mass
        variance = (part * ((values.mean - mean[:, None]) ** 2 + values.variance)).sum(axis=1) / mass
        masses.append(mass)
        means.append(mean)
        spreads.append(np.maximum(np.sqrt(variance), floor))
    share = np.stack(masses, axis=1)
    return share / share.sum(axis=1, keepdims=True), np.stack(means, axis=1), np.stack(spreads, axis=1)


def _frozen(parameters: Parameters) -> TwoNormals:
    return TwoNormals(*parameters)


def _named(parameters: Parameters) -> dict[str, float]:
    share, mean, sd = (values[0].tolist() for values in parameters)
    return {
        "share_1": share[0], "mean_1": mean[0], "sd_1": sd[0], "share_2": share[1], "mean_2": mean[1], "sd_2": sd[1],
    }  # fmt: skip


def _named_log(parameters: Parameters) -> dict[str, float]:
    share, mean, sd = (values[0].tolist() for values in parameters)
    middle, spread = np.exp(mean).tolist(), np.exp(sd).tolist()
    return {
        "share_1": share[0], "geometric_mean_1": middle[0], "geometric_sd_1": spread[0],
        "share_2": share[1], "geometric_mean_2": middle[1], "geometric_sd_2": spread[1],
    }  # fmt: skip


TWO_NORMALS = Family(fit_two, _frozen, _named, 5, LEAST, positive=False)
TWO_LOGNORMALS = Family(fit_two, _frozen, _named_log, 5, LEAST, log=True)

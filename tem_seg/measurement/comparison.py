"""Two size distributions side by side: how far apart they are, with intervals that know of images; certified values.

The usual p-value of Kolmogorov and Smirnov takes every particle for a draw of its own and calls any two sets of
micrographs different. Here whole images are exchanged between the two sets, as often as asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance

from tem_seg.core.errors import UserError
from tem_seg.core.weighted import known
from tem_seg.measurement import clusters
from tem_seg.measurement.budget import student, welch_satterthwaite
from tem_seg.measurement.density import estimate as density_of
from tem_seg.measurement.distributions import summarise
from tem_seg.measurement.intervals import FEWEST_IMAGES, Estimate, estimates, influence

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """Sizes (N,), the image that each is of (N,), and weights (N,), 1 by default; without unknown sizes."""

    sizes: FloatArray
    images: NDArray[np.generic]
    weights: FloatArray

    @classmethod
    def of(cls, values: ArrayLike, images: ArrayLike, weights: ArrayLike | None = None) -> Sample:
        """Leaves out particles without a finite size or of weight 0."""
        sizes, shares, kept = known(values, weights)
        keys = np.asarray(images).ravel()
        if len(keys) != len(kept):
            raise UserError(
                f"{len(kept)} sizes came with {len(keys)} images: say for each particle which image it is of"
            )
        return cls(sizes, keys[kept], shares)


@dataclass(frozen=True, slots=True)
class Difference:
    """Second minus first, in the sizes' unit, with its 95 % interval clustered by image; None where ``reason`` says
    why.
    """

    value: float
    low: float | None = None
    high: float | None = None
    standard_uncertainty: float | None = None
    degrees: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Second against first. ks: largest distance of the cumulative distributions, 0 to 1; ks_p: by exchanging images,
    None where ``ks_reason`` says why; wasserstein: mean distance that size has to be moved, in ``unit``.
    """

    mean: Difference
    median: Difference
    ks: float
    ks_p: float | None
    ks_reason: str | None
    n_permutations: int
    wasserstein: float
    unit: str
    paired: bool


def table(samples: Mapping[str, ArrayLike]) -> list[dict[str, Any]]:
    """Rows as in paper 002's table: name, n, mean, sd and median of each way of measuring."""
    found = {name: summarise(values) for name, values in samples.items()}
    return [{"name": name, **{key: row[key] for key in ("n", "mean", "sd", "median")}} for name, row in found.items()]


def compare(
    first: Sample, second: Sample, *, paired: bool, unit: str, rng: np.random.Generator, n_permutations: int = 999
) -> Comparison:
    """Two distributions of one quantity. paired: both measured the same images (by hand and automatically): images with
    the same key are then compared with themselves, which takes the scatter between images out of the difference.
    """
    if not len(first.sizes) or not len(second.sizes):
        raise UserError(f"{len(first.sizes)} particles against {len(second.sizes)}: a comparison needs some of both")
    between = _paired if paired else _unpaired
    ks = _Steps(first, second)
    p_value, reason = ks.p_value(rng, n_permutations, paired)
    distance = wasserstein_distance(first.sizes, second.sizes, first.weights, second.weights)
    return Comparison(
        between("mean", first, second), between("d50", first, second), ks.distance(ks.second), p_value, reason,
        n_permutations, float(distance), unit, paired,
    )  # fmt: skip


def _estimate(quantity: str, sample: Sample) -> Estimate:
    return estimates(sample.sizes, sample.images, sample.weights, quantities=[quantity])[quantity]


def _unpaired(quantity: str, first: Sample, second: Sample) -> Difference:
    found = [_estimate(quantity, sample) for sample in (first, second)]
    value = found[1].value - found[0].value
    for name, one in zip(("first", "second"), found, strict=True):
        if one.standard_uncertainty is None:
            return Difference(value, reason=f"of the {name}: {one.reason}")
    variances = [(one.standard_uncertainty or 0.0) ** 2 for one in found]
    degrees = welch_satterthwaite(variances, [one.degrees or np.inf for one in found])
    return _difference(value, float(np.sqrt(sum(variances))), degrees)


def _paired(quantity: str, first: Sample, second: Sample) -> Difference:
    """Each image's pull on the one figure less its pull on the other, in the place of an image's mean."""
    keys = np.unique(np.concatenate([first.images, second.images]))
    values, pulls, shares = [], [], []
    for sample in (first, second):
        found = _estimate(quantity, sample)
        values.append(found.value)
        density = density_of(sample.sizes, sample.weights)
        each = influence(quantity, sample.sizes, found.value, density) if density else np.zeros(len(sample.sizes))
        if each is None:
            return Difference(float("nan"), reason="a distribution has a gap at this quantile")
        place, total = np.searchsorted(keys, sample.images), sample.weights.sum()
        pulls.append(np.bincount(place, each * sample.weights, len(keys)) / total)
        shares.append(np.bincount(place, sample.weights, len(keys)) / total)
    if len(keys) < FEWEST_IMAGES:
        return Difference(
            values[1] - values[0], reason=f"{len(keys)} images: an interval needs {FEWEST_IMAGES} or more"
        )
    share = (shares[0] + shares[1]) / 2
    # what differs may differ by particle or by image: a working model half way between
    spread = clusters.Spread((pulls[1] - pulls[0]) / share, share, 1.0 + 1.0 / (len(keys) * share))
    degrees = clusters.equivalent_degrees(spread.critical())
    return _difference(values[1] - values[0], spread.standard_error, degrees)


def _difference(value: float, error: float, degrees: float) -> Difference:
    reach = student(degrees, 0.95) * error
    return Difference(value, value - reach, value + reach, error, degrees)


class _Steps:
    """The cumulative distributions of two samples over all sizes together, sorted once."""

    def __init__(self, first: Sample, second: Sample) -> None:
        sizes = np.concatenate([first.sizes, second.sizes])
        order = np.argsort(sizes, kind="stable")
        self.weights = np.concatenate([first.weights / first.weights.mean(), second.weights / second.weights.mean()])[
            order
        ]
        self.second = (np.arange(len(sizes)) >= len(first.sizes))[order]
        keys, image = np.unique(np.concatenate([first.images, second.images]), return_inverse=True)
        self.keys, self.image = len(keys), image.reshape(-1)[order]
        self.last = np.r_[np.diff(sizes[order]) > 0, True]  # of equal sizes, only the last step counts

    def distance(self, second: NDArray[np.bool_]) -> float:
        """Largest distance of the cumulative distributions where ``second`` (N,) says which sample a particle is of."""
        b, a = np.cumsum(self.weights * second), np.cumsum(self.weights * ~second)
        if not (a[-1] > 0 and b[-1] > 0):
            return 0.0
        return float(np.abs(a / a[-1] - b / b[-1])[self.last].max())

    def p_value(self, rng: np.random.Generator, count: int, paired: bool) -> tuple[float | None, str | None]:
        """Share of exchanges with a distance at least as large, the one observed counted among them."""
        unit = self.image if paired else self.image + self.keys * self.second  # an image of each sample is one
        _, unit = np.unique(unit, return_inverse=True)
        of_second = np.zeros(int(unit.max()) + 1, np.bool_)
        of_second[unit] = self.second
        if (paired and len(of_second) < 5) or (not paired and min(of_second.sum(), (~of_second).sum()) < FEWEST_IMAGES):
            return None, f"{len(of_second)} images can be exchanged in too few ways: a p-value needs more"
        observed, larger = self.distance(self.second), 0
        for _ in range(count):
            if paired:
                exchanged = self.second ^ (rng.random(len(of_second)) < 0.5)[unit]
            else:
                exchanged = rng.permutation(of_second)[unit]
            larger += self.distance(exchanged) >= observed * (1 - 1e-12)
        return (larger + 1) / (count + 1), None


@dataclass(frozen=True, slots=True)
class Certified:
    """A measured against a certified value, same unit; expanded uncertainties with k = 2.

    en = deviation / √(U² + U_certified²) (ISO 13528:2022, ISO/IEC 17043); agrees: |En| <= 1, None without an
    uncertainty.
    """

    deviation: float
    relative: float
    en: float | None
    agrees: bool | None
    verdict: str


def against_certified(
    value: float, expanded: float | None, certified: float, certified_expanded: float, *, missing: tuple[str, ...] = ()
) -> Certified:
    """missing: components that ``expanded`` does not contain (``Budget.missing``); the verdict names them."""
    if not (np.isfinite(certified) and certified > 0 and np.isfinite(certified_expanded) and certified_expanded >= 0):
        raise UserError(
            f"a certified value of {certified:g} ± {certified_expanded:g}: give a size above 0 and its expanded "
            "uncertainty with k = 2"
        )
    deviation = value - certified
    if expanded is None or not np.isfinite(value):
        return Certified(
            deviation, deviation / certified, None, None, "no verdict: the measured value has no uncertainty"
        )
    total = float(np.hypot(expanded, certified_expanded))
    if not total > 0:
        raise UserError("both uncertainties are 0: an En number divides by them")
    en = deviation / total
    verdict = (
        f"|En| = {abs(en):.2f} {'<= 1: agrees' if abs(en) <= 1 else '> 1: does not agree'} with the certified value"
    )
    if missing:
        verdict += f"; the uncertainty does not contain: {', '.join(missing)}"
    return Certified(deviation, deviation / certified, en, abs(en) <= 1, verdict)

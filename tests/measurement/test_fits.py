"""Fits against scipy's, tests of fit against scipy's bootstrap and published tables, and samples that cannot be
fitted.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from tem_seg.core.errors import UserError
from tem_seg.measurement import fits
from tem_seg.measurement.fits import FAMILIES, Fit, fit_all, pdf

SIMPLE = ("normal", "lognormal", "weibull", "gamma")


def one(values: NDArray[np.float64] | list[float], name: str, n_boot: int = 0) -> Fit:
    return fit_all(values, rng=np.random.default_rng(0), names=[name], n_boot=n_boot)[0]


def sample(n: int = 300) -> NDArray[np.float64]:
    return np.random.default_rng(4).lognormal(3, 0.3, n)


@pytest.mark.parametrize(("name", "oracle", "fixed"), [
    ("normal", stats.norm, {}),
    ("lognormal", stats.lognorm, {"floc": 0}),
    ("weibull", stats.weibull_min, {"floc": 0}),
    ("gamma", stats.gamma, {"floc": 0}),
])  # fmt: skip
def test_maximum_likelihood_is_scipys(name: str, oracle: stats.rv_continuous, fixed: dict[str, float]) -> None:
    values = sample()
    found, parameters = one(values, name), oracle.fit(values, **fixed)
    assert found.log_likelihood == pytest.approx(oracle.logpdf(values, *parameters).sum(), abs=1e-5)
    assert pdf(found, values) == pytest.approx(oracle.pdf(values, *parameters), rel=1e-3)
    n, k = 300, 2
    assert found.log_likelihood is not None
    assert found.aicc == pytest.approx(2 * k - 2 * found.log_likelihood + 2 * k * (k + 1) / (n - k - 1))


@pytest.mark.parametrize("name", SIMPLE)
def test_a_thousandfold_unit_changes_nothing_but_the_unit(name: str) -> None:
    values = sample()
    nm, um = one(values, name), one(values / 1000, name)
    assert nm.anderson_darling == pytest.approx(um.anderson_darling)
    assert pdf(nm, values) == pytest.approx(pdf(um, values / 1000) / 1000)


def test_anderson_darling_is_scipys() -> None:
    values = sample(80)
    found = one(values, "normal")
    # scipy standardises by the SD with n - 1, maximum likelihood has n
    standard = np.sort((values - values.mean()) / values.std())
    assert found.anderson_darling == pytest.approx(fits.anderson_darling(stats.norm.cdf(standard)[None])[0])
    assert found.anderson_darling == pytest.approx(
        stats.anderson(values, "norm", method="interpolate").statistic, rel=0.02
    )


def test_p_value_is_scipys_bootstrap() -> None:
    values = np.random.default_rng(8).gamma(9.0, 2.0, 60)
    mine = one(values, "normal", n_boot=499).p_value
    oracle = stats.goodness_of_fit(stats.norm, values, statistic="ad", n_mc_samples=499, rng=np.random.default_rng(1))
    assert mine == pytest.approx(oracle.pvalue, abs=0.05)


def test_p_values_of_true_families_are_even() -> None:
    """A tenth of all samples of a log-normal distribution are refused at 10 %; tables for known parameters refuse
    none.
    """
    rng = np.random.default_rng(11)
    found = [
        fit_all(rng.lognormal(3, 0.3, 60), rng=rng, names=["lognormal"], n_boot=59)[0].p_value or 0 for _ in range(200)
    ]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("name", "drawn"), [
    ("normal", lambda rng: rng.normal(50, 5, 600)),
    ("lognormal", lambda rng: rng.lognormal(3, 0.5, 600)),
    ("weibull", lambda rng: 20 * rng.weibull(2.5, 600)),
    ("gamma", lambda rng: rng.gamma(2.0, 10, 600)),
    ("two_normals", lambda rng: np.r_[rng.normal(20, 2, 350), rng.normal(40, 4, 250)]),
    ("two_lognormals", lambda rng: np.r_[rng.lognormal(2, 0.2, 350), rng.lognormal(3.3, 0.3, 250)]),
])  # fmt: skip
def test_the_family_that_was_drawn_from_wins(name: str, drawn: object) -> None:
    values = drawn(np.random.default_rng(6))  # type: ignore[operator]
    found = fit_all(values, rng=np.random.default_rng(0), n_boot=0)
    best = min(found, key=lambda fit: fit.aicc or np.inf)
    assert best.family == name and best.delta_aicc == 0
    assert sum(fit.weight or 0 for fit in found) == pytest.approx(1)
    assert (one(values, name, n_boot=99).p_value or 0) > 0.05


def test_two_populations_are_found() -> None:
    rng = np.random.default_rng(7)
    values = np.r_[rng.normal(10, 1, 1800), rng.normal(20, 2, 1200)]
    found = one(values, "two_normals").parameters
    assert found is not None
    assert found == pytest.approx(
        {"share_1": 0.6, "mean_1": 10, "sd_1": 1, "share_2": 0.4, "mean_2": 20, "sd_2": 2}, rel=0.07
    )
    assert one(values, "normal", n_boot=39).p_value == pytest.approx(1 / 40)


def test_grouping_of_large_samples_does_not_show() -> None:
    """More values than groups: the likelihood found by way of groups is that of scikit-free EM on every value."""
    rng = np.random.default_rng(9)
    values = np.r_[rng.normal(10, 1, 900), rng.normal(14, 2, 900)]
    found = one(values, "two_normals")
    parts = found.parameters or {}
    for _ in range(200):  # plain EM from there
        dense = [parts[f"share_{k}"] * stats.norm.pdf(values, parts[f"mean_{k}"], parts[f"sd_{k}"]) for k in (1, 2)]
        share = [density / sum(dense) for density in dense]
        for k, part in zip((1, 2), share, strict=True):
            mean = np.average(values, weights=part)
            spread = np.sqrt(np.average((values - mean) ** 2, weights=part))
            parts = {**parts, f"share_{k}": part.mean(), f"mean_{k}": mean, f"sd_{k}": spread}
    best = sum(parts[f"share_{k}"] * stats.norm.pdf(values, parts[f"mean_{k}"], parts[f"sd_{k}"]) for k in (1, 2))
    assert found.log_likelihood == pytest.approx(np.log(best).sum(), abs=0.05)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_densities_integrate_to_one(name: str) -> None:
    at = np.linspace(0.01, 200, 40_000)
    assert np.trapezoid(pdf(one(sample(), name), at), at) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("values", "name", "reason"), [
    ([], "normal", "0 particles: this fit needs 3"),
    ([5.0], "gamma", "1 particles: this fit needs 3"),
    ([5.0, 6.0, np.nan], "weibull", "2 particles: this fit needs 3"),
    ([5.0] * 20, "lognormal", "all 20 sizes are equal"),
    ([5.0] * 20, "two_normals", "all 20 sizes are equal"),
    ([0.0, 1.0, 2.0, 3.0], "lognormal", "a size of 0: this distribution is of positive sizes"),
    ([1.0, 2.0, 3.0, 4.0], "two_lognormals", "4 particles: this fit needs 10"),
])  # fmt: skip
def test_what_cannot_be_fitted_says_why(values: list[float], name: str, reason: str) -> None:
    found = one(values, name, n_boot=19)
    assert (found.parameters, found.aicc, found.p_value) == (None, None, None)
    assert found.reason is not None and reason in found.reason
    with pytest.raises(UserError, match=f"no {name} fit to draw"):
        pdf(found, [1.0])


def test_three_particles_have_a_fit_without_aicc() -> None:
    found = one([4.0, 5.0, 7.0], "normal")
    assert found.parameters is not None and found.aicc is None
    assert found.reason == "AICc of 2 parameters needs 4 particles"


def test_ties_and_few_values_do_not_crash() -> None:
    values = [10.0] * 40 + [11.0]
    for fit in fit_all(values, rng=np.random.default_rng(0), n_boot=5):
        assert fit.parameters is not None and all(np.isfinite(list(fit.parameters.values())))


def test_the_same_seed_gives_the_same_figures() -> None:
    first, second = (fit_all(sample(50), rng=np.random.default_rng(3), n_boot=5) for _ in range(2))
    assert first == second


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(UserError, match="no distribution cauchy: known are normal, lognormal"):
        fit_all([1.0, 2.0, 3.0], rng=np.random.default_rng(0), names=["cauchy"])

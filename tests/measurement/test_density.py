"""The kernel estimate against scipy's, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.stats import gaussian_kde

from tem_seg.measurement.density import REACH, _smoothed, estimate


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_scipys_estimate_of_ln_size(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(3, 0.3, 400)
    weights = sizes**2 if weighted else np.ones(400)
    found = estimate(sizes, weights)
    assert found is not None and found.logarithmic
    logs = np.log(sizes)
    spread = np.sqrt(np.cov(logs, aweights=weights))
    oracle = gaussian_kde(logs, bw_method=found.bandwidth / spread, weights=weights)
    at = np.array([10.0, 15.0, 20.0, 30.0])
    assert found(at) == pytest.approx(oracle(np.log(at)) / at, rel=3e-3)


def test_it_integrates_to_one_and_scales_with_the_unit() -> None:
    sizes = np.random.default_rng(1).lognormal(2, 0.5, 300)
    found, larger = estimate(sizes, np.ones(300)), estimate(10 * sizes, np.ones(300))
    assert found is not None and larger is not None
    assert np.trapezoid(found.density, found.at) == pytest.approx(1, abs=1e-4)
    assert larger.mode == pytest.approx(10 * found.mode)
    assert larger(10 * sizes) == pytest.approx(found(sizes) / 10, rel=1e-6)


def test_negative_values_are_taken_as_they_are() -> None:
    values = np.random.default_rng(2).normal(0, 1, 20_000)
    found = estimate(values, np.ones(20_000))
    assert found is not None and not found.logarithmic
    assert float(found(0.0)) == pytest.approx(0.399, rel=0.05)
    assert float(found(50.0)) == 0


def test_a_far_outlier_costs_no_memory_and_moves_no_mode() -> None:
    values = np.r_[np.random.default_rng(3).normal(20, 1, 500), 1e5]
    found = estimate(values, np.ones(501))
    assert found is not None and len(found.at) <= 1 << 14
    assert found.mode == pytest.approx(20, abs=1)


@pytest.mark.parametrize("sizes", [[], [3.0], [4.0, 4.0, 4.0]])
def test_nothing_to_estimate(sizes: list[float]) -> None:
    assert estimate(np.array(sizes), np.ones(len(sizes))) is None


@pytest.mark.parametrize("sd", [16.0, 3.3, 0.05])
def test_smoothing_is_scipys(sd: float) -> None:
    mass = np.random.default_rng(0).uniform(0, 1, 400)
    oracle = gaussian_filter1d(mass, sd, mode="constant", truncate=REACH)
    assert _smoothed(mass, sd) == pytest.approx(oracle, abs=1e-12)

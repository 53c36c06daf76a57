"""Summary figures and shared bins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from tem_seg.core.errors import UserError
from tem_seg.core.weighted import effective_number, quantile
from tem_seg.measurement.distributions import histogram, mode, summarise, weights_by


def test_summary_by_hand() -> None:
    found = summarise([1.0, 2.0, 3.0, 6.0, np.nan])
    expected = {"n": 4, "n_effective": 4.0, "mean": 3.0, "sd": np.sqrt(14 / 3), "median": 2.5, "d50": 2.5}
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["geometric_mean"] == pytest.approx(36 ** (1 / 4))
    # D10 of four particles lies below the middle of the first one's step, 1/8 = 0.125
    assert np.isnan(found["d10"]) and np.isnan(found["d90"]) and np.isnan(found["span"])


def test_summary_of_one_and_of_none() -> None:
    one, none = summarise([5.0]), summarise([])
    assert (one["n"], one["mean"], one["median"], one["mode"], one["d90"]) == (1, 5.0, 5.0, 5.0, 5.0)
    assert np.isnan(one["sd"]) and np.isnan(one["geometric_sd"])
    assert none["n"] == 0
    assert all(np.isnan(value) for key, value in none.items() if not key.startswith("n"))


def test_equal_sizes_have_no_spread() -> None:
    found = summarise([7.0] * 9)
    assert (found["d10"], found["d50"], found["d90"], found["mode"]) == (7.0,) * 4
    assert (found["sd"], found["span"]) == (0.0, 0.0)
    assert found["geometric_sd"] == 1.0


def test_sizes_of_zero_or_less_have_no_geometric_mean() -> None:
    found = summarise([-1.0, 0.0, 2.0, 5.0, 9.0])
    assert np.isnan(found["geometric_mean"]) and np.isnan(found["geometric_sd"])
    assert found["mean"] == 3.0 and np.isfinite(found["mode"])


@pytest.mark.parametrize("n", [5, 6, 101])
def test_quantiles_are_numpys_hazen(n: int) -> None:
    values = np.random.default_rng(n).lognormal(3, 0.4, n)
    levels = [0.1, 0.25, 0.5, 0.9]
    assert quantile(values, levels) == pytest.approx(np.quantile(values, levels, method="hazen"))


def test_whole_weights_are_repetitions() -> None:
    values, weights = np.array([3.0, 5.0, 8.0, 13.0]), np.array([30, 10, 20, 40])
    repeated = np.repeat(values, weights)
    found, expected = summarise(values, weights), summarise(repeated)
    assert found["mean"] == pytest.approx(expected["mean"])
    assert found["geometric_mean"] == pytest.approx(expected["geometric_mean"])
    # the number that scatters is not the sum of the weights
    assert found["n_effective"] == pytest.approx(100**2 / (900 + 100 + 400 + 1600))
    assert effective_number(np.full(7, 3.0)) == pytest.approx(7)


def test_scale_of_weights_and_order_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    values, weights = rng.lognormal(3, 0.3, 50), rng.uniform(1, 2, 50)
    order = rng.permutation(50)
    assert summarise(values[order], 7 * weights[order]) == pytest.approx(summarise(values, weights))


def test_lognormal_by_number_area_and_volume_is_hatch_and_choates() -> None:
    """Hatch and Choate 1929: weighting by d^k multiplies the median by exp(k s²), the geometric SD stays."""
    # a regular sample: quantiles at equal steps of probability, no chance in it
    values = np.exp(np.log(20) + 0.25 * norm.ppf((np.arange(200_000) + 0.5) / 200_000))
    for weighting, power in (("number", 0), ("area", 2), ("volume", 3)):
        found = summarise(values, weights_by(values, weighting))
        middle = np.log(20) + power * 0.25**2
        wanted = {"d10": middle - 1.2815516 * 0.25, "d50": middle, "d90": middle + 1.2815516 * 0.25}
        assert np.log([found[key] for key in wanted]) == pytest.approx(list(wanted.values()), abs=2e-4)
        assert found["geometric_sd"] == pytest.approx(np.exp(0.25), rel=1e-3)
        assert found["mean"] == pytest.approx(np.exp(middle + 0.25**2 / 2), rel=1e-3)
        # the bandwidth widens the curve, by 0.9 n^(-1/5) of its SD
        assert found["mode"] == pytest.approx(np.exp(middle - 0.25**2), rel=5e-3)


def test_counting_weights_multiply() -> None:
    assert weights_by([1.0, 2.0], "volume", counted=[1.0, 0.5]).tolist() == [1.0, 4.0]


def test_one_large_particle_hides_d90_by_volume() -> None:
    values = np.r_[np.full(50, 10.0), 60.0]  # 81 % of the volume in one particle
    found = summarise(values, weights_by(values, "volume"))
    assert np.isnan(found["d90"])
    assert found["n_effective"] < 2


def test_weights_of_zero_leave_out() -> None:
    assert summarise([1.0, 2.0, 3.0, 99.0], [1, 1, 1, 0]) == pytest.approx(summarise([1.0, 2.0, 3.0]), nan_ok=True)


def test_mode_of_two_peaks_is_the_higher_one() -> None:
    rng = np.random.default_rng(2)
    assert mode(np.r_[rng.normal(10, 0.5, 3000), rng.normal(20, 1.0, 3000)]) == pytest.approx(10, abs=0.3)


@pytest.mark.parametrize(("values", "weights", "message"), [
    ([1.0, 2.0], [1.0], "2 sizes came with 1 weights"),
    ([1.0, 2.0], [1.0, -2.0], "weight -2: weights are 0 or more"),
])  # fmt: skip
def test_bad_weights_are_named(values: list[float], weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        summarise(values, weights)


def test_an_unknown_weighting_is_named() -> None:
    with pytest.raises(UserError, match="no weighting 'mass': a distribution is weighted by number, area, volume"):
        weights_by([1.0], "mass")


def test_wide_samples_get_equal_steps_of_the_logarithm() -> None:
    values = np.random.default_rng(5).lognormal(3, 0.9, 500)
    found = histogram({"a": values})
    steps = np.diff(np.log(found["edges"]))
    assert found["rule"].endswith("in ln size")
    assert steps == pytest.approx(np.full(len(steps), steps[0]))
    assert sum(found["counts"]["a"]) == 500
    tenfold = histogram({"a": 10 * values})
    assert tenfold["counts"] == found["counts"]


def test_logarithmic_bins_of_equal_sizes_and_of_one_bin() -> None:
    assert histogram({"a": [3.0] * 4}, spacing="log")["counts"]["a"] == [4]
    assert sum(histogram({"a": [1.0, 1.1]}, spacing="log")["counts"]["a"]) == 2


def test_histograms_of_weights() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = histogram({"a": values}, {"a": values**3})
    assert sum(found["counts"]["a"]) == pytest.approx((values**3).sum())
    assert found["edges"] == histogram({"a": values})["edges"]


@pytest.mark.parametrize(("values", "spacing", "message"), [
    ([1.0, 2.0], "wide", "no spacing 'wide' of bins: use auto, linear or log"),
    ([0.0, 2.0], "log", "a size of 0 has no place on a logarithmic axis"),
])  # fmt: skip
def test_bad_spacings_are_named(values: list[float], spacing: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        histogram({"a": values}, spacing=spacing)


def test_bins_are_numpys_freedman_diaconis_for_one_sample() -> None:
    values = np.random.default_rng(0).lognormal(2.5, 0.2, 400)
    found = histogram({"truth": values})
    assert found["edges"] == pytest.approx(np.histogram_bin_edges(values, "fd").tolist())
    assert found["counts"]["truth"] == np.histogram(values, found["edges"])[0].tolist()
    assert found["rule"].startswith(f"Freedman–Diaconis: {len(found['edges']) - 1} bins of width ")


def test_truth_and_prediction_share_bins_and_lose_nothing() -> None:
    rng = np.random.default_rng(1)
    samples = {"truth": rng.normal(20, 2, 300), "prediction": rng.normal(23, 4, 150)}
    found = histogram(samples)
    assert {name: sum(counts) for name, counts in found["counts"].items()} == {"truth": 300, "prediction": 150}
    again = histogram({name: rng.permutation(values) for name, values in samples.items()})
    assert again == found
    twice = histogram({name: 2 * values for name, values in samples.items()})
    assert twice["counts"] == found["counts"]


def test_one_empty_sample_is_a_row_of_zeros() -> None:
    found = histogram({"truth": [1.0, 2.0, 3.0, 4.0], "prediction": []})
    assert sum(found["counts"]["truth"]) == 4
    assert set(found["counts"]["prediction"]) == {0}


@pytest.mark.parametrize("value", [0.0, 12.5, -3.0])
def test_equal_values_are_one_bin(value: float) -> None:
    found = histogram({"truth": [value] * 7})
    assert found["counts"]["truth"] == [7]
    assert found["edges"][0] < value < found["edges"][1]


def test_no_values_are_no_bins() -> None:
    assert histogram({"truth": [], "prediction": [np.nan]}) == {
        "edges": [], "counts": {"truth": [], "prediction": []}, "rule": "no values",
    }  # fmt: skip


def test_no_interquartile_range_and_far_outliers() -> None:
    flat = histogram({"truth": [5.0] * 20 + [9.0]})
    assert flat["rule"].startswith("Sturges (interquartile range 0): 6 bins")
    outlier = histogram({"truth": [*np.linspace(1, 2, 50), 1e6]}, spacing="linear")
    assert len(outlier["counts"]["truth"]) == 100
    assert "at most 100 bins" in outlier["rule"]

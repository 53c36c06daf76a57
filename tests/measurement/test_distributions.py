"""Summary figures and shared bins."""

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.measurement.distributions import histogram, summarise


def test_summary_by_hand() -> None:
    found = summarise([1.0, 2.0, 3.0, 6.0, np.nan])
    assert found == {"n": 4, "mean": 3.0, "sd": pytest.approx(np.sqrt(14 / 3)), "median": 2.5}


def test_summary_of_one_and_of_none() -> None:
    one, none = summarise([5.0]), summarise([])
    assert (one["n"], one["mean"], one["median"]) == (1, 5.0, 5.0)
    assert np.isnan(one["sd"])
    assert none["n"] == 0
    assert all(np.isnan(none[key]) for key in ("mean", "sd", "median"))


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
    outlier = histogram({"truth": [*np.linspace(1, 2, 50), 1e6]})
    assert len(outlier["counts"]["truth"]) == 100
    assert "at most 100 bins" in outlier["rule"]

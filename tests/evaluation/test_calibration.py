"""Calibration against draws whose probabilities are known, and counts by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from tem_seg.evaluation.calibration import (
    Fit,
    applied,
    counting_score,
    expected_error,
    fit,
    outcomes,
    reliability,
    score_figures,
)
from tem_seg.evaluation.matching import Matching, best_f1, counts_at


def drawn(rng: np.random.Generator, count: int, temperature: float, bias: float) -> tuple[Any, Any]:
    """Scores (count,), and hits whose probability is the calibrated score."""
    scores = rng.beta(0.7, 0.7, count).clip(1e-4, 1 - 1e-4)
    return scores, rng.random(count) < expit(logit(scores) / temperature + bias)


def matching_of(scores: Any, hits: Any) -> Matching:
    order = np.argsort(-scores, kind="stable")
    matched = np.where(hits[order], np.arange(len(scores)), -1)
    return Matching(scores[order], matched, np.where(matched >= 0, 0.8, 0.0), int(hits.sum()), np.arange(len(scores)))


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.5, -0.8), (0.5, 0.6)])
def test_the_temperature_and_bias_of_the_draws_come_back(temperature: float, bias: float) -> None:
    found = fit(*drawn(np.random.default_rng(0), 40_000, temperature, bias))
    assert found is not None
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert found.bias == pytest.approx(bias, abs=0.04)


def test_calibrated_scores_need_no_second_calibration() -> None:
    scores, hits = drawn(np.random.default_rng(1), 20_000, 2.0, -1.0)
    first = fit(scores, hits)
    assert first is not None
    second = fit(first.confidence(scores), hits)
    assert second is not None
    assert (second.temperature, second.bias) == (pytest.approx(1.0, abs=1e-3), pytest.approx(0.0, abs=1e-3))


def test_confidence_keeps_the_order_and_stays_a_probability() -> None:
    scores = np.array([0.0, 1e-5, 0.2, 0.5, 0.99, 1.0])
    found = Fit(1.7, -0.4).confidence(scores)
    assert (np.diff(found) > 0).all() or (np.diff(found)[1:] > 0).all()
    assert (found > 0).all() and (found < 1).all()
    np.testing.assert_allclose(Fit(1.0, 0.0).confidence(scores[1:5]), scores[1:5], rtol=1e-9)


def test_separable_scores_stay_finite() -> None:
    scores = np.r_[np.full(30, 0.9), np.full(30, 0.1)]
    found = fit(scores, scores > 0.5)
    assert found is not None
    # Platt's targets: 31/32 of the right and 1/32 of the wrong ones
    np.testing.assert_allclose(found.confidence(np.array([0.9, 0.1])), [31 / 32, 1 / 32], atol=1e-4)


def test_too_few_and_senseless_scores_have_no_fit() -> None:
    rng = np.random.default_rng(2)
    scores, hits = drawn(rng, 200, 1.0, 0.0)
    assert fit(scores[hits][:150], hits[hits][:150]) is None  # none is wrong
    assert fit(np.zeros(0), np.zeros(0, bool)) is None
    assert fit(1 - scores, hits) is None  # a higher score is a worse sign
    with pytest.raises(ValueError, match="temperature must be positive"):
        Fit(-1.0, 0.0)


def test_bins_and_errors_by_hand() -> None:
    # 20 at 0.9 of which 12 are right, 20 at 0.3 of which 6: errors 0.3 and 0 in halves of the predictions
    scores = np.r_[np.full(20, 0.9), np.full(20, 0.3)]
    hits = np.r_[np.arange(20) < 12, np.arange(20) < 6]
    bins = reliability(scores, None, hits)
    assert [entry["n"] for entry in bins] == [10, 10, 10, 10]
    assert bins[0]["score"] == pytest.approx(0.3) and bins[0]["confidence"] is None
    assert [entry["precision"] for entry in bins] == [0.6, 0.0, 1.0, 0.2]
    assert expected_error(bins, "score") == pytest.approx((0.3 + 0.3 + 0.1 + 0.7) / 4)
    assert expected_error(bins, "confidence") is None
    assert len(reliability(np.linspace(0, 1, 1000), None, np.ones(1000, bool))) == 10
    assert reliability(scores[:9], None, hits[:9]) == [] and expected_error([], "score") is None


def test_calibration_carries_over_to_test() -> None:
    rng = np.random.default_rng(3)
    validation, test = ([matching_of(*drawn(rng, 1500, 3.0, -0.7)) for _ in range(3)] for _ in range(2))
    found = score_figures(validation, test)
    assert found["n"] == 4500 and found["note"] is None and len(found["bins"]) == 10
    assert found["ece_before"] > 0.1
    assert found["ece_after"] < 0.03
    assert found["temperature"] == pytest.approx(3.0, rel=0.2)
    shuffled = score_figures(validation[::-1], test[::-1])
    assert shuffled["temperature"] == pytest.approx(found["temperature"])
    assert shuffled["ece_before"] == pytest.approx(found["ece_before"])


def test_what_is_unknown_is_none_with_a_sentence() -> None:
    test = [matching_of(*drawn(np.random.default_rng(4), 300, 1.0, 0.0))]
    absent = score_figures(None, test)
    assert absent["temperature"] is absent["ece_after"] is None
    assert absent["ece_before"] is not None and "no validation predictions" in absent["note"]
    few = score_figures([matching_of(np.full(30, 0.9), np.arange(30) < 5)], test)
    assert few["bias"] is None and "30 validation predictions 5 are right and 25 wrong" in few["note"]
    nothing = score_figures(test, [])
    assert nothing["bins"] == [] and nothing["ece_after"] is None and "0 test predictions" in nothing["note"]
    scores, hits = drawn(np.random.default_rng(4), 300, 1.0, 0.0)
    assert "no sign of a better" in score_figures([matching_of(1 - scores, hits)], test)["note"]


def test_outcomes_of_no_image_are_empty() -> None:
    scores, hits = outcomes([])
    assert scores.shape == hits.shape == (0,) and hits.dtype == bool


def test_results_carry_what_is_known() -> None:
    rows = [{"image_id": 1, "score": 0.5, "edge_sd_px": 0.4}, {"image_id": 1, "score": 0.9, "edge_sd_px": None}]
    both = applied(rows, {"temperature": 2.0, "bias": 1.0, "edge_sd_factor": 3.0})
    assert both[0]["confidence"] == pytest.approx(float(expit(1.0)))
    assert both[1]["confidence"] == pytest.approx(float(expit(logit(0.9) / 2 + 1)))
    assert both[0]["edge_sd_px"] == pytest.approx(1.2) and both[1]["edge_sd_px"] is None
    for unknown in (None, {}, {"temperature": None, "bias": None, "edge_sd_factor": None}):
        assert applied(rows, unknown) == [{"image_id": 1, "score": 0.5}, {"image_id": 1, "score": 0.9}]
    assert applied([], {"temperature": 2.0, "bias": 1.0, "edge_sd_factor": 3.0}) == []
    assert rows[0]["edge_sd_px"] == 0.4  # the input is left alone


@pytest.mark.parametrize("seed", range(4))
def test_the_counting_score_loses_nothing_where_scores_are_probabilities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matching = matching_of(*drawn(rng, 20_000, 1.0, 0.0))
    _, f1 = best_f1([matching])
    chosen = counting_score([matching])
    assert counts_at([matching], chosen)["f1"] == pytest.approx(f1, abs=0.003)
    assert chosen == pytest.approx(f1 / 2, abs=0.03)  # Lipton et al. 2014: of calibrated probabilities


def test_the_counting_score_varies_less_than_the_top_of_the_curve() -> None:
    """Over few particles: the reason why it is taken."""
    few = [matching_of(*drawn(np.random.default_rng(seed), 150, 1.7, 0.4)) for seed in range(60)]
    spreads = [np.std([logit(choose([one])) for one in few]) for choose in (counting_score, lambda m: best_f1(m)[0])]
    assert spreads[0] < 0.8 * spreads[1]


def test_without_a_calibration_the_counting_score_has_the_best_f1() -> None:
    few = matching_of(np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, True, False, False]))
    assert counting_score([few]) == best_f1([few])[0] == 0.8
    assert np.isnan(counting_score([]))


@pytest.mark.parametrize("confidence", [0.01, 0.4, 0.99])
def test_the_score_of_a_confidence_has_that_confidence(confidence: float) -> None:
    found = Fit(1.7, -0.6)
    assert float(found.confidence(np.array([found.score(confidence)]))[0]) == pytest.approx(confidence, rel=1e-4)

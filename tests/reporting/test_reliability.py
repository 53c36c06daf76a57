"""The reliability diagram."""

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.reporting.reliability import reliability, wilson

BINS = [
    {"score": 0.2, "confidence": 0.1, "precision": 0.1, "n": 40},
    {"score": 0.9, "confidence": 0.7, "precision": 0.75, "n": 40},
]


def test_scores_and_confidences_are_drawn_with_their_errors() -> None:
    drawn = reliability({"bins": BINS, "temperature": 2.0, "ece_before": 0.125, "ece_after": 0.025})
    assert drawn is not None
    assert "calibrated: error 0.025" in drawn and "as the model gives them: error 0.125" in drawn
    assert "Reliability of 80 predictions in 2 bins" in drawn


def test_without_a_fit_scores_alone_are_drawn_and_without_bins_nothing() -> None:
    unfitted = [entry | {"confidence": None} for entry in BINS]
    drawn = reliability({"bins": unfitted, "temperature": None, "ece_before": 0.125, "ece_after": None})
    assert drawn is not None and "calibrated" not in drawn
    assert reliability({}) is None and reliability({"bins": []}) is None


def test_the_interval_is_wilsons() -> None:
    """5 of 10: 0.237 to 0.763 (Newcombe 1998's table for score intervals: 81/263 → 0.2553, 0.3662)."""
    low, high = wilson(np.array([0.5, 81 / 263, 0.0]), np.array([10, 263, 10]))
    np.testing.assert_allclose(low[:2], [0.2366, 0.2553], atol=2e-4)
    np.testing.assert_allclose(high[:2], [0.7634, 0.3662], atol=2e-4)
    assert low[2] == 0.0
    assert high[2] == pytest.approx(0.2775, abs=1e-3)

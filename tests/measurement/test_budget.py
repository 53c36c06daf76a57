"""Budgets by hand, GUM's formulas against its own examples, and what is not stated."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.measurement.budget import Budget, Calibration, Edge, budget, coverage_of, student, welch_satterthwaite
from tem_seg.measurement.intervals import Estimate, estimates

EIGHT = Estimate("mean", 50.0, 48.0, 52.0, 0.8457, 7.0, 0.95, 8, 400)
TWO = Estimate("mean", 50.0, None, None, None, None, 0.95, 2, 90, None, "particles of 2 images")


def by_name(found: Budget) -> dict[str, float | None]:
    return {row.name: row.contribution_nm for row in found.components}


def test_a_budget_by_hand() -> None:
    found = budget(EIGHT, Calibration(0.01, "certificate 12"), Edge(0.3))
    # 1 % of 50 nm; ± 0.3 nm rectangular, on both sides of the particle; counting
    expected = {"pixel size": 0.5, "edge, common": 2 * 0.3 / math.sqrt(3), "edge, widening": 0.0, "counting": 0.8457}
    assert by_name(found) == pytest.approx(expected)
    combined = math.sqrt(0.25 + 0.12 + 0.8457**2)
    assert found.combined_nm == pytest.approx(combined)
    assert found.expanded_nm == pytest.approx(2 * combined)
    assert found.degrees == pytest.approx(7 * (combined / 0.8457) ** 4)
    assert found.missing == () and found.reason is None
    assert sum(row.share or 0 for row in found.components) == pytest.approx(1)
    reach = math.hypot(2.0, 1.959964 * math.sqrt(0.37))
    assert (found.low_nm, found.high_nm) == pytest.approx((50 - reach, 50 + reach))


def test_counting_alone_is_countings_interval() -> None:
    lopsided = dataclasses.replace(EIGHT, low=49.0, high=53.0)
    found = budget(lopsided, Calibration(0.0, "exact"), Edge(0.0))
    assert (found.low_nm, found.high_nm) == (49.0, 53.0)
    assert found.factor_95 == pytest.approx(2.3646, abs=1e-4)  # t, 7 degrees of freedom
    assert found.coverage_of_2 == pytest.approx(0.9144, abs=1e-4)


def test_what_is_not_stated_is_said_and_not_counted_as_known() -> None:
    found = budget(EIGHT, None, None)
    assert found.missing == ("pixel size", "edge, common", "edge, widening")
    assert found.combined_nm == pytest.approx(0.8457)
    notes = {row.name: row.note for row in found.components}
    assert notes["pixel size"] == "not stated: each 1 % of the pixel size is 0.5 nm"
    assert all(row.share is None for row in found.components[:3])


def test_too_few_images_combine_nothing() -> None:
    found = budget(TWO, Calibration(0.01, "certificate"), Edge(0.1))
    assert (found.combined_nm, found.expanded_nm, found.low_nm, found.factor_95) == (None,) * 4
    assert found.reason == "counting: particles of 2 images"
    assert found.missing == ("counting",)
    assert by_name(found)["pixel size"] == pytest.approx(0.5)


@pytest.mark.parametrize(("given", "standard"), [
    (Calibration(0.02, "k = 2 on the certificate", divisor=2.0), 0.01),
    (Calibration(0.02, "limits", "rectangular"), 0.02 / math.sqrt(3)),
    (Calibration(0.02, "limits, middle likelier", "triangular"), 0.02 / math.sqrt(6)),
])  # fmt: skip
def test_statements_become_standard_uncertainties(given: Calibration, standard: float) -> None:
    row = budget(EIGHT, given, None).components[0]
    assert row.standard == pytest.approx(standard)
    assert row.contribution_nm == pytest.approx(50 * standard)
    assert row.note == given.source


def test_a_measured_bias_takes_the_place_of_the_bound() -> None:
    row = budget(EIGHT, None, Edge(1.0, bias_nm=-0.3, bias_standard_nm=0.4, factor=2.5)).components[1]
    assert row.contribution_nm == pytest.approx(2.5 * 0.5)
    assert "measured bias" in row.note


def test_quantiles_widen_by_the_edges_noise() -> None:
    d90 = dataclasses.replace(EIGHT, quantity="d90", value=60.0, low=58.0, high=62.0)
    edge = Edge(0.5, random_sd_nm=3.0, sd_nm=5.0)
    assert by_name(budget(d90, None, edge, median_nm=50.0))["edge, widening"] == pytest.approx(10 * (1 - 4 / 5))
    assert by_name(budget(EIGHT, None, edge))["edge, widening"] == 0
    with pytest.raises(UserError, match="the budget of d90 needs the median: give median_nm"):
        budget(d90, None, edge)


def test_units_scale() -> None:
    sizes = np.random.default_rng(0).lognormal(3, 0.2, 120)
    owner = np.repeat(np.arange(6), 20)
    one = budget(estimates(sizes, owner)["d50"], Calibration(0.01, "c"), Edge(0.2))
    ten = budget(estimates(10 * sizes, owner)["d50"], Calibration(0.01, "c"), Edge(2.0))
    assert ten.combined_nm == pytest.approx(10 * (one.combined_nm or 0))
    assert ten.degrees == pytest.approx(one.degrees)


def test_welch_and_satterthwaite() -> None:
    # JCGM 100:2008, G.4.1, its example: u = 0.25, 0.57, 0.82 % of 10, 5, 15 values: 19 degrees of freedom
    variances = [0.25**2, 0.57**2, 0.82**2]
    assert welch_satterthwaite(variances, [9, 4, 14]) == pytest.approx(19, abs=0.1)
    assert np.isinf(welch_satterthwaite([1.0, 0.0], [np.inf, 3]))
    assert student(19, 0.95) == pytest.approx(2.093, abs=1e-3)
    assert (coverage_of(2, np.inf), coverage_of(2, 2)) == pytest.approx((0.9545, 0.8165), abs=1e-4)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Calibration(-0.1, "x"), "a relative uncertainty of the pixel size of -0.1: give 0.01 for 1 %"),
    (lambda: Calibration(math.nan, "x"), "a relative uncertainty of the pixel size of nan"),
    (lambda: Calibration(0.1, "x", "gaussian"), "no distribution 'gaussian'"),
    (lambda: Calibration(0.1, "x", divisor=0), "a divisor of 0"),
    (lambda: Calibration(0.1, " "), "without a source"),
    (lambda: Edge(-1), "edge_sd_nm of -1: it is a number of 0 or more"),
    (lambda: Edge(1, bias_nm=math.nan), "bias_nm of nan"),
    (lambda: Edge(1, random_sd_nm=1), "give sd_nm of all measured diameters too"),
])  # fmt: skip
def test_bad_statements_are_named(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()  # type: ignore[operator]

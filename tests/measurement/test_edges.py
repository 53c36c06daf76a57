"""Edges displaced by known processes, and what they make of a diameter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import circulant
from shapely import Point, affinity

from tem_seg.core.errors import UserError
from tem_seg.measurement.edges import averaged, diameter_factor, random_diameter_sd, widening


def test_a_disc_grows_by_two_and_an_ellipse_by_more() -> None:
    assert diameter_factor(np.pi * 20, 20) == pytest.approx(2)
    # an ellipse 40 x 10 moved outward by h: area grows by L h
    ellipse = affinity.scale(Point(0, 0).buffer(1, quad_segs=400), 20, 5)
    diameter = [np.sqrt(4 * shape.area / np.pi) for shape in (ellipse, ellipse.buffer(0.01, quad_segs=100))]
    factor = diameter_factor(ellipse.length, diameter[0])
    assert (diameter[1] - diameter[0]) / 0.01 == pytest.approx(float(factor), rel=1e-3)
    assert factor > 2.5


def test_limits_of_the_correlation_length() -> None:
    assert averaged([0.0, 1e9]) == pytest.approx([np.sqrt(1 / 8), 1.0], rel=1e-4)
    assert averaged(0.0, arc=0.25) == pytest.approx(0.5, rel=1e-4)
    assert (np.diff(averaged([0.0, 0.01, 0.1, 0.3, 1.0, 10.0])) > 0).all()


@pytest.mark.parametrize("length", [0.02, 0.1, 0.5])
def test_it_is_the_variance_of_a_process_round_an_outline(length: float) -> None:
    """Exact covariances on a ring of 800 points: the mean over all, and over an eighth."""
    points = 800
    steps = np.minimum(np.arange(points), points - np.arange(points)) / points
    covariance = circulant(np.exp(-steps / length))
    whole, arc = covariance.mean(), covariance[: points // 8, : points // 8].mean()
    assert averaged(length) == pytest.approx(np.sqrt(whole / arc), rel=1e-3)


def test_of_independent_arcs_a_diameter_sees_little() -> None:
    # 0.5 px, eight arcs, both sides: 2 · 0.5 / √8
    assert random_diameter_sd(0.5) == pytest.approx(0.35355, rel=1e-4)
    assert random_diameter_sd([0.5, 1.0], correlation=1e9) == pytest.approx([1.0, 2.0], rel=1e-4)


def test_noise_widens_a_normal_distribution_by_that() -> None:
    true, noise, z = 3.0, 1.5, 1.2815516
    measured = np.hypot(true, noise)
    shift = widening(50 + z * measured, 50, measured, noise)
    assert shift == pytest.approx(z * (measured - true))
    assert widening(50 - z * measured, 50, measured, noise) == pytest.approx(-shift)
    assert widening(60, 50, 1.0, 2.0) == 10 and widening(50, 50, 0.0, 1.0) == 0


@pytest.mark.parametrize(("correlation", "arc", "message"), [
    (-0.1, 0.125, "a correlation length of -0.1 of the outline"),
    (float("nan"), 0.125, "a correlation length of nan"),
    (0.1, 0.0, "an arc of 0 outlines"),
])  # fmt: skip
def test_bad_lengths_are_named(correlation: float, arc: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        averaged(correlation, arc)

"""Variances and critical values against closed forms, analysis of variance by hand, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tem_seg.measurement import clusters
from tem_seg.measurement.clusters import Spread, components, equivalent_degrees, grouped, spread


@pytest.mark.parametrize("images", [3, 5, 40, 200])
def test_images_of_equal_number_are_students_t(images: int) -> None:
    rng = np.random.default_rng(images)
    owner = np.repeat(np.arange(images), 12)
    values = rng.normal(size=len(owner)) + rng.normal(size=images)[owner]
    found = spread(values, grouped(owner, np.ones(len(owner))))
    means = values.reshape(images, 12).mean(axis=1)
    assert found.standard_error == pytest.approx(means.std(ddof=1) / np.sqrt(images))
    assert found.critical() == pytest.approx(stats.t.ppf(0.975, images - 1), rel=1e-4)
    assert found.critical(0.8) == pytest.approx(stats.t.ppf(0.9, images - 1), rel=1e-4)
    assert found.satterthwaite == pytest.approx(images - 1)


def test_satterthwaites_degrees_are_those_of_the_matrices() -> None:
    share, working = np.array([0.1, 0.2, 0.3, 0.4]), np.array([2.0, 1.0, 1.5, 0.5])
    found = Spread(np.zeros(4), share, working)
    centred = np.eye(4) - share[None]
    form = centred.T @ np.diag(found.factors) @ centred @ np.diag(working)
    assert np.trace(form) == pytest.approx(share**2 @ working)  # unbiased under the working model: CR2
    assert found.satterthwaite == pytest.approx(np.trace(form) ** 2 / np.trace(form @ form))


@pytest.mark.parametrize("numbers", [(3, 10, 40, 60), (5, 5, 90), (1, 2, 3, 4, 50, 60)])
def test_critical_values_are_exact_of_unequal_images(numbers: tuple[int, ...]) -> None:
    """400,000 draws from the working model: 5 % beyond; the normal approximations are far off here."""
    share = np.array(numbers) / sum(numbers)
    working = 0.3 + 1 / np.array(numbers)
    found = Spread(np.zeros(len(share)), share, working)
    drawn = np.random.default_rng(0).normal(size=(400_000, len(share))) * np.sqrt(working)
    means = drawn @ share
    errors = np.sqrt((drawn - means[:, None]) ** 2 @ found.factors)
    assert np.mean(np.abs(means) > found.critical() * errors) == pytest.approx(0.05, abs=0.0015)


@pytest.mark.parametrize("most", [0.9, 0.99, 0.997, 0.999, 0.9995, 0.9999, 0.99999, 1 - 2e-6])
@pytest.mark.parametrize("others", [2, 10, 200])
def test_degrees_where_one_image_nearly_outweighs_all_others(most: float, others: int) -> None:
    """Weighing by area, one large particle does."""
    found = Spread(np.zeros(others + 1), np.array([most, *[(1 - most) / others] * others]), np.ones(others + 1))
    roots = np.linalg.eigvalsh(found._forms()[1])
    assert found.satterthwaite == pytest.approx(roots.sum() ** 2 / (roots**2).sum(), abs=1e-3)
    assert np.isfinite(found.critical())


def test_one_image_that_outweighs_all_others_has_no_critical_value() -> None:
    share = np.array([1 - 2e-10, 1e-10, 1e-10])
    assert np.isinf(Spread(np.zeros(3), share, np.ones(3)).critical())


def test_analysis_of_variance_by_hand() -> None:
    """Three images of two: means 2, 4, 9, mean 5; within 2 / 3 each, between (26 / 3) ... by the textbook."""
    values = np.array([1.0, 3.0, 3.0, 5.0, 8.0, 10.0])
    owner = np.repeat([0, 1, 2], 2)
    found = components(values, grouped(owner, np.ones(6)))
    within = 6.0 / 3  # six squared deviations of 1, 6 - 3 degrees of freedom
    between = 2 * ((2 - 5) ** 2 + (4 - 5) ** 2 + (9 - 5) ** 2) / 2
    assert found.within == pytest.approx(within)
    assert found.between == pytest.approx((between - within) / 2)


def test_components_are_unbiased_with_unequal_images_and_weights() -> None:
    rng = np.random.default_rng(4)
    owner = np.repeat(np.arange(12), rng.integers(2, 40, 12))
    groups = grouped(owner, rng.uniform(0.5, 2, len(owner)))
    drawn = [rng.normal(size=12)[owner] * 2 + rng.normal(size=len(owner)) * 3 for _ in range(600)]
    found = [components(values, groups) for values in drawn]
    assert np.mean([one.within for one in found]) == pytest.approx(9, rel=0.03)
    assert np.mean([one.between for one in found]) == pytest.approx(4, rel=0.08)


def test_one_particle_an_image_is_all_between() -> None:
    found = components(np.array([1.0, 2.0, 6.0]), grouped(np.arange(3), np.ones(3)))
    assert (found.within, found.between) == (0.0, pytest.approx(7.0))


def test_keys_of_images_may_be_anything() -> None:
    assert grouped(np.array(["b.tif", "a.tif", "b.tif"]), np.ones(3)).share.tolist() == [1 / 3, 2 / 3]


@pytest.mark.parametrize("degrees", [0.7, 2.0, 11.5, 400.0])
def test_equivalent_degrees_give_the_critical_value_back(degrees: float) -> None:
    assert equivalent_degrees(float(stats.t.ppf(0.975, degrees))) == pytest.approx(degrees, rel=1e-3)


def test_the_normal_distribution_has_infinite_degrees() -> None:
    assert np.isinf(equivalent_degrees(1.9599))
    assert equivalent_degrees(1e30) == pytest.approx(0.05)
    assert clusters.MANY > 40

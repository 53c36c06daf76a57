"""Estimates with intervals: what they are, when they are refused, laws. Coverage: scripts/coverage_of_intervals.py."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from tem_seg.core.errors import UserError
from tem_seg.measurement.distributions import weights_by
from tem_seg.measurement.intervals import estimates


def drawn(images: int = 6, each: int = 40, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), each)
    return 20 * np.exp(0.1 * rng.normal(size=images)[owner] + 0.25 * rng.normal(size=len(owner))), owner


def test_the_mean_of_equal_images_is_students_interval_of_their_means() -> None:
    sizes, owner = drawn()
    found = estimates(sizes, owner)["mean"]
    means = sizes.reshape(6, 40).mean(axis=1)
    reach = stats.t.ppf(0.975, 5) * means.std(ddof=1) / np.sqrt(6) / means.mean()
    assert found.low == pytest.approx(means.mean() * np.exp(-reach), rel=1e-4)
    assert found.high == pytest.approx(means.mean() * np.exp(reach), rel=1e-4)
    assert found.degrees == pytest.approx(5, rel=1e-3)
    assert (found.images, found.particles, found.level) == (6, 240, 0.95)


def test_values_are_those_of_the_summary_and_lie_inside() -> None:
    sizes, owner = drawn()
    for weighting in ("number", "area", "volume"):
        found = estimates(sizes, owner, weights_by(sizes, weighting))
        assert found["d10"].value < found["d50"].value < found["d90"].value
        for one in found.values():
            assert one.low is not None and one.high is not None
            assert one.low < one.value < one.high
            assert one.standard_uncertainty is not None and one.components is not None


def test_units_scale_and_order_and_names_of_images_do_not_matter() -> None:
    sizes, owner = drawn()
    order = np.random.default_rng(1).permutation(len(sizes))
    names = np.array([f"image {9 - k}" for k in owner])
    plain, other = estimates(sizes, owner), estimates(1000 * sizes[order], names[order])
    for name, one in plain.items():
        same = other[name]
        assert (same.value, same.low, same.high, same.standard_uncertainty) == pytest.approx(
            tuple(1000 * float(v or 0) for v in (one.value, one.low, one.high, one.standard_uncertainty)), rel=1e-6
        )


def test_particles_of_one_image_are_not_independent() -> None:
    """The same particles, each image's four times over: nothing new was seen, and the interval does not shrink."""
    sizes, owner = drawn()
    once, often = estimates(sizes, owner)["mean"], estimates(np.tile(sizes, 4), np.tile(owner, 4))["mean"]
    assert often.standard_uncertainty == pytest.approx(once.standard_uncertainty, rel=1e-6)


def test_a_higher_level_is_a_wider_interval() -> None:
    sizes, owner = drawn()
    widths = [one.high - one.low for level in (0.5, 0.9, 0.99) if (one := estimates(sizes, owner, level=level)["d50"])]  # type: ignore[operator]
    assert sorted(widths) == widths


@pytest.mark.parametrize("images", [1, 2])
def test_fewer_than_three_images_are_refused_with_the_reason(images: int) -> None:
    sizes, owner = drawn(images)
    for one in estimates(sizes, owner).values():
        assert np.isfinite(one.value)
        assert (one.low, one.high, one.standard_uncertainty, one.degrees) == (None,) * 4
        assert one.reason is not None
        assert one.reason.startswith(f"particles of {images} image{'s' * (images > 1)}: what differs between images")


def test_images_without_known_sizes_are_no_images() -> None:
    sizes, owner = drawn(4)
    sizes[owner == 3] = np.nan
    assert estimates(sizes, owner)["mean"].images == 3
    weights = np.where(owner == 2, 0.0, 1.0)
    assert estimates(sizes, owner, weights)["mean"].reason is not None


def test_no_particles_one_particle_few_particles() -> None:
    for sizes in ([], [5.0], [5.0, 6.0, 7.0]):
        found = estimates(sizes, np.arange(len(sizes)))
        assert found["d10"].low is None
    assert found["d10"].reason == "3 particles do not determine it"
    assert found["mean"].low is not None and found["d50"].low is not None
    assert estimates([], [])["mean"].reason == "0 particles do not determine it"


def test_equal_sizes_are_certain_of_counting() -> None:
    found = estimates([8.0] * 12, np.repeat([0, 1, 2], 4))
    for one in found.values():
        assert (one.low, one.value, one.high, one.standard_uncertainty) == (8.0, 8.0, 8.0, 0.0)


def test_one_particle_an_image_is_a_plain_sample() -> None:
    sizes = np.random.default_rng(2).lognormal(3, 0.05, 60)
    found = estimates(sizes, np.arange(60))["mean"]
    assert found.standard_uncertainty == pytest.approx(stats.sem(sizes), rel=1e-3)


def test_two_populations_far_apart_have_a_median_that_nobody_knows() -> None:
    sizes = np.r_[np.full(30, 10.0), np.full(30, 1000.0)] * np.random.default_rng(0).normal(1, 0.001, 60)
    found = estimates(sizes, np.tile([0, 1, 2], 20))["d50"]
    assert found.low is not None and found.high is not None
    assert found.low < 11 and found.high > 900


def test_ends_beyond_the_sizes_seen_come_from_the_density() -> None:
    sizes, owner = drawn(3, each=4, seed=3)
    found = estimates(sizes, owner)
    assert found["d90"].high is not None and found["d90"].high > sizes.max()
    assert found["d10"].low is not None and 0 < found["d10"].low < sizes.min()


def test_what_is_open_by_a_factor_of_a_thousand_has_no_interval() -> None:
    """By volume one large particle decides: D10's interval was 4e-71 to 1e74."""
    sizes = np.array([50.0, 51.0, 52.0, 200.0])
    found = estimates(sizes, np.arange(4), weights_by(sizes, "volume"))
    assert (found["d10"].low, found["d10"].high, found["d10"].standard_uncertainty) == (None, None, None)
    assert found["d10"].reason == "what was counted leaves it open by a factor of more than 1,000"
    for one in (found["mean"], found["d50"]):
        assert one.low is not None and one.high is not None and one.value / 1000 < one.low < one.high < 1000 * one.value


def test_one_image_that_holds_all_particles_is_refused() -> None:
    sizes = np.random.default_rng(5).lognormal(3, 0.2, 20_002)
    owner = np.r_[np.zeros(20_000), 1, 2]
    found = estimates(sizes, owner)["mean"]
    assert found.low is not None and found.high is not None
    assert found.high > 1.3 * found.low  # 20,000 particles are worth little where one image has nearly all of them
    weights = np.r_[np.ones(20_000), 1e-3, 1e-3]
    found = estimates(sizes, owner, weights)["mean"]
    assert found.low is None and found.reason is not None
    assert "one image holds 100% of the weight of all particles: the others say too little" in found.reason


def test_sizes_that_may_be_negative_have_an_even_interval() -> None:
    values = np.random.default_rng(6).normal(0, 1, 90)
    found = estimates(values, np.repeat(np.arange(9), 10))["mean"]
    assert found.low is not None and found.high is not None
    assert found.high - found.value == pytest.approx(found.value - found.low)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"quantities": ["d42"]}, "no quantity d42: known are mean, d10, d50, d90"),
    ({"level": 95}, "a level of confidence of 95: it lies between 0 and 1"),
    ({"images": [0, 1]}, "3 sizes came with 2 images"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        estimates([1.0, 2.0, 3.0], **({"images": [0, 1, 2]} | arguments))  # type: ignore[arg-type]

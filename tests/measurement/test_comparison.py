"""Comparisons against scipy and closed forms, their error rates, paired and not, and En numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tem_seg.core.errors import UserError
from tem_seg.measurement.comparison import Sample, against_certified, compare, table


def drawn(
    rng: np.random.Generator, images: int = 8, each: int = 30, median: float = 20.0, between: float = 0.1
) -> Sample:
    owner = np.repeat(np.arange(images), each)
    logs = between * rng.normal(size=images)[owner] + 0.25 * rng.normal(size=len(owner))
    return Sample.of(median * np.exp(logs), owner)


def test_distances_are_scipys() -> None:
    rng = np.random.default_rng(0)
    first, second = drawn(rng), drawn(rng, images=5, median=23.0)
    found = compare(first, second, paired=False, unit="nm", rng=rng, n_permutations=9)
    assert found.ks == pytest.approx(stats.ks_2samp(first.sizes, second.sizes).statistic)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(first.sizes, second.sizes))
    assert found.mean.value == pytest.approx(second.sizes.mean() - first.sizes.mean())
    assert found.median.value == pytest.approx(np.median(second.sizes) - np.median(first.sizes))
    assert (found.unit, found.n_permutations) == ("nm", 9)


def test_ties_count_once() -> None:
    first, second = Sample.of([1.0, 2.0, 2.0, 3.0], [0, 0, 1, 1]), Sample.of([2.0, 2.0, 3.0], [2, 2, 3])
    found = compare(first, second, paired=False, unit="nm", rng=np.random.default_rng(0))
    assert found.ks == pytest.approx(stats.ks_2samp(first.sizes, second.sizes).statistic)


def test_the_mean_of_equal_images_is_welchs() -> None:
    rng = np.random.default_rng(1)
    first, second = drawn(rng, images=6), drawn(rng, images=9, median=22.0)
    means = [sample.sizes.reshape(-1, 30).mean(axis=1) for sample in (first, second)]
    found = compare(first, second, paired=False, unit="nm", rng=rng, n_permutations=1).mean
    oracle = stats.ttest_ind(means[1], means[0], equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), rel=0.02)


def test_the_paired_mean_of_equal_images_is_students_of_the_differences() -> None:
    rng = np.random.default_rng(2)
    first = drawn(rng, images=7)
    second = Sample.of(first.sizes + rng.normal(0.5, 0.3, 7)[first.images], first.images)
    found = compare(first, second, paired=True, unit="nm", rng=rng, n_permutations=1).mean
    per_image = (second.sizes - first.sizes).reshape(7, 30).mean(axis=1)
    oracle = stats.ttest_1samp(per_image, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), rel=1e-3)
    apart = compare(first, second, paired=False, unit="nm", rng=rng, n_permutations=1).mean
    assert (apart.standard_uncertainty or 0) > 2 * (found.standard_uncertainty or 0)


def test_by_hand_and_automatic_particle_by_particle_missing_some() -> None:
    """Automatic: 3 % too large, a fifth of the particles missed. The interval of the difference holds 3 % of the
    median.
    """
    rng, held = np.random.default_rng(3), []
    for _ in range(120):
        first = drawn(rng, images=6)
        seen = rng.random(len(first.sizes)) < 0.8
        second = Sample.of((first.sizes * np.exp(rng.normal(0.03, 0.05, len(seen))))[seen], first.images[seen])
        found = compare(first, second, paired=True, unit="nm", rng=rng, n_permutations=1).median
        held.append((found.low or 0) < 20 * (np.exp(0.03) - 1) < (found.high or 0))
    assert np.mean(held) == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize("paired", [False, True])
def test_like_sets_are_told_apart_as_often_as_stated(paired: bool) -> None:
    """Micrographs of one material: KS by particles finds differences, by images in 10 % at 10 %."""
    rng, by_images, by_particles = np.random.default_rng(4), [], []
    for _ in range(100):
        first, second = drawn(rng), drawn(rng)
        by_images.append(compare(first, second, paired=paired, unit="nm", rng=rng, n_permutations=59).ks_p or 0)
        by_particles.append(stats.ks_2samp(first.sizes, second.sizes).pvalue)
    assert np.mean(np.array(by_images) <= 0.1) == pytest.approx(0.1, abs=0.08)
    assert np.mean(np.array(by_particles) <= 0.1) > 0.3


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(5)
    found = compare(drawn(rng), drawn(rng, median=30.0), paired=False, unit="nm", rng=rng, n_permutations=199)
    assert found.ks_p == pytest.approx(1 / 200)
    assert found.median.low is not None and found.median.low > 0


def test_too_few_images_give_distances_and_reasons() -> None:
    rng = np.random.default_rng(6)
    two, many = drawn(rng, images=2), drawn(rng)
    found = compare(two, many, paired=False, unit="nm", rng=rng)
    assert found.median.low is None and found.median.reason is not None
    assert found.median.reason.startswith("of the first: particles of 2 images")
    assert found.ks_p is None and found.ks_reason == "10 images can be exchanged in too few ways: a p-value needs more"
    assert found.wasserstein > 0
    paired = compare(two, Sample.of(two.sizes, two.images), paired=True, unit="nm", rng=rng)
    assert paired.mean.reason == "2 images: an interval needs 3 or more"
    assert (paired.ks, paired.wasserstein, paired.mean.value) == (0, 0, 0)


def test_equal_sizes_compare_without_a_crash() -> None:
    first, second = Sample.of([5.0] * 9, np.arange(9) % 3), Sample.of([6.0] * 9, np.arange(9) % 3)
    for paired in (False, True):
        found = compare(first, second, paired=paired, unit="nm", rng=np.random.default_rng(0), n_permutations=9)
        assert (found.mean.low, found.mean.value, found.mean.high) == (1.0, 1.0, 1.0)
        assert (found.ks, found.wasserstein) == (1.0, 1.0)


def test_paper_002s_table() -> None:
    rows = table({"manual": [10.0, 20.0, 30.0], "automatic": [12.0, 21.0, 33.0, np.nan]})
    assert rows[0] == {"name": "manual", "n": 3, "mean": 20.0, "sd": 10.0, "median": 20.0}
    assert rows[1]["n"] == 3 and rows[1]["mean"] == 22


def test_en_by_hand() -> None:
    # 30.6 ± 0.8 nm against 30.0 ± 0.6 nm: 0.6 / 1.0
    found = against_certified(30.6, 0.8, 30.0, 0.6)
    assert (found.en, found.deviation, found.relative) == pytest.approx((0.6, 0.6, 0.02))
    assert found.agrees is True
    assert found.verdict == "|En| = 0.60 <= 1: agrees with the certified value"
    below = against_certified(28.0, 0.8, 30.0, 0.6, missing=("pixel size",))
    assert below.en == pytest.approx(-2.0) and below.agrees is False
    assert below.verdict.endswith(
        "does not agree with the certified value; the uncertainty does not contain: pixel size"
    )


def test_no_uncertainty_no_verdict() -> None:
    found = against_certified(30.6, None, 30.0, 0.6)
    assert (found.en, found.agrees) == (None, None)
    assert found.verdict == "no verdict: the measured value has no uncertainty"


@pytest.mark.parametrize(("call", "message"), [
    (lambda: against_certified(30, 1, 0, 1), "a certified value of 0 ± 1: give a size above 0"),
    (lambda: against_certified(30, 1, 30, float("nan")), "a certified value of 30 ± nan"),
    (lambda: against_certified(30, 0, 30, 0), "both uncertainties are 0"),
    (lambda: Sample.of([1.0, 2.0], [0]), "2 sizes came with 1 images"),
    (lambda: compare(Sample.of([], []), Sample.of([1.0], [0]), paired=False, unit="nm", rng=np.random.default_rng(0)),
     "0 particles against 1: a comparison needs some of both"),
])  # fmt: skip
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()  # type: ignore[operator]

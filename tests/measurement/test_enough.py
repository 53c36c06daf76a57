"""Whether enough was counted: by hand, by going and taking the images, and where it cannot be said."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.measurement.clusters import Components
from tem_seg.measurement.enough import enough, predicted
from tem_seg.measurement.intervals import Estimate, estimates

TEN = Estimate("d50", 100.0, 90.0, 110.0, 4.0, 9.0, 0.95, 10, 500, Components(0.01, 0.005, 0.3))


def test_by_hand() -> None:
    found = enough(TEN, target=0.04)
    assert found.relative == pytest.approx(0.08) and found.met is False  # k = 2
    assert found.images_needed == 40 and found.more_images == 30  # half the uncertainty, four times the images
    # χ² of 9 degrees of freedom: the variance may be 0.473 to 3.33 times what was seen
    assert (found.images_low, found.images_high) == (19, 134)
    assert enough(TEN, target=0.08).met is True and enough(TEN, target=0.08).more_images == 0


def test_a_plan_may_have_no_upper_end() -> None:
    few = dataclasses.replace(TEN, images=5, degrees=4.0)
    found = enough(few, target=0.0005)
    # (0.08 / 0.0005)² · 5 images; χ² of 4 degrees: the variance may be 8.26 times what was seen, beyond a million
    assert found.images_needed == 128_000 and found.images_low == pytest.approx(128_000 * 4 / 11.143, abs=2)
    assert found.images_high is None and found.reason is None


def test_with_students_factor_it_takes_more() -> None:
    found = enough(TEN, target=0.08, factor=None)
    assert found.relative == pytest.approx(2.2622 * 0.04, rel=1e-3)
    assert found.images_needed is not None and found.images_needed > 10


def test_what_images_do_not_shrink_counts() -> None:
    found = enough(TEN, target=0.04, others=0.012)
    assert found.floor == pytest.approx(0.024)
    assert found.images_needed == int(np.ceil(10 * 0.0016 / (0.02**2 - 0.012**2)))
    never = enough(TEN, target=0.04, others=0.03)
    assert never.images_needed is None and never.more_images is None
    assert never.reason == "no number of images reaches ± 4 %: what does not shrink with them is ± 6 % already"


def test_three_images_tell_whether_but_not_how_many() -> None:
    three = dataclasses.replace(TEN, images=3, degrees=2.0)
    found = enough(three, target=0.05)
    assert found.met is False and found.images_needed is None
    assert found.reason == "3 images say too little of how images differ to plan by: take 2 more and ask again"
    assert enough(three, target=0.5).met is True


def test_without_an_interval_nothing_is_said() -> None:
    none = dataclasses.replace(TEN, standard_uncertainty=None, reason="particles of 2 images")
    found = enough(none)
    assert (found.met, found.relative) == (None, None)
    assert found.reason == "there is no uncertainty to start from: particles of 2 images"
    negative = enough(dataclasses.replace(TEN, value=-1.0))
    assert negative.reason == "a figure of -1 has no relative uncertainty"
    with pytest.raises(UserError, match="no prediction for d50: there is no uncertainty"):
        predicted(none, [10])


def test_a_hopeless_target_says_so() -> None:
    assert enough(TEN, target=1e-5).reason == "it takes more than 1,000,000 images"


def test_certain_of_counting_is_enough_at_once() -> None:
    exact = dataclasses.replace(TEN, standard_uncertainty=0.0, degrees=float("inf"), components=None)
    found = enough(exact, target=0.01)
    assert found.met is True and found.images_needed == 3 and found.more_images == 0
    assert predicted(exact, [5])[0].expanded == 0


def test_the_prediction_is_what_more_images_bring() -> None:
    """From 20 images to 80 of the same kind: the mean of many tries is the prediction."""
    rng = np.random.default_rng(3)
    reached: dict[int, list[float]] = {20: [], 80: []}
    foretold = []
    for _ in range(60):
        for images, into in reached.items():
            owner = np.repeat(np.arange(images), 25)
            sizes = 20 * np.exp(0.1 * rng.normal(size=images)[owner] + 0.2 * rng.normal(size=len(owner)))
            one = estimates(sizes, owner, quantities=["d50"])["d50"]
            into.append((one.standard_uncertainty or 0) / one.value)
            if images == 20:
                foretold.append(predicted(one, [80])[0].standard)
    assert np.mean(foretold) == pytest.approx(np.mean(reached[80]), rel=0.05)
    assert np.mean(reached[20]) == pytest.approx(2 * np.mean(reached[80]), rel=0.06)


def test_more_particles_in_the_same_images_shrink_one_part_only() -> None:
    now, many = predicted(TEN, [10])[0], predicted(TEN, [10], particles_per_image=1e9)[0]
    assert (now.standard, now.expanded, now.particles) == pytest.approx((0.04, 0.08, 500))
    assert now.reach_95 == pytest.approx(2.2622 * 0.04, rel=1e-3)
    assert many.standard == pytest.approx(0.04 * np.sqrt(0.01 / (0.01 + 0.3 / 50)))
    rows = predicted(TEN, [3, 10, 30, 100])
    assert sorted((row.reach_95 for row in rows), reverse=True) == [row.reach_95 for row in rows]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: enough(TEN, target=0), "a target of 0: give a relative uncertainty above 0"),
    (lambda: enough(TEN, others=-1), "other components of -1"),
    (lambda: predicted(TEN, [2]), "2 images with 50 particles each: give at least 3, and 1"),
    (lambda: predicted(TEN, [5], 0), "5 images with 0 particles each"),
])  # fmt: skip
def test_bad_questions_are_named(call: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()  # type: ignore[operator]

"""Counts, choice of images and matched diameters, worked out by hand on the discs of conftest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reporting_scenes import FakeRun

from tem_seg.core.errors import UserError
from tem_seg.data.results import by_image
from tem_seg.reporting.material import Counts, Material, choose_images, matched_sizes


def _material(run: FakeRun, **changes: object) -> Material:
    arguments = run.arguments() | changes
    rows = by_image(arguments.pop("results"), [image.id for image in run.test.images])
    return Material(rows=rows, **arguments)


def test_counts_at_the_threshold(fake_run: FakeRun) -> None:
    material = _material(fake_run)
    # image 1: the fourth prediction is right, but below 0.5
    assert [material.counts(i) for i in (1, 2, 3, 4)] == [
        Counts(2, 1, 2),
        Counts(2, 0, 0),
        Counts(0, 1, 0),
        Counts(1, 0, 1),
    ]
    assert material.total() == Counts(5, 2, 3)
    assert _material(fake_run, score=0.0).total() == Counts(6, 2, 2)
    assert _material(fake_run, score=1.0).total() == Counts(0, 0, 8)


def test_crowd_regions_are_not_missed(fake_run: FakeRun) -> None:
    fake_run.test.annotations[1][3]["iscrowd"] = 1
    assert _material(fake_run).counts(1) == Counts(2, 1, 1)


def test_f1_by_hand() -> None:
    assert Counts(2, 1, 2).f1 == pytest.approx(4 / 7)
    assert Counts(0, 0, 5).f1 == 0.0
    assert np.isnan(Counts(0, 0, 0).f1)


def test_images_are_chosen_by_the_stated_rule(fake_run: FakeRun) -> None:
    # F1: 4/7, 1, 0, 2/3
    chosen = choose_images(_material(fake_run), 6)
    assert chosen == [(3, "worst F1 of 4"), (4, "median F1 of 4"), (2, "best F1 of 4"), (1, "no. 1 of the dataset")]
    assert choose_images(_material(fake_run), 1) == chosen[:1]
    assert choose_images(_material(fake_run), 0) == []
    assert [image_id for image_id, _ in choose_images(_material(fake_run, matches=None), 2)] == [1, 2]


def test_images_with_nothing_to_find_are_not_ranked(fake_run: FakeRun) -> None:
    chosen = choose_images(_material(fake_run, score=0.95), 4)
    assert (3, "no. 3 of the dataset") in chosen


def test_matched_diameters_are_those_of_the_masks(fake_run: FakeRun) -> None:
    pairs = matched_sizes(_material(fake_run), calibrated=True)
    # 0.5 nm/px; the pixel count of a disc is within a few per cent of its area
    assert pairs[:4] == pytest.approx(np.array([[15, 15], [20, 20], [18, 18], [25, 24]]), rel=0.03)
    assert len(pairs) == 5
    assert matched_sizes(_material(fake_run), calibrated=False).shape == (0, 2)


def test_doubling_the_pixel_size_doubles_the_diameters(fake_run: FakeRun) -> None:
    doubled = replace(fake_run.test, images=[replace(image, pixel_size_nm=1.0) for image in fake_run.test.images])
    before, after = (
        matched_sizes(_material(fake_run, test=test), calibrated=True) for test in (fake_run.test, doubled)
    )
    assert after == pytest.approx(2 * before)


@pytest.mark.parametrize(
    ("matches", "message"),
    [
        ({}, "matches hold no entry for image 1"),
        ({1: [0]}, "image 1 has 4 predictions, but 1 matches"),
        ({1: [0, 0, -1, -1]}, "matches of image 1 name an annotation twice"),
        ({1: [0, 1, 4, -1]}, "not among its 4"),
        ({1: [-2, -1, -1, -1]}, "not among its 4"),
    ],
)
def test_matches_that_do_not_fit_are_refused(fake_run: FakeRun, matches: dict[int, list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _material(fake_run, matches=matches)


def test_other_bad_values(fake_run: FakeRun) -> None:
    with pytest.raises(ValueError, match=r"score must lie in \[0, 1\], got nan"):
        _material(fake_run, score=float("nan"))
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        choose_images(_material(fake_run), -1)
    with pytest.raises(UserError, match="predictions name image 9"):
        _material(fake_run, results=[fake_run.results[0] | {"image_id": 9}])

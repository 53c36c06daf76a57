"""Merging of several looks at one micrograph."""

from __future__ import annotations

import numpy as np
import pytest
from inference_scenes import SIZE, found, ids
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from tem_seg.core.types import Prediction, Rle
from tem_seg.data import rle
from tem_seg.inference.merging import agreed, distinct, merge


@pytest.mark.parametrize("masks", [True, False])
def test_what_is_found_twice_is_kept_once_with_the_higher_score(masks: bool) -> None:
    """10 × 10 squares one px apart share 90 of 110 px, IoU 0.82; three apart 70 of 130, 0.54; four apart 60 of 140."""
    one = found((10, 10, 10, 0.7, 0), (50, 50, 10, 0.9, 0), (10, 40, 10, 0.6, 0), masks=masks)
    other = found((11, 10, 10, 0.8, 0), (53, 50, 10, 0.5, 0), (14, 40, 10, 0.55, 0), masks=masks)
    merged = merge([one, other], 0.5, 1000)
    assert ids(merged) == [(0.9, 0), (0.8, 0), (0.6, 0), (0.55, 0)]
    assert merged.boxes[1].tolist() == [11, 10, 21, 20]
    assert (merged.masks is not None) == masks and not merged.capped


def test_classes_are_merged_apart() -> None:
    assert len(merge([found((10, 10, 10, 0.7, 0)), found((10, 10, 10, 0.8, 1))], 0.5, 1000)) == 2


def test_order_of_the_looks_plays_no_part() -> None:
    rng = np.random.default_rng(0)
    rows = [(int(x), int(y), int(s), float(p), int(k)) for x, y, s, p, k in zip(
        rng.integers(0, 70, 60), rng.integers(0, 50, 60), rng.integers(5, 25, 60), rng.permutation(60) / 60,
        rng.integers(0, 2, 60), strict=True)]  # fmt: skip
    forth = merge([found(*rows[:30]), found(*rows[30:])], 0.5, 1000)
    back = merge([found(*rows[30:]), found(*rows[:30])], 0.5, 1000)
    np.testing.assert_array_equal(forth.boxes, back.boxes)
    assert (np.diff(forth.scores) <= 0).all() and len(forth) < 60
    again = merge([forth], 0.5, 1000)  # nothing is left to merge
    np.testing.assert_array_equal(again.boxes, forth.boxes)


def bar(x: float, y: float) -> tuple[NDArray[np.bool_], Rle]:
    """A thin bar at 45° through (x, y)."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    along, across = (columns - x) + (rows - y), (columns - x) - (rows - y)
    mask = (np.abs(along) < 50) & (np.abs(across) < 4)
    return mask, rle.encode(mask)


def test_rods_side_by_side_are_two_although_their_boxes_are_one() -> None:
    """Where masks are known boxes do not decide: boxes of IoU 0.7 and more, masks that do not touch."""
    masks = [bar(50, 40)[1], bar(54, 36)[1]]
    boxes = np.array([[25, 15, 75, 65], [29, 11, 79, 61]], np.float32)
    scores, labels = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64)
    assert len(merge([Prediction(boxes, labels, scores, masks)], 0.5, 1000)) == 2
    assert len(merge([Prediction(boxes, labels, scores, None)], 0.5, 1000)) == 1


def test_empty_masks_are_not_repetitions_of_each_other() -> None:
    assert len(merge([found((10, 10, 0, 0.9, 0), (10, 10, 0, 0.8, 0))], 0.5, 1000)) == 2


def test_rotated_boxes_travel_along() -> None:
    def turned(x: int, score: float) -> Prediction:
        plain = found((x, 10, 10, score, 0))
        return Prediction(plain.boxes, plain.labels, plain.scores, plain.masks, np.full((1, 5), x, np.float32))

    merged = merge([turned(10, 0.7), turned(60, 0.9), turned(11, 0.8)], 0.5, 1000)
    assert merged.rotated_boxes is not None and merged.rotated_boxes[:, 0].tolist() == [60, 11]


def test_merging_beyond_the_cap_is_said() -> None:
    looks = [found((0, 0, 10, 0.9, 0), (20, 0, 10, 0.8, 0)), found((40, 0, 10, 0.7, 0), (60, 0, 10, 0.6, 0))]
    assert ids(merge(looks, 0.5, 3)) == [(0.9, 0), (0.8, 0), (0.7, 0)] and merge(looks, 0.5, 3).capped
    assert not merge(looks, 0.5, 4).capped
    assert merge([looks[0], found(capped=True)], 0.5, 1000).capped, "one look may have missed some"


def test_greedy_is_the_textbook_one() -> None:
    """Against all-against-all: each takes away what overlaps with it, in descending score."""
    rng = np.random.default_rng(3)
    rows = [(int(x), int(y), int(s), float(p), int(k)) for x, y, s, p, k in zip(
        rng.integers(0, 70, 80), rng.integers(0, 50, 80), rng.integers(0, 25, 80), -np.sort(-rng.random(80)),
        rng.integers(0, 2, 80), strict=True)]  # fmt: skip
    given = found(*rows)
    overlap = coco_mask.iou(given.masks, given.masks, [0] * 80) >= 0.3
    overlap &= given.labels[:, None] == given.labels[None]
    kept = np.ones(80, bool)
    for index in range(80):
        if kept[index]:
            kept[index + 1 :] &= ~overlap[index, index + 1 :]
    np.testing.assert_array_equal(distinct(given, 0.3), kept)
    assert 20 < kept.sum() < 80


# ------------------------------------------------------------------------------------------- looks that agree


def test_scores_of_looks_that_agree_are_averaged() -> None:
    """The first particle is seen by three looks of four, one px apart (IoU 0.82); the second by one."""
    first = found((10, 10, 10, 0.9, 0), (50, 50, 10, 0.8, 0))
    looks = [first, found((11, 10, 10, 0.6, 0)), found((10, 11, 10, 0.3, 0)), found()]
    merged = agreed(looks, 0.5)
    assert ids(merged) == [(0.8, 0), (0.6, 0)] and merged.agreement is not None
    assert merged.agreement.tolist() == [0.25, 0.75]
    assert merged.boxes[1].tolist() == [10, 10, 20, 20], "place and mask are those of the highest score"


def test_looks_that_see_the_same_change_nothing() -> None:
    one = found((10, 10, 10, 0.7, 0), (50, 50, 10, 0.3, 0), (30, 10, 10, 0.2, 1))
    merged = agreed([one] * 8, 0.5)
    assert ids(merged) == ids(one) and merged.masks == one.masks and merged.scores.tolist() == one.scores.tolist()
    assert merged.agreement is not None and merged.agreement.tolist() == [1, 1, 1]


def test_a_look_speaks_once_for_a_particle() -> None:
    """A look with two answers for it gives the one that fits best (IoU 0.67 before 0.54), and the other is dropped."""
    looks = [found((10, 10, 10, 0.9, 0)), found((7, 10, 10, 0.8, 0), (12, 10, 10, 0.5, 0))]
    assert ids(agreed(looks, 0.53)) == [(0.7, 0)]
    other_class = [found((10, 10, 10, 0.9, 0)), found((10, 10, 10, 0.8, 1))]
    assert ids(agreed(other_class, 0.5)) == [(0.9, 0), (0.8, 1)]


def test_order_of_the_views_plays_no_part() -> None:
    rng = np.random.default_rng(1)
    looks = [
        found(*[(int(x), int(y), 12, float(p), 0) for x, y, p in zip(
            rng.integers(0, 70, 20), rng.integers(0, 50, 20), rng.random(20), strict=True)])
        for _ in range(4)
    ]  # fmt: skip
    forth, back = agreed(looks, 0.5), agreed(looks[::-1], 0.5)
    np.testing.assert_array_equal(forth.boxes, back.boxes)
    np.testing.assert_allclose(forth.scores, back.scores, rtol=1e-6)
    assert (np.diff(forth.scores) <= 0).all()


def test_looks_that_see_nothing() -> None:
    nothing = agreed([found(), found(capped=True)], 0.5)
    assert len(nothing) == 0 and nothing.masks == [] and nothing.capped
    assert nothing.agreement is not None and nothing.agreement.shape == (0,)

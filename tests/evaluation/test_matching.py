"""Matching against COCO's, counts by hand, and the laws that one sweep over scores rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation_scenes import dataset_of, disc, perfect, pycocotools_figures, random_scene, result_of

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.evaluation.matching import (
    best_f1,
    counts_at,
    f1_curve,
    false_positives_per_empty_image,
    match_dataset,
    match_image,
    pairwise_iou,
    pr_curve,
)


def bar(x0: int, x1: int, score: float | None = None, category: int = 1) -> dict[str, Any]:
    """A bar of one row, columns [x0, x1): IoU of two bars is counted in one's head."""
    mask = np.zeros((1, 100), bool)
    mask[0, x0:x1] = True
    row: dict[str, Any] = {"segmentation": rle.encode(mask), "bbox": [x0, 0, x1 - x0, 1], "category_id": category}
    return row | ({} if score is None else {"score": score})


def test_highest_score_takes_first_and_each_truth_is_taken_once() -> None:
    truths = [bar(0, 10), bar(8, 18)]
    # 0.9 overlaps both truths, more of the second (9/11 > 3/17); 0.8 wants the second too (1.0) and finds it taken
    predictions = [bar(8, 18, 0.8), bar(7, 17, 0.9), bar(0, 9, 0.7)]
    found = match_image(truths, predictions)
    assert found.scores.tolist() == [0.9, 0.8, 0.7]
    assert found.matched.tolist() == [1, -1, 0]
    assert found.iou.tolist() == pytest.approx([9 / 11, 0.0, 0.9])
    assert found.n_truths == 2


def test_a_taken_truth_leaves_the_next_best() -> None:
    truths = [bar(0, 20), bar(5, 25)]
    found = match_image(truths, [bar(5, 25, 0.9), bar(4, 24, 0.8)])  # the second: 19/21 with b, taken; 16/24 with a
    assert found.matched.tolist() == [1, 0]


def test_exactly_half_is_a_match_and_less_is_not() -> None:
    assert match_image([bar(0, 10)], [bar(0, 5, 0.9)]).matched.tolist() == [0]
    assert match_image([bar(0, 10)], [bar(0, 4, 0.9)]).matched.tolist() == [-1]
    assert match_image([bar(0, 10)], [bar(0, 5, 0.9)], min_iou=0.6).matched.tolist() == [-1]


def test_classes_count_unless_agnostic() -> None:
    truths, predictions = [bar(0, 10, category=1)], [bar(0, 10, 0.9, category=2)]
    assert match_image(truths, predictions).matched.tolist() == [-1]
    assert match_image(truths, predictions, class_agnostic=True).matched.tolist() == [0]


def test_crowd_regions_neither_count_nor_accuse() -> None:
    crowd = bar(50, 90) | {"iscrowd": 1}
    found = match_image([crowd, bar(0, 10)], [bar(60, 70, 0.9), bar(0, 10, 0.8), bar(20, 30, 0.7)])
    assert (found.scores.tolist(), found.matched.tolist(), found.n_truths) == ([0.8, 0.7], [1, -1], 1)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_nothing_on_either_side_is_a_case(iou_type: Any) -> None:
    assert match_image([], [], iou_type=iou_type).scores.shape == (0,)
    lonely = match_image([], [bar(0, 4, 0.5)], iou_type=iou_type)
    assert (lonely.matched.tolist(), lonely.iou.tolist(), lonely.n_truths) == ([-1], [0.0], 0)
    assert match_image([bar(0, 4)], [], iou_type=iou_type).n_truths == 1


def test_iou_is_that_of_dense_masks() -> None:
    dataset, results = random_scene(np.random.default_rng(1))
    for image_id, truths in dataset.annotations.items():
        rows = [row for row in results if row["image_id"] == image_id]
        iou = pairwise_iou(truths, rows)
        for d, row in enumerate(rows):
            for g, entry in enumerate(truths):
                one, other = rle.decode(row["segmentation"]), rle.decode(entry["segmentation"])
                assert iou[d, g] == pytest.approx((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("seed", range(5))
def test_recall_of_all_classes_is_cocos(seed: int) -> None:
    """COCO's greedy matching at IoU 0.5, seen through the recall that pycocotools reports."""
    dataset, results = random_scene(np.random.default_rng(seed))
    counts = counts_at(match_dataset(dataset, results, class_agnostic=True).values(), 0.0)
    one = dataset_of({}, category_ids=(1,))
    merged = type(dataset)(dataset.path, dataset.images, one.categories, [1], {
        i: [entry | {"category_id": 1, "label": 0} for entry in found] for i, found in dataset.annotations.items()
    })  # fmt: skip
    everything = [row | {"category_id": 1} for row in results]
    assert counts_at(match_dataset(merged, everything).values(), 0.0) == counts
    assert counts["recall"] == pytest.approx(pycocotools_figures(merged, everything, "segm", 1000)["ar50"])


@pytest.mark.parametrize("seed", range(5))
def test_one_matching_serves_every_threshold(seed: int) -> None:
    dataset, results = random_scene(np.random.default_rng(seed))
    whole = match_dataset(dataset, results)
    for threshold in np.linspace(0.0, 1.0, 21):
        cut = match_dataset(dataset, [row for row in results if row["score"] >= threshold])
        for image_id, matching in whole.items():
            kept = matching.scores >= threshold
            assert matching.matched[kept].tolist() == cut[image_id].matched.tolist()


def test_counts_by_hand_and_undefined_ones() -> None:
    predictions = [bar(0, 10, 0.95), bar(60, 70, 0.92), bar(20, 30, 0.5)]
    matchings = [match_image([bar(0, 10), bar(20, 30), bar(40, 50)], predictions)]
    counts = {"score": 0.9, "tp": 1, "fp": 1, "fn": 2}
    assert counts_at(matchings, 0.9) == counts | {"precision": 0.5, "recall": 1 / 3, "f1": 0.4, "accuracy": 0.25}
    nothing = counts_at(matchings, 0.99)
    assert (nothing["recall"], nothing["f1"], nothing["accuracy"]) == (0.0, 0.0, 0.0)
    assert np.isnan(nothing["precision"])
    assert all(np.isnan(counts_at([], 0.5)[key]) for key in ("precision", "recall", "f1", "accuracy"))


@pytest.mark.parametrize("seed", range(5))
def test_best_f1_is_the_best_of_all_scores(seed: int) -> None:
    dataset, results = random_scene(np.random.default_rng(seed), images=6)
    rounded = [row | {"score": round(row["score"], 1)} for row in results]  # many equal scores
    matchings = match_dataset(dataset, rounded).values()
    best = best_f1(matchings)[0]
    tried = {s: counts_at(matchings, s)["f1"] for s in sorted({row["score"] for row in rounded})}
    assert best == max(s for s, f1 in tried.items() if f1 == max(tried.values()))


def test_best_f1_is_undefined_without_predictions_or_truths() -> None:
    assert np.isnan(best_f1([])[0])
    assert np.isnan(best_f1([match_image([bar(0, 4)], [])])[0])
    assert np.isnan(best_f1([match_image([], [bar(0, 4, 0.5)])])[0])


def test_false_positives_on_empty_micrographs_only() -> None:
    stray = [bar(0, 4, 0.95), bar(10, 14, 0.3)]
    matchings = [match_image([], stray), match_image([], []), match_image([bar(50, 60)], stray)]
    assert false_positives_per_empty_image(matchings, 0.9) == (0.5, 2)
    assert false_positives_per_empty_image(matchings, 0.1) == (1.0, 2)
    value, count = false_positives_per_empty_image(matchings[2:], 0.9)
    assert np.isnan(value)
    assert count == 0


def test_curves_are_the_counts() -> None:
    dataset, results = random_scene(np.random.default_rng(2), images=8)
    matchings = match_dataset(dataset, results).values()
    for curve in (f1_curve(matchings), pr_curve(matchings)):
        assert len(curve["score"]) <= 101
        for place, score in enumerate(curve["score"]):
            counts = counts_at(matchings, score)
            for key in ("precision", "recall", "f1"):
                assert curve[key][place] == pytest.approx(counts[key], nan_ok=True)
    assert pr_curve(matchings)["score"][0] == max(row["score"] for row in results)
    assert pr_curve([])["score"] == []
    assert np.isnan(f1_curve([])["f1"]).all()


def test_shuffled_predictions_give_the_same_counts() -> None:
    rng = np.random.default_rng(3)
    dataset, results = random_scene(rng)
    shuffled = [results[i] for i in rng.permutation(len(results))]
    ours, again = (counts_at(match_dataset(dataset, rows).values(), 0.4) for rows in (results, shuffled))
    assert again == ours


def test_unknown_images_and_masks_of_another_size_are_named() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)]})
    row = perfect(dataset)[0]
    with pytest.raises(UserError, match="name image 2"):
        match_dataset(dataset, [row | {"image_id": 2}])
    with pytest.raises(UserError, match=r"has size \[9, 9\]"):
        match_dataset(dataset, [row | {"segmentation": disc(4, 4, 2, (9, 9))}])


def test_a_thousand_particles_in_one_image() -> None:
    size = (512, 512)
    dataset = dataset_of({1: [(8 + 16 * (i % 32), 8 + 16 * (i // 32), 6, 0) for i in range(1000)]}, size)
    results = [result_of(entry, 0.5 + i / 4000) for i, entry in enumerate(dataset.annotations[1])]
    assert match_dataset(dataset, results)[1].matched.tolist() == list(range(999, -1, -1))

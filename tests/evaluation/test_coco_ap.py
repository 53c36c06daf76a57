"""AP against pycocotools, by hand, and the traps of docs/architecture.md."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evaluation_scenes import dataset_of, disc, perfect, pycocotools_figures, random_scene, result_of

from tem_seg.core.errors import UserError
from tem_seg.evaluation.coco_ap import average_precision

KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar")
GRID = list(itertools.product(range(4, 160, 8), range(4, 120, 8)))[:300]


def test_300_perfect_predictions_are_perfect_and_a_cap_of_100_hides_it() -> None:
    dataset = dataset_of({1: [(x, y, 3, 0) for x, y in GRID]})
    results = perfect(dataset)
    assert average_precision(dataset, results, "segm", 1000)["ap"] == 1.0
    # recall stops at 100 / 300, so precision is 1 at the first 34 of 101 recall levels
    assert average_precision(dataset, results, "segm", 100)["ap"] == pytest.approx(34 / 101)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(iou_type: Any, agnostic: bool, seed: int) -> None:
    dataset, results = random_scene(np.random.default_rng(seed))
    ours = average_precision(dataset, results, iou_type, 1000, class_agnostic=agnostic)
    theirs = pycocotools_figures(dataset, results, iou_type, 1000, agnostic)
    assert [ours[key] for key in KEYS] == pytest.approx([theirs[key] for key in KEYS], abs=1e-9, nan_ok=True)
    for name, figures in ours["per_class"].items():
        assert figures["ap"] == pytest.approx(theirs[name], abs=1e-9, nan_ok=True)
    assert set(ours["per_class"]) == (set() if agnostic else {"rod", "cube"})


def test_the_cap_is_pycocotools_cap() -> None:
    dataset, results = random_scene(np.random.default_rng(9))
    ours, theirs = average_precision(dataset, results, "segm", 3), pycocotools_figures(dataset, results, "segm", 3)
    assert [ours[key] for key in KEYS] == pytest.approx([theirs[key] for key in KEYS], abs=1e-9, nan_ok=True)


def test_shuffled_predictions_and_images_give_the_same_figures() -> None:
    rng = np.random.default_rng(5)
    dataset, results = random_scene(rng)
    shuffled = [results[i] for i in rng.permutation(len(results))]
    turned = replace(dataset, images=dataset.images[::-1])
    ours, again = average_precision(dataset, results, "segm", 100), average_precision(turned, shuffled, "segm", 100)
    assert repr(again) == repr(ours)  # every digit; NaN equals NaN


def test_score_threshold_equals_dropping_by_hand() -> None:
    dataset, results = random_scene(np.random.default_rng(6))
    kept = [row for row in results if row["score"] >= 0.5]
    ours = average_precision(dataset, results, "segm", 100, min_score=0.5)
    assert ours["n_predictions"] == len(kept) < len(results)
    assert ours["min_score"] == 0.5
    by_hand, of_all = (average_precision(dataset, rows, "segm", 100)["ap"] for rows in (kept, results))
    assert ours["ap"] == by_hand != of_all


def test_counts_say_what_the_figures_rest_on() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0), (80, 60, 20, 0)], 2: [(60, 60, 58, 1)]})  # areas about 80, 1260, 10500
    figures = average_precision(dataset, perfect(dataset), "segm", 50)
    assert [figures[f"n_{name}"] for name in ("truths", "small", "medium", "large", "predictions")] == [3, 1, 1, 1, 3]
    assert [figures["per_class"][name]["n_truths"] for name in ("rod", "cube")] == [2, 1]
    assert figures["iou_range"] == [0.5, 0.95]
    assert figures["max_instances"] == 50


def test_no_predictions_is_zero_and_no_truths_is_undefined() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)], 2: []})
    nothing = average_precision(dataset, [], "segm", 100)
    assert (nothing["ap"], nothing["ap50"], nothing["ar"]) == (0.0, 0.0, 0.0)
    assert np.isnan(nothing["ap_large"])
    assert np.isnan(nothing["per_class"]["cube"]["ap"])
    empty = dataset_of({1: []})
    for results in ([], perfect(dataset)):
        assert np.isnan(average_precision(empty, results, "bbox", 100)["ap"])


def test_annotation_id_zero_counts_as_found() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)]})
    assert dataset.annotations[1][0]["id"] == 0
    assert average_precision(dataset, perfect(dataset), "segm", 100)["ap"] == 1.0


def test_a_small_mask_is_small_whatever_its_box() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)]})
    elsewhere = {"segmentation": disc(120, 90, 5, (120, 160)), "bbox": [0, 0, 99, 99]}
    stray = result_of(dataset.annotations[1][0], 0.99) | elsewhere
    figures = average_precision(dataset, [stray, *perfect(dataset)], "segm", 100)
    assert figures["ap_small"] == pytest.approx(0.5)  # 1.0 if its box made the stray one "large"


def test_crowd_regions_are_neither_missed_nor_wrong() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0), (100, 60, 30, 0)]})
    dataset.annotations[1][1]["iscrowd"] = 1
    inside = result_of(dataset.annotations[1][1], 0.99) | {"segmentation": disc(100, 60, 6, (120, 160))}
    figures = average_precision(dataset, [inside, *perfect(dataset)[:1]], "segm", 100)
    assert (figures["ap"], figures["n_truths"]) == (1.0, 1)


def test_polygons_are_read_and_area_may_be_missing() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)]})
    del dataset.annotations[1][0]["area"]
    row = perfect(dataset)[0] | {"segmentation": [[25, 25, 35, 25, 35, 35, 25, 35]]}
    assert average_precision(dataset, [row], "segm", 10)["ap50"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "name image 99, which .*dataset.json does not hold"),
        ({"category_id": 1}, r"name category 1 in image 1, but .* knows \{7: 'rod', 3: 'cube'\}"),
        ({"segmentation": disc(5, 5, 2, (50, 50))}, r"mask in image 1 has size \[50, 50\], its image \[120, 160\]"),
        ({"segmentation": None}, "a prediction in image 1 has no mask: evaluate boxes"),
    ],
)
def test_bad_predictions_are_named(change: dict[str, Any], message: str) -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)]})
    with pytest.raises(UserError, match=message):
        average_precision(dataset, [perfect(dataset)[0] | change], "segm", 100)

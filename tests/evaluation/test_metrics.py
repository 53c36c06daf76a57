"""metrics.json: its keys, its headline, its red flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_scenes import dataset_of, perfect, random_scene, result_of

from tem_seg.core.errors import UserError
from tem_seg.data.atomic import write_json
from tem_seg.data.coco import CocoDataset
from tem_seg.evaluation.coco_ap import average_precision
from tem_seg.evaluation.matching import best_f1, counts_at, match_dataset
from tem_seg.evaluation.metrics import compute_metrics

TOP = {
    "n_images", "n_truths", "n_predictions", "max_instances", "red_flags", "class_agnostic", "segm", "bbox",
    "segm_at_score", "at_iou50", "false_positives_per_empty_image", "counts", "ap", "ap50", "ap75", "f1",
}  # fmt: skip
"""Keys promised in docs/results-format.md."""


def metrics_of(dataset: CocoDataset, results: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    given = {"info": {}, "max_instances": 1000, "best_score": 0.5} | changes
    return compute_metrics(dataset, results, given.pop("info"), **given)


def test_keys_and_figures_of_a_scene() -> None:
    dataset, results = random_scene(np.random.default_rng(0), images=6)
    best = best_f1(match_dataset(dataset, results).values())[0]
    found = metrics_of(dataset, results, best_score=best)
    assert set(found) >= TOP
    segm = average_precision(dataset, results, "segm", 1000)
    assert found["segm"] == segm
    assert (found["ap"], found["ap50"], found["ap75"]) == (segm["ap"], segm["ap50"], segm["ap75"])
    assert found["bbox"]["ap"] == average_precision(dataset, results, "bbox", 1000)["ap"]
    assert found["segm_at_score"]["ap"] == average_precision(dataset, results, "segm", 1000, min_score=0.9)["ap"]
    assert found["at_iou50"]["best"] == counts_at(match_dataset(dataset, results).values(), best)
    assert found["f1"] == found["at_iou50"]["best"]["f1"]
    at_best = found["at_iou50"]["best"]
    assert found["counts"]["score"] == best and found["counts"]["predicted"] == at_best["tp"] + at_best["fp"]
    assert found["counts"]["truths"] == found["n_truths"] == at_best["tp"] + at_best["fn"]
    assert found["false_positives_per_empty_image"]["n_images"] == 1
    assert (found["n_images"], found["n_predictions"], found["headline"]) == (6, len(results), "segm")
    assert {len(column) for column in found["curves"]["f1"].values()} == {101}


def test_perfect_predictions_raise_no_flag_and_file_is_json(tmp_path: Path) -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)], 2: [(80, 60, 9, 1)]})
    found = metrics_of(dataset, perfect(dataset), info={"image_ids": [1, 2], "capped_image_ids": []})
    assert found["red_flags"] == []
    assert (found["ap"], found["f1"], found["segm_at_score"]["ap"]) == (1.0, 1.0, 1.0)
    assert found["false_positives_per_empty_image"] is None
    write_json(tmp_path / "metrics.json", found)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["segm"]["ap_large"] is None  # undefined is null
    assert len((tmp_path / "metrics.json").read_text()) < 20_000


def test_a_model_without_masks_is_judged_by_its_boxes() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)], 2: []})
    results = [{key: row[key] for key in row if key != "segmentation"} for row in perfect(dataset)]
    found = metrics_of(dataset, results)
    assert (found["segm"], found["segm_at_score"], found["headline"]) == (None, None, "bbox")
    assert (found["ap"], found["f1"], found["bbox_at_score"]["ap"]) == (1.0, 1.0, 1.0)


def test_some_masks_are_an_error() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0), (80, 60, 9, 0)]})
    results = perfect(dataset)
    del results[1]["segmentation"]
    with pytest.raises(UserError, match="1 of 2 predictions have no mask"):
        metrics_of(dataset, results)


def test_an_unknown_class_is_an_error() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)]})
    with pytest.raises(UserError, match="name category 99"):
        metrics_of(dataset, [perfect(dataset)[0] | {"category_id": 99}])


def test_class_agnostic_forgives_the_class() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)]})
    wrong = [perfect(dataset)[0] | {"category_id": 3}]
    assert metrics_of(dataset, wrong)["ap"] == 0.0
    found = metrics_of(dataset, wrong, class_agnostic=True)
    assert (found["ap"], found["f1"], found["class_agnostic"], found["segm"]["per_class"]) == (1.0, 1.0, True, {})


@pytest.mark.parametrize("best_score", [None, float("nan")])
def test_without_a_validation_split_the_headline_f1_is_undefined(best_score: float | None) -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)], 2: []})
    found = metrics_of(dataset, perfect(dataset), best_score=best_score)
    assert np.isnan(found["f1"])
    assert found["at_iou50"]["best"] is None
    assert found["at_iou50"]["fixed"]["f1"] == 1.0
    assert np.isnan(found["false_positives_per_empty_image"]["best"])
    assert any("no F1-best score" in flag for flag in found["red_flags"])


def test_red_flags_say_what_is_doubtful() -> None:
    dataset = dataset_of({i: [(30, 30, 5, 0), (80, 60, 9, 0)] for i in range(1, 13)})
    weak = [result_of(entry, 0.4) for found in dataset.annotations.values() for entry in found]
    info = {"capped_image_ids": list(range(1, 13)), "image_ids": list(range(1, 12))}
    flags = "\n".join(metrics_of(dataset, weak, info=info, max_instances=1)["red_flags"])
    assert "as it may (max_instances = 1) in 12 images (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)" in flags
    assert "more predictions than max_instances = 1 in 12 images" in flags
    assert "more particles than max_instances = 1" in flags
    assert "no prediction was made for 1 image (12): their particles" in flags
    assert "no prediction reaches score 0.9" in flags


def test_nothing_predicted_and_nothing_to_find() -> None:
    dataset = dataset_of({1: [(30, 30, 5, 0)]})
    nothing = metrics_of(dataset, [])
    assert (nothing["ap"], nothing["f1"], nothing["n_predictions"]) == (0.0, 0.0, 0)
    assert nothing["red_flags"] == ["there are no predictions at all"]
    empty = metrics_of(dataset_of({1: []}), perfect(dataset))
    assert np.isnan(empty["ap"])
    assert empty["false_positives_per_empty_image"] == {"fixed": 1.0, "best": 1.0, "n_images": 1}
    assert empty["red_flags"] == ["the dataset holds no particles: AP, recall and F1 are undefined"]


def test_outlines_are_compared_where_there_are_masks() -> None:
    dataset = dataset_of({1: [(60, 60, 30, 0)]})
    figures = metrics_of(dataset, perfect(dataset), best_score=0.5)["boundary"]
    assert (figures["n"], figures["iou"], figures["f1"], figures["score"], figures["width_px"]) == (1, 1, 1, 0.5, 2)
    boxes = [{key: value for key, value in row.items() if key != "segmentation"} for row in perfect(dataset)]
    assert metrics_of(dataset, boxes)["boundary"] is None

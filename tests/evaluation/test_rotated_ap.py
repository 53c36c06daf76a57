"""Rotated IoU against closed forms, rotated AP against pycocotools (upright boxes) and Detectron2 (any)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_scenes import dataset_of, pycocotools_figures, random_scene

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import canonical_rotated_boxes, enclosing_boxes
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.evaluation.coco_ap import average_precision
from tem_seg.evaluation.matching import match_dataset, pairwise_iou
from tem_seg.evaluation.metrics import compute_metrics
from tem_seg.evaluation.rotated_ap import rotated_iou

KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar")


def rods(rng: np.random.Generator, count: int, side: float = 300.0) -> np.ndarray:
    """Rods at random, (N, 5)."""
    x, y = rng.uniform(0, side, (2, count))
    w, h = rng.uniform(4, 30, count), rng.uniform(30, 60, count)
    return np.stack([x, y, w, h, rng.uniform(-90, 90, count)], axis=1)


def rod_scene(seed: int, images: int = 4) -> tuple[CocoDataset, list[dict[str, Any]]]:
    """Overlapping rods of two classes as rotated boxes alone; an image without truths; shaky and wrong predictions."""
    rng = np.random.default_rng(seed)
    annotations: dict[int, list[dict[str, Any]]] = {}
    results: list[dict[str, Any]] = []
    for image_id in range(1, images + 1):
        truths = rods(rng, 0 if image_id == 2 else 40)
        labels = rng.integers(0, 2, len(truths))
        annotations[image_id] = [annotation(image_id, k, box, label) for k, (box, label) in
                                 enumerate(zip(truths, labels, strict=True))]  # fmt: skip
        seen = rng.random(len(truths)) < 0.85
        shaky = truths[seen] + rng.normal(0, [1.0, 1.0, 0.7, 1.5, 3.0], (seen.sum(), 5))
        for box, label in zip(np.concatenate([shaky, rods(rng, 8)]), [*labels[seen], *[0] * 8], strict=True):
            results.append(result(image_id, box, label, float(rng.random())))
    records = [ImageRecord(i, Path(f"/nowhere/{i}.png"), 300, 300) for i in annotations]
    return CocoDataset(Path("/nowhere/dataset.json"), records, ["rod", "wire"], [3, 7], annotations), results


def annotation(image_id: int, number: int, box: np.ndarray, label: int) -> dict[str, Any]:
    x, y, right, low = enclosing_boxes(box[None])[0].tolist()
    return {"id": 100 * image_id + number, "image_id": image_id, "category_id": (3, 7)[label], "label": int(label),
            "rotated_box": box.tolist(), "bbox": [x, y, right - x, low - y], "area": float(box[2] * box[3]),
            "iscrowd": 0}  # fmt: skip


def result(image_id: int, box: np.ndarray, label: int, score: float) -> dict[str, Any]:
    x, y, right, low = enclosing_boxes(box[None])[0].tolist()
    return {"image_id": image_id, "category_id": (3, 7)[label], "score": score, "rotated_box": box.tolist(),
            "bbox": [x, y, right - x, low - y]}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- IoU


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 0, 2, 4, 30], [0, 0, 2, 4, 30], 1.0),
        ([0, 0, 2, 4, 30], [0, 0, 2, 4, -150], 1.0),  # half a turn: a rod has no head
        ([0, 0, 2, 4, 30], [0, 0, 4, 2, -60], 1.0),  # the same rectangle, sides named the other way
        ([0, 0, 1, 1, 0], [0, 0, 1, 1, 45], np.sqrt(0.5)),  # an octagon, 2 (√2 - 1), of two unit squares
        ([0, 0, 2, 10, 0], [0, 0, 2, 10, 90], 4 / 36),  # a cross
        ([0, 0, 2, 10, 20], [30, 0, 2, 10, 20], 0.0),
        ([0, 0, 2, 4, 0], [1, 0, 2, 4, 0], 4 / 12),
        ([0, 0, 0, 4, 0], [0, 0, 2, 4, 0], 0.0),  # no area
        ([0, 0, 1e6, 1e6, 10], [0, 0, 2, 4, 0], 8e-12),
    ],
)
def test_iou_in_closed_form(one: list[float], other: list[float], expected: float) -> None:
    found, wanted = np.array([one], float), np.array([other], float)
    assert rotated_iou(found, wanted)[0, 0] == pytest.approx(expected, abs=1e-13)
    assert rotated_iou(wanted, found)[0, 0] == pytest.approx(expected, abs=1e-13)


def test_crowd_regions_count_the_share_inside() -> None:
    found, region = np.array([[0, 0, 2, 4, 0], [1, 0, 2, 4, 0.0]]), np.array([[0, 0, 2, 40, 0.0]])
    assert rotated_iou(found, region, np.array([True]))[:, 0] == pytest.approx([1.0, 0.5])


def test_no_boxes() -> None:
    boxes = rods(np.random.default_rng(0), 3)
    assert rotated_iou(boxes[:0], boxes).shape == (0, 3) and rotated_iou(boxes, boxes[:0]).shape == (3, 0)


def test_iou_does_not_change_when_all_is_turned_and_enlarged() -> None:
    rng = np.random.default_rng(1)
    found, wanted = rods(rng, 60, 100), rods(rng, 50, 100)
    turn = np.deg2rad(33.0)

    def moved(boxes: np.ndarray) -> np.ndarray:  # y points down: counter-clockwise as displayed
        x, y = boxes[:, 0], boxes[:, 1]
        place = [x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)]
        return np.stack([*(3 * p for p in place), 3 * boxes[:, 2], 3 * boxes[:, 3], boxes[:, 4] + 33.0], axis=1)

    iou = rotated_iou(found, wanted)
    assert (iou > 0.1).sum() > 20
    np.testing.assert_allclose(rotated_iou(moved(found), moved(wanted)), iou, atol=1e-12)
    np.testing.assert_allclose(rotated_iou(canonical_rotated_boxes(found[:, [0, 1, 3, 2, 4]] + [0, 0, 0, 0, 90]),
                                           wanted), iou, atol=1e-12)  # fmt: skip


def test_a_thousand_by_a_thousand_is_fast() -> None:
    rng = np.random.default_rng(2)
    found, wanted = rods(rng, 1000, 1000), rods(rng, 1000, 1000)
    begun = time.process_time()
    rotated_iou(found, wanted)
    assert time.process_time() - begun < 2.0


def test_iou_equals_detectron2s() -> None:
    torch = pytest.importorskip("torch")
    structures = pytest.importorskip("detectron2.structures", reason="detectron2 is not installed")
    rng = np.random.default_rng(3)
    found, wanted = rods(rng, 200), rods(rng, 150)
    boxes = [structures.RotatedBoxes(torch.from_numpy(b)) for b in (found, wanted)]
    theirs = structures.pairwise_iou_rotated(*boxes).numpy()
    np.testing.assert_allclose(rotated_iou(found, wanted), theirs, atol=2e-5)


# -------------------------------------------------------------------------------------------------------------- AP


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_upright_boxes_give_cocos_figures(seed: int, agnostic: bool) -> None:
    dataset, results = random_scene(np.random.default_rng(seed))
    for row in [*results, *(entry for found in dataset.annotations.values() for entry in found)]:
        x, y, w, h = row["bbox"]
        row["rotated_box"] = [x + w / 2, y + h / 2, w, h, 0.0]
    ours = average_precision(dataset, results, "rotated", 1000, class_agnostic=agnostic)
    theirs = pycocotools_figures(dataset, results, "bbox", 1000, agnostic)
    assert [ours[key] for key in KEYS] == pytest.approx([theirs[key] for key in KEYS], abs=1e-9, nan_ok=True)
    for name, figures in ours["per_class"].items():
        assert figures["ap"] == pytest.approx(theirs[name], abs=1e-9, nan_ok=True)


def test_perfect_turned_by_half_and_shuffled() -> None:
    dataset, _ = rod_scene(0)
    truths = [entry for found in dataset.annotations.values() for entry in found]
    perfect = [entry | {"score": 0.9, "rotated_box": [*entry["rotated_box"][:4], entry["rotated_box"][4] + 180.0]}
               for entry in truths]  # fmt: skip
    figures = average_precision(dataset, perfect, "rotated", 1000)
    assert (figures["ap"], figures["n_truths"], figures["n_predictions"]) == (1.0, 120, 120)
    capped = average_precision(dataset, perfect, "rotated", 5)
    assert capped["ap"] < 0.4


def test_an_upright_detector_is_no_rotated_one() -> None:
    """Upright boxes around tilted rods are far from the rods."""
    dataset, _ = rod_scene(0)
    upright = []
    for entry in (entry for found in dataset.annotations.values() for entry in found):
        x, y, w, h = entry["bbox"]
        upright.append(entry | {"score": 0.9, "rotated_box": [x + w / 2, y + h / 2, w, h, 0.0]})
    assert average_precision(dataset, upright, "bbox", 1000)["ap"] == 1.0
    assert average_precision(dataset, upright, "rotated", 1000)["ap50"] < 0.3


def test_no_predictions_and_no_truths() -> None:
    dataset, results = rod_scene(1)
    assert average_precision(dataset, [], "rotated", 100)["ap"] == 0.0
    empty = dataset.only([2])
    found = average_precision(empty, [row for row in results if row["image_id"] == 2], "rotated", 100)
    assert np.isnan(found["ap"]) and found["n_predictions"] == 8
    assert np.isnan(average_precision(empty, [], "rotated", 100)["ap50"])


def test_truth_of_a_mask_is_its_minimum_area_rectangle() -> None:
    dataset = dataset_of({1: [(30, 30, 10, 0)], 2: []})
    made = dataset.annotations[1][0].pop("rotated_box")
    row = dataset.annotations[1][0] | {"rotated_box": made, "score": 0.9}
    assert average_precision(dataset, [row], "rotated", 100)["ap"] == 1.0
    assert pairwise_iou(dataset.annotations[1], [row], "rotated")[0, 0] == pytest.approx(1.0)


# -------------------------------------------------------------------------------------------------- Detectron2's AP


def away_from_thresholds(dataset: CocoDataset, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without predictions whose IoU with a truth is closer than 1e-4 to a threshold: Detectron2 counts in float32."""
    thresholds, kept = np.arange(0.5, 1.0, 0.05), []
    for row in results:
        iou = pairwise_iou(dataset.annotations[row["image_id"]], [row], "rotated")
        if not iou.size or abs(iou.ravel()[:, None] - thresholds).min() > 1e-4:
            kept.append(row)
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_equals_detectron2s_rotated_evaluator_from_the_registered_name(seed: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("detectron2", reason="detectron2 is not installed")
    from detectron2.evaluation import RotatedCOCOEvaluator
    from detectron2.structures import Instances, RotatedBoxes

    from tem_seg.models.detectron2.catalog import register

    dataset, results = rod_scene(seed)
    results = away_from_thresholds(dataset, results)
    evaluator = RotatedCOCOEvaluator(register(dataset, f"rods{seed}", rotated=True), output_dir=str(tmp_path))
    evaluator.reset()
    for image in dataset.images:
        rows = [row for row in results if row["image_id"] == image.id]
        found = Instances((300, 300))
        found.pred_boxes = RotatedBoxes(torch.tensor([row["rotated_box"] for row in rows]))
        found.scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64)
        found.pred_classes = torch.tensor([dataset.category_ids.index(row["category_id"]) for row in rows])
        evaluator.process([{"image_id": image.id}], [{"instances": found}])
    theirs = evaluator.evaluate()["bbox"]
    ours = average_precision(dataset, results, "rotated", 100)  # its cap
    assert 0.2 < ours["ap"] < 0.9
    for key, name in (("ap", "AP"), ("ap50", "AP50"), ("ap75", "AP75"), ("ap_small", "APs"), ("ap_medium", "APm")):
        assert 100 * ours[key] == pytest.approx(theirs[name], abs=1e-9), key
    for name, figures in ours["per_class"].items():
        assert 100 * figures["ap"] == pytest.approx(theirs[f"AP-{name}"], abs=1e-9)


# ---------------------------------------------------------------------------------------- in metrics.json and matching


def test_metrics_of_rotated_boxes() -> None:
    dataset, results = rod_scene(4)
    found = compute_metrics(dataset, results, {}, max_instances=1000, best_score=0.5)
    assert found["headline"] == "rotated" and found["segm"] is None
    assert repr(found["rotated"]) == repr(average_precision(dataset, results, "rotated", 1000))  # NaN equals NaN
    assert found["ap"] == found["rotated"]["ap"] != found["bbox"]["ap"]
    assert found["rotated_at_score"]["n_predictions"] == sum(row["score"] >= 0.9 for row in results)
    matched = match_dataset(dataset, results, iou_type="rotated")
    assert found["at_iou50"]["best"]["tp"] == sum(
        ((m.matched >= 0) & (m.scores >= 0.5)).sum() for m in matched.values()
    )


def test_masks_with_rotated_boxes_are_judged_by_both() -> None:
    dataset = dataset_of({1: [(30, 30, 10, 0)], 2: []})
    rows = [entry | {"score": 0.9} for entry in dataset.annotations[1]]
    found = compute_metrics(dataset, rows, {}, max_instances=100, best_score=0.5)
    assert (found["headline"], found["segm"]["ap"], found["rotated"]["ap"]) == ("segm", 1.0, 1.0)
    assert "rotated" not in compute_metrics(dataset, [], {}, max_instances=100, best_score=0.5)


def boxes_alone(dataset: CocoDataset) -> CocoDataset:
    for found in dataset.annotations.values():
        for entry in found:
            del entry["segmentation"], entry["rotated_box"]
    return dataset


def test_masks_on_a_dataset_of_boxes_are_judged_by_their_boxes_and_it_is_said() -> None:
    dataset = dataset_of({1: [(30, 30, 10, 0)], 2: []})
    rows = [entry | {"score": 0.9} for entry in dataset.annotations[1]]
    boxes_alone(dataset)
    assert not dataset.has_masks and not dataset.has_rotated_boxes
    found = compute_metrics(dataset, rows, {}, max_instances=100, best_score=0.5)
    assert (found["headline"], found["segm"], found["ap"], "rotated" in found) == ("bbox", None, 1.0, False)
    assert any("predicted masks are not scored" in flag for flag in found["red_flags"])
    assert compute_metrics(dataset, [], {}, max_instances=100, best_score=0.5)["headline"] == "bbox"


@pytest.mark.parametrize(
    ("iou_type", "message"),
    [
        ("segm", "comparing masks needs masks, but the annotations of .* are boxes without 'segmentation'"),
        ("rotated", "are upright boxes: rotated ones cannot be compared to them"),
    ],
)
def test_a_dataset_of_boxes_has_nothing_else(iou_type: Any, message: str) -> None:
    dataset = boxes_alone(dataset_of({1: [(30, 30, 10, 0)]}))
    with pytest.raises(UserError, match=message):
        average_precision(dataset, [], iou_type, 100)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (None, "a prediction in image 1 has no rotated_box"),
        ([1, 2, 3, 4], "five finite numbers"),
        ([1, 2, 3, float("nan"), 5], "five finite numbers"),
        ([1, 2, -3, 4, 5], "w and h not negative"),
    ],
)
def test_bad_rotated_predictions_are_named(box: Any, message: str) -> None:
    dataset, results = rod_scene(0)
    with pytest.raises(UserError, match=message):
        average_precision(dataset, [results[0] | {"rotated_box": box}], "rotated", 100)


def test_an_unknown_class_is_named() -> None:
    dataset, results = rod_scene(0)
    with pytest.raises(UserError, match=r"name category 99 in image 1, but .* knows \{3: 'rod', 7: 'wire'\}"):
        average_precision(dataset, [results[0] | {"category_id": 99}], "rotated", 100)


def test_some_rotated_boxes_are_an_error() -> None:
    dataset, results = rod_scene(0)
    del results[0]["rotated_box"]
    with pytest.raises(UserError, match=r"1 of \d+ predictions have no rotated_box"):
        compute_metrics(dataset, results, {}, max_instances=100, best_score=None)

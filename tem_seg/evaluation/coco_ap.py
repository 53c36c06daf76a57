"""COCO average precision and recall, with faster-coco-eval behind it (pycocotools is the oracle in the tests).

Traps kept out here (docs/architecture.md): figures are read from ``eval["precision"]`` at the only detection cap,
never from ``summarize``; no predictions and no truths are cases; ids are our own, from 1, because COCOeval takes
id 0 for "unmatched"; for masks, a detection's size range follows its mask's area, not its box's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from tem_seg.data.annotations import rotated_boxes_of
from tem_seg.data.coco import CocoDataset
from tem_seg.data.rle import area_px
from tem_seg.evaluation.inputs import KEYS, IouType, check_results, is_crowd
from tem_seg.evaluation.regions import split_images
from tem_seg.evaluation.rotated_ap import RotatedCOCOeval

IOU_RANGE = (0.5, 0.95)
SIZES = ("small", "medium", "large")
"""COCO's ranges of area in px: below 32², between, above 96² (bounds belong to both sides)."""


def average_precision(
    dataset: CocoDataset, results: list[dict[str, Any]], iou_type: IouType, max_instances: int,
    class_agnostic: bool = False, min_score: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """COCO AP and AR in [0, 1], NaN where there is no truth of that class or size.

    results: COCO results; iou_type: "segm" (masks), "bbox" (upright boxes) or "rotated" (rotated boxes);
    max_instances: the cap of detections an image and class; class_agnostic: all classes are one; min_score: only
    results of at least this score (the papers' 0.9). Raises UserError where results or dataset lack what is compared.

    Returns ap and ar (mean over IoU 0.50:0.05:0.95), ap50, ap75, ap_small, ap_medium, ap_large, per_class
    {name: ap, ap50, ap75, n_truths}, and what they rest on: n_truths, n_small, n_medium, n_large, n_predictions,
    iou_range, min_score, max_instances.

    Lin et al., Microsoft COCO (2014), https://cocodataset.org/#detection-eval.
    """
    kept = [row for row in results if min_score is None or row["score"] >= min_score]
    kept = check_results(dataset, kept, iou_type)
    truths = _truths(dataset, iou_type, class_agnostic)
    detections = _detections(dataset, kept, iou_type, class_agnostic)
    evaluation = _evaluate(dataset, truths, detections, iou_type, max_instances)
    precision: NDArray[np.float64] = evaluation.eval["precision"][..., -1]  # (T IoUs, R recalls, K classes, A sizes)
    recall: NDArray[np.float64] = evaluation.eval["recall"][..., -1]  # (T, K, A)
    counted = {
        "iou_range": list(IOU_RANGE), "min_score": min_score, "max_instances": max_instances,
        "n_predictions": len(kept),
    } | _truth_counts(truths, evaluation)  # fmt: skip
    by_size = {f"ap_{name}": _mean(precision[..., 1 + place]) for place, name in enumerate(SIZES)}
    per_class = {} if class_agnostic else _per_class(dataset, precision, truths)
    return _ap(precision) | by_size | {"ar": _mean(recall[..., 0]), "per_class": per_class} | counted


def _evaluate(
    dataset: CocoDataset, truths: list[dict[str, Any]], detections: list[dict[str, Any]], iou_type: IouType,
    max_instances: int,
) -> COCOeval_faster:  # fmt: skip
    images, truths, detections = split_images(dataset.images, truths, detections, iou_type, max_instances)
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(dataset.categories)]
    truth = COCO({"images": images, "annotations": truths, "categories": categories})
    judge, kind = (RotatedCOCOeval, "bbox") if iou_type == "rotated" else (COCOeval_faster, iou_type)
    evaluation = judge(truth, truth.loadRes(detections), kind, rle_iou_max_workers=1)
    evaluation.params.maxDets = [max_instances]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _truths(dataset: CocoDataset, iou_type: IouType, class_agnostic: bool) -> list[dict[str, Any]]:
    found = [(image.id, entry) for image in dataset.images for entry in dataset.annotations[image.id]]
    turned = rotated_boxes_of([entry for _, entry in found]) if iou_type == "rotated" else None
    return [
        {
            "id": index + 1,
            "image_id": image_id,
            "category_id": 1 if class_agnostic else entry["label"] + 1,
            "area": float(entry["area"]) if "area" in entry else float(area_px(entry["segmentation"])),
            "iscrowd": int(is_crowd(entry)),
        }
        | ({key: entry[key] for key in ("segmentation", "bbox") if key in entry} if turned is None
           else _turned(turned[index].tolist()))
        for index, (image_id, entry) in enumerate(found)
    ]  # fmt: skip


def _turned(box: list[float]) -> dict[str, Any]:
    """A rotated box, and an upright one of its sides: COCO's code takes a detection's area from that."""
    return {"rotated_box": box, "bbox": [box[0] - box[2] / 2, box[1] - box[3] / 2, box[2], box[3]]}


def _detections(
    dataset: CocoDataset, results: list[dict[str, Any]], iou_type: IouType, class_agnostic: bool
) -> list[dict[str, Any]]:
    """Only the key that is judged: with a box present, COCO's code sorts masks into sizes by their box's area."""
    ids = {category_id: 1 if class_agnostic else label + 1 for label, category_id in enumerate(dataset.category_ids)}

    def judged(row: dict[str, Any]) -> dict[str, Any]:
        if iou_type == "rotated":
            return _turned([float(value) for value in row["rotated_box"]])
        return {KEYS[iou_type]: row[KEYS[iou_type]]}

    return [
        {"image_id": row["image_id"], "category_id": ids[row["category_id"]], "score": row["score"]} | judged(row)
        for row in results
    ]


def _truth_counts(truths: list[dict[str, Any]], evaluation: COCOeval_faster) -> dict[str, int]:
    areas = np.array([entry["area"] for entry in truths if not entry["iscrowd"]])
    counts = {"n_truths": len(areas)}
    for name, (low, high) in zip(SIZES, evaluation.params.areaRng[1:], strict=True):
        counts[f"n_{name}"] = int(((areas >= low) & (areas <= high)).sum())
    return counts


def _per_class(dataset: CocoDataset, precision: NDArray[np.float64], truths: list[dict[str, Any]]) -> dict[str, Any]:
    counts = np.bincount([t["category_id"] for t in truths if not t["iscrowd"]], minlength=len(dataset.categories) + 1)
    return {
        name: _ap(precision[:, :, label : label + 1]) | {"n_truths": int(counts[label + 1])}
        for label, name in enumerate(dataset.categories)
    }


def _ap(precision: NDArray[np.float64]) -> dict[str, float]:
    """precision (T, R, K, A) → ap, ap50, ap75 over all sizes; IoU 0.50 and 0.75 are thresholds 0 and 5."""
    every_size = precision[..., 0]
    return {"ap": _mean(every_size), "ap50": _mean(every_size[0]), "ap75": _mean(every_size[5])}


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of what is defined; COCOeval marks classes and sizes without truths by -1."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")

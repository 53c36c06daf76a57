"""metrics.json (docs/results-format.md): every figure with its n, IoU, score threshold and detection cap."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import capped_flags, images_named
from tem_seg.evaluation.boundary import boundary_figures
from tem_seg.evaluation.coco_ap import average_precision
from tem_seg.evaluation.counts import count_figures
from tem_seg.evaluation.inputs import IouType, is_crowd, kinds_of
from tem_seg.evaluation.matching import (
    Matching,
    counts_at,
    f1_curve,
    false_positives_per_empty_image,
    match_dataset,
    pr_curve,
)
from tem_seg.evaluation.whole_image import whole_image_figures

MATCH_IOU = 0.5


def compute_metrics(
    dataset: CocoDataset, results: list[dict[str, Any]], info: dict[str, Any], *, max_instances: int,
    score: float = 0.9, best_score: float | None, class_agnostic: bool = False, boundary_px: float = 2.0,
    whole_image: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """All figures of one split. NaN = undefined (null in the file).

    results, info: the content of predictions.json; score: the papers' threshold; best_score: the one chosen on
    the validation split (:func:`tem_seg.evaluation.calibration.counting_score`), None or NaN where there is none.
    boundary_px: see :func:`tem_seg.evaluation.boundary.agreement`; outlines are compared, and
    particles counted, at best_score, else at score.
    whole_image: also the figures of :mod:`tem_seg.evaluation.whole_image`, at the same score; masks are needed.
    The headline figures are of masks, else of rotated boxes, else of boxes: the first that both predictions and
    annotations have (``headline`` says which).
    """
    best_score = None if best_score is None or np.isnan(best_score) else float(best_score)
    kinds = kinds_of(dataset, results)
    headline = kinds[0]

    def ap(iou_type: IouType, min_score: float | None = None) -> dict[str, Any]:
        return average_precision(dataset, results, iou_type, max_instances, class_agnostic, min_score)

    blocks: dict[str, Any] = {"segm": None} | {kind: ap(kind) for kind in kinds}
    at_score: dict[str, Any] = {"segm_at_score": None}
    at_score |= {f"{kind}_at_score": _at_score(ap(kind, score), score) for kind in kinds}
    main = blocks[headline]
    matchings = match_dataset(dataset, results, iou_type=headline, min_iou=MATCH_IOU, class_agnostic=class_agnostic)
    images = list(matchings.values())
    shown = score if best_score is None else best_score
    outlines = (
        boundary_figures(dataset, results, matchings, score=shown, width_px=boundary_px) if headline == "segm" else None
    )
    at_iou50 = {
        "fixed": counts_at(images, score),
        "best": None if best_score is None else counts_at(images, best_score),
    }
    return {
        "n_images": len(dataset),
        "n_truths": main["n_truths"],
        "n_predictions": len(results),
        "max_instances": max_instances,
        "red_flags": red_flags(dataset, results, info, max_instances, score, best_score),
        "class_agnostic": class_agnostic,
        "headline": headline,
        **blocks,
        **at_score,
        "at_iou50": at_iou50,
        "counts": count_figures(images, shown),
        "boundary": outlines,
        "whole_image": whole_image_figures(dataset, results, score=shown) if whole_image else None,
        "false_positives_per_empty_image": _empty_images(images, score, best_score),
        "curves": {"f1": f1_curve(images), "pr": pr_curve(images)},
        **{key: main[key] for key in ("ap", "ap50", "ap75")},
        "f1": float("nan") if at_iou50["best"] is None else at_iou50["best"]["f1"],
    }


def _at_score(figures: dict[str, Any], score: float) -> dict[str, Any]:
    return {"score": score} | {key: figures[key] for key in ("ap", "ap50", "ap75", "n_truths", "n_predictions")}


def _empty_images(images: list[Matching], score: float, best_score: float | None) -> dict[str, Any] | None:
    fixed, count = false_positives_per_empty_image(images, score)
    if not count:
        return None
    best = float("nan") if best_score is None else false_positives_per_empty_image(images, best_score)[0]
    return {"fixed": fixed, "best": best, "n_images": count}


# ------------------------------------------------------------------------------------------------ red flags


def red_flags(
    dataset: CocoDataset, results: list[dict[str, Any]], info: dict[str, Any], max_instances: int, score: float,
    best_score: float | None,
) -> list[str]:  # fmt: skip
    """Sentences on what makes the figures doubtful; empty when nothing does."""
    truths = {i: sum(not is_crowd(entry) for entry in found) for i, found in dataset.annotations.items()}
    predicted = Counter(row["image_id"] for row in results)
    over = [i for i, count in predicted.items() if count > max_instances]
    crowded = [i for i, count in truths.items() if count > max_instances]
    capped = list(info.get("capped_image_ids") or [])
    missing = sorted(set(truths) - set(info["image_ids"])) if info.get("image_ids") is not None else []
    given, cap = info.get("max_instances", max_instances), f"max_instances = {max_instances}"
    top_score = max((row["score"] for row in results), default=float("nan"))
    unscored = any("segmentation" in row for row in results) and not dataset.has_masks
    flags = {
        "the annotations hold boxes without masks: predicted masks are not scored, their boxes are": unscored,
        **dict.fromkeys(capped_flags(capped, given, info.get("tile_instances")), True),
        f"more predictions than {cap} in {images_named(over)}: AP counts only that many a class": over,
        f"more particles than {cap} in {images_named(crowded)}: raise the cap": crowded,
        f"no prediction was made for {images_named(missing)}: their particles count as missed": missing,
        "there are no predictions at all": not results,
        f"no prediction reaches score {score}: the figures at that score say nothing": top_score < score,
        "the dataset holds no particles: AP, recall and F1 are undefined": not any(truths.values()),
        "no F1-best score is known (no validation predictions): F1 stands at the fixed score only": best_score is None,
    }
    return [text for text, raised in flags.items() if raised]

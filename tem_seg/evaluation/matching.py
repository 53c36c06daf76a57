"""Greedy one-to-one matching of predictions and truths, and what is counted from it.

COCO's rule: predictions in descending score, each takes the free truth of highest IoU, if that is at least
``min_iou``. A prediction's match depends on no lower score, so the matching of all predictions, cut at a score,
is the matching of the predictions above that score: one matching serves every threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from tem_seg.data.annotations import rotated_boxes_of
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import by_image
from tem_seg.evaluation.inputs import KEYS, IouType, check_results, is_crowd
from tem_seg.evaluation.regions import parts
from tem_seg.evaluation.rotated_ap import rotated_iou

CURVE_POINTS = 101


@dataclass(frozen=True, slots=True)
class Matching:
    """One image's matching. scores (D,) float64 descending; matched (D,) int64 index of the truth, or -1.

    iou (D,) float64 with the matched truth, 0 where unmatched. n_truths counts no crowd regions; predictions that
    lie in such a region and match nothing else have been left out: positions (D,) int64 says which ones are here,
    counted in descending score among those given.
    """

    scores: NDArray[np.float64]
    matched: NDArray[np.int64]
    iou: NDArray[np.float64]
    n_truths: int
    positions: NDArray[np.int64]


def match_image(
    truths: list[dict[str, Any]], predictions: list[dict[str, Any]], *, iou_type: IouType = "segm",
    min_iou: float = 0.5, class_agnostic: bool = False,
) -> Matching:  # fmt: skip
    """Matches COCO results of one image to its annotations; masks are compressed RLE of one size, boxes [x, y, w, h],
    rotated boxes [cx, cy, w, h, angle_deg].

    class_agnostic: a prediction may match a truth of another class. ``matched`` counts among the truths as given.
    """
    predictions = sorted(predictions, key=lambda row: -row["score"])
    scores = np.array([row["score"] for row in predictions], np.float64)
    matched, best = np.full(len(predictions), -1, np.int64), np.zeros(len(predictions))
    ignored = np.zeros(len(predictions), bool)
    for wanted, found in parts(truths, predictions, iou_type):
        taken, best[found], ignored[found] = _match(
            [truths[i] for i in wanted], [predictions[i] for i in found], iou_type, min_iou, class_agnostic
        )
        matched[found[taken >= 0]] = wanted[taken[taken >= 0]]
    counted = np.flatnonzero(~ignored)
    n_truths = sum(not is_crowd(entry) for entry in truths)
    return Matching(scores[counted], matched[counted], best[counted], n_truths, counted)


def _match(
    truths: list[dict[str, Any]], predictions: list[dict[str, Any]], iou_type: IouType, min_iou: float,
    class_agnostic: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:  # fmt: skip
    """Of each prediction (D,), in descending score: the truth or -1, the IoU with it, whether only a crowd region is
    there."""
    iou = pairwise_iou(truths, predictions, iou_type)
    if not class_agnostic:
        iou = iou * (_classes(predictions)[:, None] == _classes(truths)[None])
    crowd = np.array([is_crowd(entry) for entry in truths], bool)
    matched = _greedy(np.where(crowd, 0.0, iou), min_iou)
    ignored = (matched < 0) & (iou[:, crowd] >= min_iou).any(axis=1)
    best = np.where(matched >= 0, iou[np.arange(len(iou)), matched], 0.0) if len(truths) else np.zeros(len(iou))
    return matched, best, ignored


def pairwise_iou(
    truths: list[dict[str, Any]], predictions: list[dict[str, Any]], iou_type: IouType = "segm"
) -> NDArray[np.float64]:
    """IoU (D, G) float64 in [0, 1]; with a crowd region, the share of the prediction inside it.

    pycocotools compares boxes first and runs only of masks whose boxes overlap: 1000 × 1000 takes milliseconds.
    """
    if not truths or not predictions:
        return np.zeros((len(predictions), len(truths)))
    if iou_type == "rotated":
        boxes = np.asarray([row["rotated_box"] for row in predictions], np.float64)
        return rotated_iou(boxes, rotated_boxes_of(truths), np.array([is_crowd(entry) for entry in truths]))
    found: Any = [row[KEYS[iou_type]] for row in predictions]
    wanted: Any = [entry[KEYS[iou_type]] for entry in truths]
    if iou_type == "bbox":  # pycocotools takes lists for masks only
        found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return np.asarray(coco_mask.iou(found, wanted, [int(is_crowd(entry)) for entry in truths]), np.float64)


def _classes(rows: list[dict[str, Any]]) -> NDArray[np.int64]:
    return np.array([row["category_id"] for row in rows], np.int64)


def _greedy(iou: NDArray[np.float64], min_iou: float) -> NDArray[np.int64]:
    """iou (D, G), predictions in descending score → (D,) the truth taken, or -1. Equal IoU: the later truth."""
    matched = np.full(len(iou), -1, np.int64)
    free = np.ones(iou.shape[1], bool)
    for index in np.flatnonzero((iou >= min_iou).any(axis=1)):
        candidates = np.flatnonzero((iou[index] >= min_iou) & free)
        if len(candidates):
            taken = candidates[::-1][iou[index, candidates[::-1]].argmax()]
            matched[index], free[taken] = taken, False
    return matched


def match_dataset(
    dataset: CocoDataset, results: list[dict[str, Any]], *, iou_type: IouType = "segm", min_iou: float = 0.5,
    class_agnostic: bool = False,
) -> dict[int, Matching]:  # fmt: skip
    """The matching of every image of the dataset, by image id; images without predictions are there as well."""
    grouped = by_image(check_results(dataset, results, iou_type), [image.id for image in dataset.images])
    return {
        image_id: match_image(
            dataset.annotations[image_id], rows, iou_type=iou_type, min_iou=min_iou, class_agnostic=class_agnostic
        )
        for image_id, rows in grouped.items()
    }


# ------------------------------------------------------------------------------------------------- counting


@dataclass(frozen=True, slots=True)
class Sweep:
    """Counts at every distinct score, highest first: (S,) scores; true_positives and found (S,) at score >= that."""

    scores: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    found: NDArray[np.int64]
    n_truths: int

    def f1(self) -> NDArray[np.float64]:
        """F1 = 2 TP / (predictions + truths), (S,)."""
        return 2.0 * self.true_positives / (self.found + self.n_truths)


def sweep(matchings: Iterable[Matching]) -> Sweep:
    """One pass over the sorted scores of all images."""
    images = list(matchings)
    scores = np.concatenate([np.zeros(0), *(m.scores for m in images)])
    hits = np.concatenate([np.zeros(0, np.int64), *(m.matched >= 0 for m in images)])
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True][: len(scores)])  # equal scores stand or fall together
    return Sweep(scores[last], np.cumsum(hits)[last], last + 1, sum(m.n_truths for m in images))


def counts_at(matchings: Iterable[Matching], score: float) -> dict[str, float | int]:
    """Counts over all images at score >= ``score``: score, tp, fp, fn, precision, recall, f1, accuracy.

    accuracy = TP / (TP + FP + FN). NaN where a denominator is 0.
    """
    images = list(matchings)
    tp = sum(int((m.matched[m.scores >= score] >= 0).sum()) for m in images)
    fp = sum(int((m.scores >= score).sum()) for m in images) - tp
    fn = sum(m.n_truths for m in images) - tp
    return {
        "score": score, "tp": tp, "fp": fp, "fn": fn,
        "precision": _ratio(tp, tp + fp), "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn), "accuracy": _ratio(tp, tp + fp + fn),
    }  # fmt: skip


def best_f1(matchings: Iterable[Matching]) -> tuple[float, float]:
    """The score in [0, 1] which, as a threshold, maximises F1 over all images, of equal ones the highest; and that F1.

    NaN without predictions or without truths.
    """
    swept = sweep(matchings)
    if not len(swept.scores) or not swept.n_truths:
        return float("nan"), float("nan")
    f1 = swept.f1()
    return float(swept.scores[f1.argmax()]), float(f1.max())


def false_positives_per_empty_image(matchings: Iterable[Matching], score: float) -> tuple[float, int]:
    """Mean number of predictions of at least this score an image without particles, and the number of such images."""
    counts = [int((m.scores >= score).sum()) for m in matchings if m.n_truths == 0]
    return _ratio(sum(counts), len(counts)), len(counts)


def f1_curve(matchings: Iterable[Matching]) -> dict[str, list[float]]:
    """score, precision, recall, f1 at the 101 thresholds 0, 0.01 … 1; precision is NaN where nothing reaches it."""
    swept = sweep(matchings)
    thresholds = np.linspace(0.0, 1.0, CURVE_POINTS)
    kept = np.searchsorted(-swept.scores, -thresholds, side="right")
    return _curve(thresholds, np.r_[0, swept.true_positives][kept], np.r_[0, swept.found][kept], swept.n_truths)


def pr_curve(matchings: Iterable[Matching]) -> dict[str, list[float]]:
    """score, precision, recall, f1 at up to 101 scores that occur, evenly spaced in rank, highest score first."""
    swept = sweep(matchings)
    last = len(swept.scores) - 1
    place = np.unique(np.linspace(0, last, min(CURVE_POINTS, last + 1)).round().astype(int))
    return _curve(swept.scores[place], swept.true_positives[place], swept.found[place], swept.n_truths)


def _curve(
    scores: NDArray[np.float64], tp: NDArray[np.int64], found: NDArray[np.int64], n_truths: int
) -> dict[str, list[float]]:
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {"score": scores, "precision": tp / found, "recall": tp / np.float64(n_truths),
                   "f1": 2.0 * tp / (found + n_truths)}  # fmt: skip
    return {name: column.tolist() for name, column in columns.items()}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")

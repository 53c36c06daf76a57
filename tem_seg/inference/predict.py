"""A model and a micrograph → one Prediction in the micrograph's frame, at one or several magnifications."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from tem_seg.core.geometry import xyxy_to_xywh
from tem_seg.core.types import Prediction
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.data.results import to_results
from tem_seg.data.rle import area_px
from tem_seg.models.contract import SegmentationModel

SMALLEST_SIDE_PX = 32
"""A micrograph is never shrunk below this side: the pyramid's coarsest level needs it."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """How a micrograph is looked at.

    scales: magnifications; of what overlaps with a mask IoU of ``merge_iou`` within a class, at one magnification or
    at two, the higher score wins. target_px: None, or the size (square root of area) that the median particle is
    brought to before ``scales`` apply, found by a first look at magnification 1. min_score: what is below is dropped.
    precision: torch dtype of the network's arithmetic on this device.
    """

    scales: tuple[float, ...] = (1.0,)
    merge_iou: float = 0.5
    target_px: float | None = None
    min_score: float = 0.05
    max_instances: int = 1000
    precision: torch.dtype = torch.float32

    @torch.inference_mode()
    def __call__(self, model: SegmentationModel, pixels: NDArray[np.floating]) -> Prediction:
        """pixels (H, W) in [0, 1], normalised as in training → Prediction."""
        image = np.ascontiguousarray(pixels, np.float32)
        base = self._magnification(model, image) if self.target_px else 1.0
        looks = [self._look(model, image, base * scale) for scale in self.scales]
        return merge(looks, self.merge_iou, self.max_instances)

    def _look(self, model: SegmentationModel, image: NDArray[np.float32], scale: float) -> Prediction:
        frame = (image.shape[0], image.shape[1])
        device = next(model.parameters()).device
        with torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32):
            found = model([_rescaled(image, scale).to(device)], frames=[frame])
        return keep(found[0], found[0].scores >= self.min_score)  # type: ignore[index, union-attr]

    def _magnification(self, model: SegmentationModel, image: NDArray[np.float32]) -> float:
        assert self.target_px is not None
        first = self._look(model, image, 1.0)
        sizes = sizes_px(keep(first, first.scores >= 0.5))
        sizes = sizes[sizes > 0]
        return float(np.clip(self.target_px / np.median(sizes), 0.25, 4.0)) if len(sizes) else 1.0


def sizes_px(prediction: Prediction) -> NDArray[np.float64]:
    """Square root of each particle's mask (or box) area, (N,) px."""
    if prediction.masks is not None:
        return np.sqrt(np.array([area_px(mask) for mask in prediction.masks], np.float64))
    sides = prediction.boxes[:, 2:] - prediction.boxes[:, :2]
    areas: NDArray[np.float64] = sides.prod(axis=1, dtype=np.float64)
    return np.sqrt(areas)


def _rescaled(image: NDArray[np.float32], scale: float) -> Tensor:
    height, width = (max(SMALLEST_SIDE_PX, round(side * scale)) for side in image.shape)
    if (height, width) != image.shape:
        shrinks = scale < 1
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return torch.from_numpy(resized)[None]
    return torch.from_numpy(image)[None]


def keep(prediction: Prediction, chosen: NDArray[Any]) -> Prediction:
    """The part of a prediction given by a boolean or index array (N,)."""
    index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    return Prediction(
        boxes=prediction.boxes[index],
        labels=prediction.labels[index],
        scores=prediction.scores[index],
        masks=None if prediction.masks is None else [prediction.masks[i] for i in index],
        rotated_boxes=None if prediction.rotated_boxes is None else prediction.rotated_boxes[index],
        capped=prediction.capped,
    )


def merge(looks: list[Prediction], iou: float, max_instances: int) -> Prediction:
    """Predictions of one micrograph at several magnifications → one, without repetitions; the higher score wins."""
    turned: list[Any] = [look.rotated_boxes for look in looks]
    together = Prediction(
        boxes=np.concatenate([look.boxes for look in looks]),
        labels=np.concatenate([look.labels for look in looks]),
        scores=np.concatenate([look.scores for look in looks]),
        masks=None if looks[0].masks is None else [mask for look in looks for mask in look.masks or []],
        rotated_boxes=None if turned[0] is None else np.concatenate(turned),
        capped=any(look.capped for look in looks),
    )
    ordered = keep(together, np.argsort(-together.scores, kind="stable"))
    merged = keep(ordered, distinct(ordered, iou))
    cut = keep(merged, np.arange(min(len(merged), max_instances)))
    return dataclasses.replace(cut, capped=cut.capped or len(merged) > max_instances)


def distinct(prediction: Prediction, iou: float) -> NDArray[np.bool_]:
    """Which particles (N,) are no repetition of one with a higher score and the same class.

    Overlap is that of masks: rods that lie side by side at 45° share most of their boxes and none of their area. Boxes
    are compared where the model has no masks.
    """
    if not len(prediction):
        return np.zeros(0, bool)
    if prediction.masks is not None:
        shapes: Any = prediction.masks
    else:
        shapes = xyxy_to_xywh(prediction.boxes.astype(np.float64))
    overlap = coco_mask.iou(shapes, shapes, [0] * len(prediction)) >= iou
    overlap &= prediction.labels[:, None] == prediction.labels[None]
    kept = np.ones(len(prediction), bool)
    for index in range(len(prediction)):
        if kept[index]:
            kept[index + 1 :] &= ~overlap[index, index + 1 :]
    return kept


def _within(prediction: Prediction, classes: int) -> Prediction:
    """Labels that the dataset has; a model of more classes (class-agnostic evaluation) calls the others class 0."""
    labels = np.where(prediction.labels < classes, prediction.labels, 0)
    return dataclasses.replace(prediction, labels=labels)


def predict_dataset(
    model: SegmentationModel, dataset: CocoDataset, predictor: Predictor
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Predicts all micrographs of a dataset → (COCO results, info for predictions.json)."""
    model.eval()
    results: list[dict[str, Any]] = []
    capped: list[int] = []
    seconds = 0.0
    for image in dataset.images:
        pixels = normalise(read_micrograph(image.path).pixels)
        start = time.perf_counter()
        prediction = predictor(model, pixels)
        seconds += time.perf_counter() - start
        if prediction.capped:
            capped.append(image.id)
        results += to_results(_within(prediction, len(dataset.category_ids)), image.id, dataset.category_ids)
    return results, {
        "dataset": str(dataset.path),
        "image_ids": [image.id for image in dataset.images],
        "categories": dataset.categories,
        "max_instances": predictor.max_instances,
        "capped_image_ids": capped,
        "seconds_per_image": seconds / max(1, len(dataset)),
    }

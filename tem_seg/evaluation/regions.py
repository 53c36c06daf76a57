"""Crowded images in independent parts: a prediction and a truth that do not touch never matter to each other.

COCO's evaluation compares all with all: 20,000 particles in one image would take 3 GB for each table of IoUs, and a
quarter of an hour. Matched part by part the same pairs come out, since no overlap leaves its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from tem_seg.core.components import components
from tem_seg.core.geometry import enclosing_boxes
from tem_seg.data.annotations import rotated_boxes_of
from tem_seg.data.coco import ImageRecord
from tem_seg.evaluation.inputs import KEYS, IouType

CROWDED = 1000
"""Images with no more predictions and no more truths are left as they are."""

Index = NDArray[np.int64]


def parts(
    truths: Sequence[dict[str, Any]], predictions: Sequence[dict[str, Any]], iou_type: IouType, size: int = CROWDED
) -> list[tuple[Index, Index]]:  # fmt: skip
    """Truths and predictions of one image → (truths, predictions) of each part, ascending indices; all are in one part.

    Parts hold about ``size`` of both together, more where more touch each other in a row. One part for few.
    """
    count, total = len(truths), len(truths) + len(predictions)
    if max(count, len(predictions)) <= size:
        return [(np.arange(count), np.arange(len(predictions)))]
    boxes = np.concatenate([_extents(truths, iou_type), _extents(predictions, iou_type)])
    frames = shapely.box(*boxes.T)
    found, wanted = shapely.STRtree(frames[:count]).query(frames[count:])
    group = components(total, found + count, wanted)
    sizes = np.bincount(group)
    part = ((np.cumsum(sizes) - sizes) // size)[group]  # whole groups, one after the other
    order = np.argsort(part, kind="stable")
    together = np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
    return [(members[members < count], members[members >= count] - count) for members in together]


def split_images(
    images: Sequence[ImageRecord], truths: list[dict[str, Any]], detections: list[dict[str, Any]], iou_type: IouType,
    max_instances: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """COCO annotations and results of a dataset's images → COCO images, annotations, results; a part is an image.

    max_instances: COCO's cap, of an image and class, is applied before images are taken apart.
    """
    grouped: dict[int, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {image.id: ([], []) for image in images}
    for place, entries in enumerate((truths, detections)):
        for entry in entries:
            grouped[entry["image_id"]][place].append(entry)
    made: list[dict[str, Any]] = []
    wanted: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in images:
        of_image, in_image = grouped[image.id][0], capped(grouped[image.id][1], max_instances)
        for truth_index, found_index in parts(of_image, in_image, iou_type):
            made.append({"id": len(made) + 1, "height": image.height, "width": image.width})
            wanted += [of_image[i] | {"image_id": len(made)} for i in truth_index]
            found += [in_image[i] | {"image_id": len(made)} for i in found_index]
    return made, wanted, found


def capped(detections: list[dict[str, Any]], max_instances: int) -> list[dict[str, Any]]:
    """One image's detections, of each class at most so many: those of the highest scores, in the order given."""
    if len(detections) <= max_instances:
        return detections
    classes = np.array([entry["category_id"] for entry in detections])
    scores = np.array([entry["score"] for entry in detections])
    kept = np.zeros(len(detections), bool)
    for category in np.unique(classes):
        members = np.flatnonzero(classes == category)
        kept[members[np.argsort(-scores[members], kind="stable")[:max_instances]]] = True
    return [entry for entry, chosen in zip(detections, kept.tolist(), strict=True) if chosen]


def _extents(entries: Sequence[dict[str, Any]], iou_type: IouType) -> NDArray[np.float64]:
    """Upright boxes (N, 4) xyxy px around what is compared."""
    if not entries:
        return np.zeros((0, 4))
    if iou_type == "rotated":
        return enclosing_boxes(rotated_boxes_of(list(entries)))
    if iou_type == "segm":
        boxes = np.asarray(coco_mask.toBbox([entry[KEYS[iou_type]] for entry in entries]), np.float64)
    else:
        boxes = np.asarray([entry["bbox"] for entry in entries], np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + np.maximum(boxes[:, 2:], 0.0)], axis=1)

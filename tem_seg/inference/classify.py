"""A classifier and micrographs → COCO results: a row a class, for each micrograph or each annotated particle of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.data.results import NAMED_SHAPE, SHAPE_PROBABILITY
from tem_seg.inference.predict import Predicted
from tem_seg.models.classify.network import ShapeClassifier


def classify_images(
    model: ShapeClassifier, dataset: CocoDataset, precision: torch.dtype = torch.float32
) -> Iterator[Predicted]:
    """Probabilities of every class, for each micrograph, or (of a classifier of particles) for each annotated particle.

    Rows have ``image_id, category_id, bbox, score``, of particles ``annotation_id`` too. Crowd regions are none.
    """
    model.eval()
    for image in dataset.images:
        pixels = normalise(read_micrograph(image.path).pixels)
        particles = [a for a in dataset.annotations[image.id] if not a.get("iscrowd")]
        start = time.perf_counter()
        if model.look.particles:
            found = probabilities(model, pixels, [a["bbox"] for a in particles], precision)
            things = [{"bbox": a["bbox"], "annotation_id": a["id"]} for a in particles]
        else:
            found = probabilities(model, pixels, None, precision)
            things = [{"bbox": [0.0, 0.0, float(image.width), float(image.height)]}]
        rows = _rows(dataset, image, things, found)
        yield Predicted(image.id, rows, capped=False, seconds=time.perf_counter() - start)


@torch.inference_mode()
def probabilities(
    model: ShapeClassifier, pixels: NDArray[np.floating], boxes_xywh: Sequence[Sequence[float]] | None,
    precision: torch.dtype = torch.float32,
) -> NDArray[np.float64]:  # fmt: skip
    """pixels (H, W) in [0, 1] → (N, C) of the particles in N boxes [x, y, w, h] px; None: (1, C), of the whole."""
    image = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))[None].to(model.device)
    with torch.autocast(model.device.type, precision, enabled=precision != torch.float32):
        if boxes_xywh is None:
            found = model.of_image(image)[None]
        else:
            boxes = np.array(boxes_xywh, np.float32).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            found = model.of_particles(image, torch.from_numpy(boxes).to(model.device))
    return found.double().cpu().numpy()  # type: ignore[no-any-return]


def with_shapes(
    model: ShapeClassifier, categories: Sequence[str], image: ImageRecord, rows: list[dict[str, Any]],
    precision: torch.dtype = torch.float32,
) -> list[dict[str, Any]]:  # fmt: skip
    """Results of one micrograph, each with the class that its particle most probably is of, and that probability."""
    pixels = normalise(read_micrograph(image.path).pixels)
    found = probabilities(model, pixels, [row["bbox"] for row in rows], precision)
    best = found.argmax(axis=1)
    return [
        row | {NAMED_SHAPE: categories[label], SHAPE_PROBABILITY: round(float(each[label]), 5)}
        for row, each, label in zip(rows, found, best.tolist(), strict=True)
    ]


def _rows(
    dataset: CocoDataset, image: ImageRecord, things: list[dict[str, Any]], found: NDArray[np.float64]
) -> list[dict[str, Any]]:
    return [
        {"image_id": image.id, "category_id": category, **thing, "score": round(float(score), 6)}
        for thing, scores in zip(things, found, strict=True)
        for category, score in zip(dataset.category_ids, scores, strict=True)
    ]

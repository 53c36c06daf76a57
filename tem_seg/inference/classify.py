"""A classifier and micrographs → COCO results: a row a class, for each micrograph or each annotated particle of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.data.results import NAMED_SHAPE, SHAPE_PROBABILITY
from tem_seg.data.rle import decode_crop
from tem_seg.inference.predict import Predicted
from tem_seg.models.classify.network import Look, ShapeClassifier


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
            found = probabilities(model, pixels, particles, precision)
            things = [{"bbox": a["bbox"], "annotation_id": a["id"]} for a in particles]
        else:
            found = probabilities(model, pixels, None, precision)
            things = [{"bbox": [0.0, 0.0, float(image.width), float(image.height)]}]
        rows = _rows(dataset, image, things, found)
        yield Predicted(image.id, rows, capped=False, seconds=time.perf_counter() - start)


@torch.inference_mode()
def probabilities(
    model: ShapeClassifier, pixels: NDArray[np.floating], particles: Sequence[dict[str, Any]] | None,
    precision: torch.dtype = torch.float32,
) -> NDArray[np.float64]:  # fmt: skip
    """pixels (H, W) in [0, 1] → (N, C) of N particles; None: (1, C), of the whole.

    particles: COCO's annotations or results, of which ``bbox`` [x, y, w, h] px is read, and ``segmentation`` where the
    classifier is shown outlines (UserError where it is missing).
    """
    image = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))[None].to(model.device)
    with torch.autocast(model.device.type, precision, enabled=precision != torch.float32):
        if particles is None:
            found = model.of_image(image)[None]
        else:
            corners = np.array([each["bbox"] for each in particles], np.float32).reshape(-1, 4)
            corners[:, 2:] += corners[:, :2]
            boxes = torch.from_numpy(corners)
            outlines = _outlines(model.look, particles, boxes).to(model.device) if model.look.outlines else None
            found = model.of_particles(image, boxes.to(model.device), outlines)
    return found.double().cpu().numpy()  # type: ignore[no-any-return]


def with_shapes(
    model: ShapeClassifier, categories: Sequence[str], image: ImageRecord, rows: list[dict[str, Any]],
    precision: torch.dtype = torch.float32,
) -> list[dict[str, Any]]:  # fmt: skip
    """Results of one micrograph, each with the class that its particle most probably is of, and that probability."""
    pixels = normalise(read_micrograph(image.path).pixels)
    found = probabilities(model, pixels, rows, precision)
    best = found.argmax(axis=1)
    return [
        row | {NAMED_SHAPE: categories[label], SHAPE_PROBABILITY: round(float(each[label]), 5)}
        for row, each, label in zip(rows, found, best.tolist(), strict=True)
    ]


def _outlines(look: Look, particles: Sequence[dict[str, Any]], boxes: Tensor) -> Tensor:
    """(N, 1, s, s): the masks of particles in boxes (N, 4) xyxy px, as the network is shown them."""
    if any("segmentation" not in each for each in particles):
        raise UserError(
            "this classifier is shown the outlines of particles (model.outlines=true), but what is to be named are "
            "boxes alone: use a model that finds masks, or a classifier trained with model.outlines=false"
        )
    squares = [torch.zeros(0, 1, look.particle_px, look.particle_px)]
    for each, box in zip(particles, boxes, strict=True):
        crop, x0, y0 = decode_crop(each["segmentation"])
        # roi_align repeats what is at the edge, which must be ground, and crashes on an image of no pixels (empty mask)
        mask = torch.from_numpy(np.pad(crop, 1))
        squares.append(look.masks(mask[None], (box - (box.new_tensor([x0, y0, x0, y0]) - 1))[None]))
    return torch.cat(squares)


def _rows(
    dataset: CocoDataset, image: ImageRecord, things: list[dict[str, Any]], found: NDArray[np.float64]
) -> list[dict[str, Any]]:
    return [
        {"image_id": image.id, "category_id": category, **thing, "score": round(float(score), 6)}
        for thing, scores in zip(things, found, strict=True)
        for category, score in zip(dataset.category_ids, scores, strict=True)
    ]

"""Small datasets in memory, and pycocotools as the oracle, for the tests of evaluation."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset, ImageRecord, annotation_of

Spec = dict[int, list[tuple[Any, ...]]]


def disc(x: float, y: float, radius: float, size: tuple[int, int]) -> Any:
    """Rle of a disc in a frame (H, W); at least one pixel."""
    left, top, extent = int(x - radius) - 1, int(y - radius) - 1, int(2 * radius) + 4
    rows, columns = np.mgrid[top : top + extent, left : left + extent] + 0.5
    mask = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    mask[min(int(y), size[0] - 1) - top, min(int(x), size[1] - 1) - left] = True
    return rle.encode_crop(mask, left, top, size)


def dataset_of(spec: Spec, size: tuple[int, int] = (120, 160), category_ids: tuple[int, ...] = (7, 3)) -> CocoDataset:
    """spec: image id → [(x, y, radius, label)] discs."""
    annotations: dict[int, list[dict[str, Any]]] = {}
    number = 0
    for image_id, discs in spec.items():
        annotations[image_id] = []
        for x, y, radius, label in discs:
            entry = annotation_of(disc(x, y, radius, size), image_id, category_ids[label], number)
            annotations[image_id].append(entry | {"label": label})
            number += 1
    images = [ImageRecord(i, Path(f"/nowhere/{i}.png"), *size) for i in spec]
    names = ["rod", "cube", "sphere"][: len(category_ids)]
    return CocoDataset(Path("/nowhere/dataset.json"), images, names, list(category_ids), annotations)


def result_of(annotation: dict[str, Any], score: float) -> dict[str, Any]:
    """A perfect prediction of an annotation."""
    return {key: annotation[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": score}


def perfect(dataset: CocoDataset, score: float = 0.95) -> list[dict[str, Any]]:
    """Every annotation predicted exactly, all at one score."""
    return [result_of(entry, score) for found in dataset.annotations.values() for entry in found]


def random_scene(rng: np.random.Generator, images: int = 4) -> tuple[CocoDataset, list[dict[str, Any]]]:
    """Overlapping discs of two classes, an image without truths, shaky predictions, some wrong; distinct scores."""
    size = (120, 160)
    spec: Spec = {
        10 * i + 3: [
            (rng.uniform(0, 160), rng.uniform(0, 120), rng.choice([3, 8, 20, 55]) * rng.uniform(0.7, 1.2), k % 2)
            for k in range(0 if i == 1 else int(rng.integers(1, 12)))
        ]
        for i in range(images)
    }
    dataset = dataset_of(spec, size)
    results = []
    for image_id, discs in spec.items():
        guesses = [
            (x + rng.normal(), y + rng.normal(), r * rng.uniform(0.8, 1.2), c)
            for x, y, r, c in discs if rng.random() < 0.85
        ]  # fmt: skip
        guesses += [(rng.uniform(0, 160), rng.uniform(0, 120), rng.uniform(2, 30), 0) for _ in range(3)]
        for x, y, r, c in guesses:
            label = 1 - c if rng.random() < 0.1 else c
            mask = disc(x, y, r, size)
            entry = annotation_of(mask, image_id, dataset.category_ids[label], 0)
            results.append(result_of(entry, float(rng.random())))
    return dataset, results


def pycocotools_figures(
    dataset: CocoDataset, results: list[dict[str, Any]], iou_type: str, cap: int, agnostic: bool = False
) -> dict[str, Any]:
    """AP and AR of pycocotools at a cap of our choice, read from its precision array; AP by class name."""
    truth = COCO()
    entries = [e for found in dataset.annotations.values() for e in found]
    truth.dataset = {
        "images": [{"id": i.id, "height": i.height, "width": i.width} for i in dataset.images],
        "categories": [{"id": i, "name": str(i)} for i in dataset.category_ids],
        "annotations": [dict(e, id=k + 1) for k, e in enumerate(entries)],
    }
    rows = [{k: v for k, v in row.items() if not (iou_type == "segm" and k == "bbox")} for row in results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), iou_type)
        evaluation.params.maxDets = [cap]
        evaluation.params.useCats = not agnostic
        evaluation.evaluate()
        evaluation.accumulate()

    def mean(values: Any) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else float("nan")

    p, r = evaluation.eval["precision"][..., -1], evaluation.eval["recall"][..., -1]
    ids = dataset.category_ids
    names = {i: k for k, i in enumerate(sorted(ids))}
    return {
        "ap": mean(p[..., 0]), "ap50": mean(p[0, ..., 0]), "ap75": mean(p[5, ..., 0]),
        "ap_small": mean(p[..., 1]), "ap_medium": mean(p[..., 2]), "ap_large": mean(p[..., 3]),
        "ar": mean(r[..., 0]), "ar50": mean(r[0, ..., 0]),
    } | {
        name: mean(p[:, :, names[i], 0]) for name, i in zip(dataset.categories, ids, strict=True) if not agnostic
    }  # fmt: skip

"""COCO's JSON, and a run's predictions.json: every mask whole; see data/coco.py and docs/results-format.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances
from tem_seg.data import coco
from tem_seg.data.atomic import read_json
from tem_seg.data.formats.canvas import Canvas
from tem_seg.data.formats.model import PARTICLE, Annotated, Found, Source
from tem_seg.data.images import refuse_huge
from tem_seg.data.rle import runs_of


def recognises(source: Source) -> bool:
    """Whether a file is a COCO dataset, or a run's predictions.json."""
    return isinstance(source.json, dict) and (
        {"images", "annotations"} <= source.json.keys() or {"info", "results"} <= source.json.keys()
    )


def read(source: Source) -> Found:
    """All micrographs; crowd regions are no particles. The picture files need not be there."""
    path, content = (source.path, source.json) if "images" in source.json else _predicted(source)
    for image in content["images"] if isinstance(content["images"], list) else []:
        if isinstance(image, dict):
            _check_image(source, image)
    dataset = coco.of_content(path, content, need_images=False)
    coco.require_masks(dataset, "measuring particles")
    frames = {image["id"]: image.get("frame") for image in content["images"]}
    images, notes = [], []
    for record in dataset.images:
        canvas = Canvas(source, record.path.name, (record.height, record.width))
        for entry in dataset.annotations[record.id]:
            if entry.get("iscrowd"):
                canvas.skip("crowd region")
            else:
                canvas.put(entry["segmentation"], f"annotation {entry['id']}", dataset.categories[entry["label"]],
                           entry.get("score"))  # fmt: skip
        one = canvas.annotated(pixel_size_nm=record.pixel_size_nm)
        frame = frames.get(record.id)
        images.append(replace(one, image=record.path, frame=frame if isinstance(frame, int) else None))
        notes += canvas.notes
    return Found(images, notes)


def _predicted(source: Source) -> tuple[Path, dict[str, Any]]:
    """A run's predictions.json → the dataset whose micrographs it names, and its content with what was predicted."""
    info, results = source.json["info"], source.json["results"]
    named = info.get("dataset") if isinstance(info, dict) else None
    if not isinstance(named, str) or not isinstance(results, list):
        raise UserError(f"{source.path} is no predictions.json: it has no info.dataset, or results are no list")
    path = Path(named)
    if not path.is_file():
        raise UserError(f"{source.path} holds predictions for {path}, which is not there: put the dataset back")
    content = read_json(path)
    shown = set(info.get("image_ids", ()))
    if any(not isinstance(row, dict) or "segmentation" not in row for row in results):
        raise UserError(f"{source.path} holds boxes alone: outlines need a model with masks")
    predicted = [{**row, "id": number, "iscrowd": 0, "area": _area(row)} for number, row in enumerate(results, 1)]
    images = [image for image in content["images"] if image["id"] in shown]
    return path, {**content, "images": images, "annotations": predicted}


def _area(row: dict[str, Any]) -> int:
    """px; 0 for what is no mask, which is found when the content is checked."""
    mask = row["segmentation"]
    runs = runs_of(mask.get("counts")) if isinstance(mask, dict) else None
    return 0 if runs is None else int(runs[1::2].sum())


def _check_image(source: Source, image: dict[str, Any]) -> None:
    """What must not be drawn on, or looked for, even to find faults."""
    if "\0" in str(image.get("file_name")):
        raise UserError(f"{source.path}: image {image.get('id')} has a file_name that no file can have")
    sides = image.get("height"), image.get("width")
    if isinstance(sides[0], int) and isinstance(sides[1], int):
        refuse_huge(source.path, (sides[0], sides[1]))


def write(found: Sequence[Annotated], path: Path) -> list[str]:
    """All micrographs in one file, in the order given."""
    categories = list(dict.fromkeys(name for one in found for name in one.categories)) or [PARTICLE]
    ids = list(range(1, len(categories) + 1))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(found, start=1):
        labels = np.array([categories.index(name) for name in one.categories], np.int64)
        scores: list[dict[str, Any]] = [{} if score is None else {"score": score} for score in one.scores]
        instances = Instances(one.size, labels, one.masks, truths=scores)
        annotations += coco.annotations_of(instances, number, ids, len(annotations) + 1)
        images.append(_entry(number, one))
    coco.write(path, images, annotations, categories)
    return []


def _entry(number: int, one: Annotated) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": number, "file_name": one.name, "height": one.size[0], "width": one.size[1]}
    if one.pixel_size_nm is not None:
        entry |= {"pixel_size_nm": one.pixel_size_nm, "pixel_size_source": one.pixel_size_source}
    return entry | ({} if one.frame is None else {"frame": one.frame})

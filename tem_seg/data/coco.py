"""COCO datasets: read, written, validated. Extra keys (docs/results-format.md) are ones that other tools ignore."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances, Rle
from tem_seg.data import rle
from tem_seg.data.annotations import completed, has_masks, has_rotated_boxes, measured, of_masks
from tem_seg.data.atomic import write_json
from tem_seg.data.validation import find_faults

IMAGE_EXTRAS = ("pixel_size_nm", "pixel_size_source", "modality", "group_id", "seed")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a dataset. path is absolute; height and width in px; pixel_size_nm None = no calibration."""

    id: int
    path: Path
    height: int
    width: int
    pixel_size_nm: float | None = None
    pixel_size_source: str | None = None
    modality: str = "unknown"
    group_id: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class CocoDataset:
    """A validated dataset: images, category names (label = position), and each image's annotations.

    annotations[image_id] is a list of COCO annotation dicts whose ``segmentation`` is an Rle and whose
    ``label`` (0..C-1) has been added; empty for an image without particles. Where only boxes were drawn no annotation
    has a ``segmentation``; all or none have a ``rotated_box`` then.
    """

    path: Path
    images: list[ImageRecord]
    categories: list[str]
    category_ids: list[int]
    annotations: dict[int, list[dict[str, Any]]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def count(self) -> int:
        """Number of annotated particles."""
        return sum(len(found) for found in self.annotations.values())

    @property
    def has_masks(self) -> bool:
        """Outlines are known, not boxes alone."""
        return all(has_masks(found) for found in self.annotations.values())

    @property
    def has_rotated_boxes(self) -> bool:
        """Rotated boxes are known, or masks that they can be made from."""
        return all(has_rotated_boxes(found) for found in self.annotations.values())

    def subset(self, count: int | None) -> CocoDataset:
        """At most ``count`` images, spread evenly over the dataset (all of them for None)."""
        if count is None or count >= len(self.images):
            return self
        if count == 0:
            return self.only([])
        step = len(self.images) / count
        return self.only([self.images[int((index + 0.5) * step)].id for index in range(count)])

    def of_classes(self, classes: Sequence[str] | None) -> CocoDataset:
        """The annotations of these classes, whose places are then the labels (all, in the file's order, for None).

        Images without such a particle stay, as negatives. Raises UserError for a class that is unknown or comes twice.
        """
        if classes is None:
            return self
        check_classes(classes, self.categories, str(self.path))
        label_of = {self.categories.index(name): label for label, name in enumerate(classes)}
        annotations = {
            image_id: [e | {"label": label_of[e["label"]]} for e in found if e["label"] in label_of]
            for image_id, found in self.annotations.items()
        }
        category_ids = [self.category_ids[label] for label in label_of]
        return CocoDataset(self.path, self.images, list(classes), category_ids, annotations)

    def only(self, image_ids: Sequence[int] | None) -> CocoDataset:
        """The images of these ids, in the dataset's order (all of them for None)."""
        if image_ids is None:
            return self
        wanted = set(image_ids)
        images = [image for image in self.images if image.id in wanted]
        annotations = {image.id: self.annotations[image.id] for image in images}
        return CocoDataset(self.path, images, self.categories, self.category_ids, annotations)


def check_classes(classes: Sequence[str], there: Sequence[str], where: str) -> None:
    """Raises UserError where ``classes`` names one that is not ``there``, one twice, or none."""
    if missing := [name for name in classes if name not in there]:
        raise UserError(f"dataset.classes names {', '.join(missing)}, but {where} has the classes {', '.join(there)}")
    if not classes or len(set(classes)) < len(classes):
        raise UserError(f"dataset.classes must name each class once and at least one, got {list(classes)}")


def read(path: Path) -> CocoDataset:
    """Reads and validates a ``dataset.json`` (or any COCO file); image files are looked for beside it.

    Raises UserError with every fault in one message.
    """
    if not path.is_file():
        raise UserError(f"no dataset at {path}: expected a COCO json file")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows tools write a byte-order mark
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from error
    return of_content(path, content)


def of_content(path: Path, content: Any, *, need_images: bool = True) -> CocoDataset:
    """Validates what was read from ``path``. need_images: the image files must be there."""
    faults = find_faults(content, path.parent if need_images else None)
    if faults:
        shown = "\n  ".join(faults[:50]) + (f"\n  … and {len(faults) - 50} more" if len(faults) > 50 else "")
        raise UserError(f"{path} has {len(faults)} fault(s):\n  {shown}")
    return _build(path, content)


def _build(path: Path, content: dict[str, Any]) -> CocoDataset:
    images = [
        ImageRecord(
            id=entry["id"],
            path=(path.parent / entry["file_name"]).resolve(),
            height=entry["height"],
            width=entry["width"],
            **{key: entry[key] for key in IMAGE_EXTRAS if entry.get(key) is not None},
        )
        for entry in content["images"]
    ]
    category_ids = [category["id"] for category in content["categories"]]
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    sizes = {image.id: (image.height, image.width) for image in images}
    annotations: dict[int, list[dict[str, Any]]] = {image.id: [] for image in images}
    for entry in content["annotations"]:
        size = sizes[entry["image_id"]]
        converted = completed(entry, size) | {"label": label_of[entry["category_id"]]}
        if "segmentation" in converted:
            converted["segmentation"] = as_rle(converted["segmentation"], size)
        if entry.get("full_segmentation"):
            converted["full_segmentation"] = as_rle(entry["full_segmentation"], size)
        annotations[entry["image_id"]].append(converted)
    return CocoDataset(path, images, [c["name"] for c in content["categories"]], category_ids, annotations)


def require_masks(dataset: CocoDataset, purpose: str) -> None:
    """UserError where the dataset knows boxes only, and ``purpose`` ("average precision of masks") needs masks."""
    if not dataset.has_masks:
        raise UserError(
            f"{purpose} needs masks, but the annotations of {dataset.path} are "
            f"{'rotated ' if dataset.has_rotated_boxes else ''}boxes without 'segmentation': use boxes "
            "(model=faster_rcnn, rotated boxes: model=rotated_faster_rcnn), or a dataset with masks"
        )


def as_rle(segmentation: Any, size: tuple[int, int]) -> Rle:
    """Any COCO segmentation (polygons, compressed or uncompressed RLE) of a frame (H, W) → compressed Rle."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            return {"size": list(size), "counts": rle.compress(np.asarray(segmentation["counts"], np.int64))}
        return {"size": list(segmentation["size"]), "counts": segmentation["counts"]}
    return rle.from_polygons(segmentation, size)


# -------------------------------------------------------------------------------------------------- writing


def annotation_of(segmentation: Rle, image_id: int, category_id: int, annotation_id: int) -> dict[str, Any]:
    """A complete COCO annotation with rotated box and border flag, from one visible mask."""
    return {"id": annotation_id, "image_id": image_id, "category_id": category_id} | of_masks([segmentation])[0]


def annotations_of(
    instances: Instances, image_id: int, category_ids: Sequence[int], first_id: int
) -> list[dict[str, Any]]:
    """Instances of one image → COCO annotations; empty masks (wholly hidden particles) are left out."""
    found: list[dict[str, Any]] = []
    for index, said in enumerate(measured(instances)):
        if said["area"] == 0:
            continue
        category_id = category_ids[int(instances.labels[index])]
        entry = {"id": first_id + len(found), "image_id": image_id, "category_id": category_id} | said
        if instances.full_segmentations:
            entry["full_segmentation"] = instances.full_segmentations[index]
        found.append(entry | (instances.truths[index] if instances.truths else {}))
    return found


def write(
    path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: Sequence[str],
    info: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Writes a COCO file atomically. images need id, file_name, height, width; category ids are 1..C."""
    content = {
        "info": info or {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(categories)],
    }
    write_json(path, content)

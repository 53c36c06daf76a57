"""COCO datasets: read, written, validated. Extra keys (docs/results-format.md) are ones that other tools ignore."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import box_of_crop, pixel_corners, rotated_box_of_points, wrap_half_turn, xyxy_to_xywh
from tem_seg.core.types import Instances, Rle
from tem_seg.data import rle
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
    ``label`` (0..C-1) has been added; empty for an image without particles.
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

    def subset(self, count: int | None) -> CocoDataset:
        """At most ``count`` images, spread evenly over the dataset (all of them for None)."""
        if count is None or count >= len(self.images):
            return self
        if count == 0:
            return self.only([])
        step = len(self.images) / count
        return self.only([self.images[int((index + 0.5) * step)].id for index in range(count)])

    def only(self, image_ids: Sequence[int] | None) -> CocoDataset:
        """The images of these ids, in the dataset's order (all of them for None)."""
        if image_ids is None:
            return self
        wanted = set(image_ids)
        images = [image for image in self.images if image.id in wanted]
        annotations = {image.id: self.annotations[image.id] for image in images}
        return CocoDataset(self.path, images, self.categories, self.category_ids, annotations)


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
    faults = find_faults(content, path.parent)
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
        converted = entry | {
            "segmentation": as_rle(entry["segmentation"], size),
            "label": label_of[entry["category_id"]],
        }
        if entry.get("full_segmentation"):
            converted["full_segmentation"] = as_rle(entry["full_segmentation"], size)
        annotations[entry["image_id"]].append(converted)
    return CocoDataset(path, images, [c["name"] for c in content["categories"]], category_ids, annotations)


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
    crop, x0, y0 = rle.decode_crop(segmentation)
    box = np.asarray([box_of_crop(crop, x0, y0)], float)
    height, width = segmentation["size"]
    x, y, w, h = (float(v) for v in xyxy_to_xywh(box)[0])
    corners = pixel_corners(crop, x0, y0)
    rotated = rotated_box_of_points(corners) if len(corners) else (0.0,) * 5
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x, y, w, h],
        "area": int(crop.sum()),
        "iscrowd": 0,
        "segmentation": segmentation,
        "rotated_box": [*(round(v, 3) for v in rotated[:4]), wrap_half_turn(round(rotated[4], 3))],
        "truncated": bool(x <= 0 or y <= 0 or x + w >= width or y + h >= height),
    }


def annotations_of(
    instances: Instances, image_id: int, category_ids: Sequence[int], first_id: int
) -> list[dict[str, Any]]:
    """Instances of one image → COCO annotations; empty masks (wholly hidden particles) are left out."""
    found: list[dict[str, Any]] = []
    for index, segmentation in enumerate(instances.segmentations):
        entry = annotation_of(segmentation, image_id, category_ids[int(instances.labels[index])], first_id + len(found))
        if entry["area"] == 0:
            continue
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

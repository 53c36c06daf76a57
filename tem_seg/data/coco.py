"""COCO datasets: read, written, validated. Extra keys (docs/results-format.md) are ones that other tools ignore."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import rotated_box_of_points, wrap_half_turn
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
    return {"id": annotation_id, "image_id": image_id, "category_id": category_id} | _measured([segmentation])[0]


def annotations_of(
    instances: Instances, image_id: int, category_ids: Sequence[int], first_id: int
) -> list[dict[str, Any]]:
    """Instances of one image → COCO annotations; empty masks (wholly hidden particles) are left out."""
    found: list[dict[str, Any]] = []
    for index, measured in enumerate(_measured(instances.segmentations)):
        if measured["area"] == 0:
            continue
        category_id = category_ids[int(instances.labels[index])]
        entry = {"id": first_id + len(found), "image_id": image_id, "category_id": category_id} | measured
        if instances.full_segmentations:
            entry["full_segmentation"] = instances.full_segmentations[index]
        found.append(entry | (instances.truths[index] if instances.truths else {}))
    return found


def _measured(segmentations: Sequence[Rle]) -> list[dict[str, Any]]:
    """What an annotation says of its mask, for N masks at once."""
    owner, column, top, bottom = rle.column_pieces(segmentations)
    area = np.bincount(owner, bottom - top, minlength=len(segmentations)).astype(np.int64).tolist()
    other = np.ones(len(owner) + 1, bool)
    other[1:-1] = (owner[1:] != owner[:-1]) | (column[1:] != column[:-1])
    firsts, lasts = np.flatnonzero(other[:-1]), np.flatnonzero(other[1:])
    points, owner = _outer_corners(owner[firsts], column[firsts], top[firsts], bottom[lasts])
    first = np.searchsorted(owner, np.arange(len(segmentations) + 1))
    corners = [points[begin:end] for begin, end in pairwise(first.tolist())]
    return [_entry(*each) for each in zip(segmentations, area, corners, strict=True)]


def _outer_corners(
    owner: NDArray[np.int64], column: NDArray[np.int64], top: NDArray[np.int64], bottom: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Corners (K, 2) x, y px and their owners (K,): of the columns of many masks, those that a convex hull can have.

    A column's corner is none of them if the next column on that side reaches as far.
    """
    apart = np.ones(len(owner) + 1, bool)
    apart[1:-1] = (owner[1:] != owner[:-1]) | (column[1:] != column[:-1] + 1)
    corners = np.empty((len(owner), 4, 2))
    kept = np.empty((len(owner), 4), bool)
    for place, edge, further in ((0, top, np.less), (2, bottom, np.greater)):
        corners[:, place : place + 2, 1] = edge[:, None]
        kept[:, place], kept[:, place + 1] = apart[:-1], apart[1:]
        kept[1:, place] |= further(edge[1:], edge[:-1])
        kept[:-1, place + 1] |= further(edge[:-1], edge[1:])
    corners[:, 0::2, 0], corners[:, 1::2, 0] = column[:, None], column[:, None] + 1
    return corners[kept], np.repeat(owner, 4).reshape(-1, 4)[kept]


def _entry(segmentation: Rle, area: int, corners: NDArray[np.float64]) -> dict[str, Any]:
    x, y, right, low = (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()) if area else (0.0,) * 4
    rotated = rotated_box_of_points(corners) if area else (0.0,) * 5
    height, width = segmentation["size"]
    return {
        "bbox": [x, y, right - x, low - y],
        "area": area,
        "iscrowd": 0,
        "segmentation": segmentation,
        "rotated_box": [*(round(v, 3) for v in rotated[:4]), wrap_half_turn(round(rotated[4], 3))],
        "truncated": bool(x <= 0 or y <= 0 or right >= width or low >= height),
    }


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

"""What a COCO annotation says of its particle, worked out from a mask or from a box alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import (
    canonical_rotated_boxes,
    enclosing_boxes,
    rotated_box_corners,
    rotated_box_of_points,
    wrap_half_turn,
)
from tem_seg.core.types import Instances, Rle
from tem_seg.data import rle

BOX_KEYS = ("segmentation", "bbox", "rotated_box")


def measured(instances: Instances) -> list[dict[str, Any]]:
    """bbox, area, iscrowd, truncated, and (where known) segmentation and rotated_box of each particle."""
    if instances.has_boxes_only:
        return _of_boxes(instances)
    return of_masks(instances.segmentations)


# --------------------------------------------------------------------------------------------------- from masks


def of_masks(segmentations: Sequence[Rle]) -> list[dict[str, Any]]:
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


# --------------------------------------------------------------------------------------------------- from boxes


def _of_boxes(instances: Instances) -> list[dict[str, Any]]:
    """From boxes (N, 4) xyxy or rotated ones (N, 5), which may reach beyond the frame; area is the box's."""
    height, width = instances.size
    rotated = None if instances.rotated_boxes is None else canonical_rotated_boxes(instances.rotated_boxes)
    whole = enclosing_boxes(rotated) if instances.boxes is None and rotated is not None else instances.boxes
    assert whole is not None
    seen = np.clip(whole, 0.0, [width, height, width, height])
    cut = (whole[:, 0] <= 0) | (whole[:, 1] <= 0) | (whole[:, 2] >= width) | (whole[:, 3] >= height)
    entries: list[dict[str, Any]] = []
    for index, (x, y, right, low) in enumerate(seen.tolist()):
        entry: dict[str, Any] = {"bbox": [x, y, right - x, low - y], "area": (right - x) * (low - y)}
        if rotated is not None:
            entry |= {"area": float(rotated[index, 2] * rotated[index, 3]), "rotated_box": rotated[index].tolist()}
        entries.append(entry | {"iscrowd": 0, "truncated": bool(cut[index])})
    return entries


def completed(entry: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """An annotation of a COCO file with what its boxes imply: rotated_box canonical, bbox upright, an area.

    A ``bbox`` of five numbers is Detectron2's XYWHA_ABS: a rotated box. Keys that say nothing (null, []) go.
    """
    known = {key: value for key, value in entry.items() if value or key not in BOX_KEYS}
    if len(known.get("bbox", ())) == 5:
        rotated = known.pop("bbox")
        known.setdefault("rotated_box", rotated)
    box = known.get("rotated_box")
    if box and not (box[2] <= box[3] and -90.0 <= box[4] < 90.0):
        known["rotated_box"] = canonical_rotated_boxes(np.asarray([box]))[0].tolist()
    if "segmentation" in known or {"bbox", "area"} <= known.keys():
        return known
    if box:
        rotated = np.asarray([known["rotated_box"]], np.float64)
        return _of_boxes(Instances(size, np.zeros(1, np.int64), [], rotated_boxes=rotated))[0] | known
    return {"area": float(known["bbox"][2] * known["bbox"][3])} | known


# ------------------------------------------------------------------------------------------------------- either


def has_masks(annotations: Iterable[Mapping[str, Any]]) -> bool:
    """Every annotation has its outline (also where there is none)."""
    return all(entry.get("segmentation") is not None for entry in annotations)


def has_rotated_boxes(annotations: Iterable[Mapping[str, Any]]) -> bool:
    """Every annotation has a rotated box, or a mask that one can be made from (also where there is none)."""
    return all(entry.get("rotated_box") is not None or entry.get("segmentation") is not None for entry in annotations)


def rotated_boxes_of(annotations: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """(N, 5) float64 [cx, cy, w, h, angle_deg ccw] px: ``rotated_box``, or the minimum-area rectangle of the mask.

    Raises UserError for an annotation with neither.
    """
    found = [entry.get("rotated_box") for entry in annotations]
    missing = [place for place, box in enumerate(found) if box is None]
    for place in missing:
        if annotations[place].get("segmentation") is None:
            entry = annotations[place]
            raise UserError(
                f"annotation {entry.get('id')} of image {entry.get('image_id')} has an upright box only: a rotated box "
                "or a mask is needed"
            )
    for place, made in zip(missing, of_masks([annotations[place]["segmentation"] for place in missing]), strict=True):
        found[place] = made["rotated_box"]
    return np.asarray(found, np.float64).reshape(-1, 5)


def outline_of(entry: Mapping[str, Any], size: tuple[int, int]) -> Rle:
    """What is drawn of a particle in a frame (H, W): its mask, else its rotated box, else its upright box."""
    if entry.get("segmentation") is not None:
        mask: Rle = entry["segmentation"]
        return mask
    if entry.get("rotated_box") is not None:
        return rle.from_polygons([rotated_box_corners(np.asarray(entry["rotated_box"])).ravel().tolist()], size)
    x, y, w, h = (round(value) for value in entry["bbox"])
    return rle.encode_crop(np.ones((max(h, 1), max(w, 1)), bool), x, y, size)

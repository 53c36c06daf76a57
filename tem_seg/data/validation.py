"""Every fault of a COCO file at once, each naming the image and the annotation it is about."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from tem_seg.core.geometry import rotated_box_corners
from tem_seg.core.types import Modality
from tem_seg.data import rle

TOLERANCE_PX = 1.0  # annotation tools put outlines up to a pixel outside
LONGEST_SIDE = 2.0  # of a rotated box, in diagonals of its image: more is a slip (other units, a lost decimal point)
CROSSED_PX2 = 1.0  # a smaller loop of a hand-drawn outline does no harm


def find_faults(content: Any, folder: Path | None) -> list[str]:
    """Faults of a parsed COCO file whose images lie in ``folder`` (None: they need not exist); [] for a sound one."""
    if not isinstance(content, dict):
        return ["the file is not a JSON object"]
    sections = ("images", "annotations", "categories")
    wrong = [key for key in sections if not isinstance(content.get(key), list)]
    if wrong:
        return [f"'{key}' is missing or not a list" for key in wrong]
    odd = [f"{key}[{k}] is not a JSON object" for key in sections for k, entry in enumerate(content[key])
           if not isinstance(entry, dict)]  # fmt: skip
    if odd:
        return odd
    faults = [f"no {key}" for key in ("images", "categories") if not content[key]]
    for key in sections:
        faults += _id_faults(key, [entry.get("id") for entry in content[key]])
    faults += _category_faults(content["categories"])
    for entry in content["images"]:
        faults += [
            f"image {entry.get('id')} ({entry.get('file_name')}): {text}" for text in _image_faults(entry, folder)
        ]
    sizes = {_key(entry.get("id")): (entry.get("height"), entry.get("width")) for entry in content["images"]}
    known = {_key(category.get("id")) for category in content["categories"]}
    for entry in content["annotations"]:
        faults += [f"image {entry.get('image_id')}, annotation {entry.get('id')}: {text}"
                   for text in _annotation_faults(entry, sizes, known)]  # fmt: skip
    return faults + _mixture_faults(content["annotations"])


def _mixture_faults(annotations: list[dict[str, Any]]) -> list[str]:
    """All have a mask or none; of those without, all have a rotated box or none."""
    boxes = [entry for entry in annotations if not _has_mask(entry)]
    if 0 < len(boxes) < len(annotations):
        return [
            f"{len(boxes)} of {len(annotations)} annotations have no segmentation (the first is annotation "
            f"{boxes[0].get('id')} of image {boxes[0].get('image_id')}): all need one, or none"
        ]
    upright = [entry for entry in boxes if not _is_rotated(entry)]
    if 0 < len(upright) < len(boxes):
        return [
            f"{len(upright)} of {len(boxes)} annotations have an upright box only (the first is annotation "
            f"{upright[0].get('id')} of image {upright[0].get('image_id')}): all need a rotated_box, or none"
        ]
    return []


def _has_mask(entry: dict[str, Any]) -> bool:
    return entry.get("segmentation") not in (None, [])


def _is_rotated(entry: dict[str, Any]) -> bool:
    bbox = entry.get("bbox")
    return entry.get("rotated_box") is not None or (isinstance(bbox, list) and len(bbox) == 5)


def _key(value: Any) -> Any:
    """JSON ids may be lists or objects, which no dict takes: those match nothing."""
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _numbers(value: Any, count: int | None = None) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """A JSON list of numbers → array; None for anything else. NaN and infinity are numbers here."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        return None
    if not all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value):
        return None
    try:
        return np.asarray(value, np.float64)
    except OverflowError:  # an integer of hundreds of digits
        return np.full(len(value), np.inf)


def _id_faults(section: str, ids: Sequence[Any]) -> list[str]:
    kind = {"images": "image", "annotations": "annotation", "categories": "category"}[section]
    faults = [
        f"{section}[{k}]: id must be an integer, got {value!r}" for k, value in enumerate(ids) if not _is_int(value)
    ]
    seen: set[int] = set()
    twice: set[int] = set()
    for value in filter(_is_int, ids):
        (twice if value in seen else seen).add(value)
    return faults + [f"{kind} id {value} is used more than once" for value in sorted(twice)]


def _category_faults(categories: list[dict[str, Any]]) -> Iterable[str]:
    names = [category.get("name") for category in categories]
    for category in categories:
        name = category.get("name")
        if not isinstance(name, str) or not name:
            yield f"category {category.get('id')}: no name"
    for name in sorted({name for name in names if isinstance(name, str) and name and names.count(name) > 1}):
        yield f"category name {name!r} is used more than once"


def _image_faults(entry: dict[str, Any], folder: Path | None) -> Iterable[str]:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        yield "no file_name"
    elif folder is None:
        pass
    elif not (folder / name).is_file():
        yield f"file not found in {folder}"
    elif (folder / name).stat().st_size == 0:
        yield "file is empty (0 bytes)"
    for key in ("height", "width"):
        if not _is_int(entry.get(key)) or entry[key] <= 0:
            yield f"{key} must be a positive integer, got {entry.get(key)!r}"
    pixel_size = entry.get("pixel_size_nm")
    if pixel_size is not None and not (isinstance(pixel_size, (int, float)) and 0 < pixel_size < math.inf):
        yield f"pixel_size_nm must be positive and finite, got {pixel_size!r}"
    modality = entry.get("modality")
    if modality is not None and modality not in [known.value for known in Modality]:
        yield f"modality must be one of {' '.join(known.value for known in Modality)}, got {modality!r}"


def _annotation_faults(entry: dict[str, Any], sizes: dict[Any, Any], known: set[Any]) -> Iterable[str]:
    image_id = _key(entry.get("image_id"))
    if image_id is None or image_id not in sizes:
        yield "no such image in this file"
        return
    if _key(entry.get("category_id")) not in known:
        yield f"category {entry.get('category_id')} is not in 'categories'"
    height, width = sizes[image_id]
    if not (_is_int(height) and _is_int(width) and height > 0 and width > 0):
        return  # said at the image
    yield from _shape_faults(entry, height, width)
    if entry.get("full_segmentation"):
        yield from (
            f"full_segmentation: {text}" for text in _segmentation_faults(entry["full_segmentation"], height, width)
        )


def _shape_faults(entry: dict[str, Any], height: int, width: int) -> Iterable[str]:
    """Of the mask and the boxes; where there is no mask, bbox may be Detectron2's rotated one, or missing."""
    bbox, rotated = entry.get("bbox"), entry.get("rotated_box")
    if _has_mask(entry):
        yield from _segmentation_faults(entry["segmentation"], height, width)
    elif bbox is None and rotated is None:
        yield "neither segmentation nor bbox nor rotated_box"
        return
    elif isinstance(bbox, list) and len(bbox) == 5:
        bbox, rotated = None, bbox if rotated is None else rotated
    if rotated is not None:
        yield from rotated_box_faults(rotated, height, width)
    if bbox is not None or _has_mask(entry):
        yield from box_faults(bbox, height, width)


def rotated_box_faults(rotated: Any, height: int, width: int) -> Iterable[str]:
    """Faults of [cx, cy, w, h, angle_deg] in an image (height, width) px, which it may reach out of."""
    box = _numbers(rotated, 5)
    if box is None or not np.isfinite(box).all():
        yield f"rotated_box must be five finite numbers [cx, cy, w, h, angle_deg], got {rotated!r}"
    elif box[2] <= 0 or box[3] <= 0:
        yield f"rotated_box {rotated} has no area: both sides must be positive"
    elif max(box[2], box[3]) > LONGEST_SIDE * math.hypot(height, width):
        yield (
            f"rotated_box {rotated} has a side of {max(box[2], box[3]):g} px, its image is {width} × {height} px: are "
            "the numbers in px?"
        )
    elif not (0 <= box[0] <= width and 0 <= box[1] <= height) and not shapely.intersects(
        shapely.Polygon(rotated_box_corners(box)), shapely.box(0, 0, width, height)
    ):
        yield f"rotated_box {rotated} lies wholly outside its image of {width} × {height} px"


def box_faults(bbox: Any, height: int, width: int) -> Iterable[str]:
    """Faults of [x, y, w, h] in an image (height, width) px."""
    box = _numbers(bbox, 4)
    if box is None or not np.isfinite(box).all():
        yield f"bbox must be four finite numbers [x, y, w, h], got {bbox!r}"
        return
    x, y, w, h = box
    if w <= 0 or h <= 0:
        yield f"bbox {bbox} has no area"
    elif min(x, y) < -TOLERANCE_PX or x + w > width + TOLERANCE_PX or y + h > height + TOLERANCE_PX:
        yield f"bbox {bbox} reaches outside its image of {width} × {height} px"


def _segmentation_faults(segmentation: Any, height: int, width: int) -> Iterable[str]:
    if isinstance(segmentation, dict):
        yield from _rle_faults(segmentation, height, width)
    elif isinstance(segmentation, list) and segmentation:
        faults = list(polygon_faults(segmentation, height, width))
        yield from faults
        if not faults and rle.area_px(rle.from_polygons(segmentation, (height, width))) == 0:
            yield "polygon covers no pixel"
    else:
        yield f"segmentation is neither RLE nor polygons, but {segmentation!r}"


def _rle_faults(segmentation: dict[str, Any], height: int, width: int) -> Iterable[str]:
    if segmentation.get("size") != [height, width]:
        yield f"mask has size {segmentation.get('size')}, its image {[height, width]}"
    counts = segmentation.get("counts")
    runs = rle.runs_of(counts)
    if runs is None:
        yield "RLE counts are damaged (neither COCO's text nor a list of run lengths)"
    elif (total := int(runs.sum())) != height * width:
        yield f"RLE covers {total} px, its image has {height * width}"
    elif not runs[1::2].any():
        yield "mask is empty"


def polygon_faults(polygons: list[Any], height: int, width: int) -> Iterable[str]:
    """Faults of COCO polygons [[x1, y1, x2, y2, …], …] in an image (height, width) px."""
    for polygon in polygons:
        numbers = _numbers(polygon)
        if numbers is None or len(numbers) < 6 or len(numbers) % 2:
            yield "polygon needs at least three x, y pairs"
            continue
        points = numbers.reshape(-1, 2)
        if not np.isfinite(points).all():
            yield "polygon holds NaN or infinity"
        elif points.min() < -TOLERANCE_PX or (points.max(axis=0) > np.array([width, height]) + TOLERANCE_PX).any():
            yield f"polygon reaches outside its image of {width} × {height} px"
        elif crosses_itself(points):
            yield f"polygon {polygon[:8]}… crosses itself: its points are in no order around the particle"


def crosses_itself(points: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether an outline (K, 2) x, y px, not closed, crosses itself, as a bow tie does.

    Only then do parts of it go around the wrong way, or twice, and its signed area is not that of what it covers.
    Lines gone along there and back, to a hole (data/polygons.py), do not count; nor do loops below CROSSED_PX2.
    """
    outline = shapely.Polygon(points)
    if outline.is_valid:
        return False
    x, y = points.T - points.mean(axis=0)[:, None]
    signed = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    return abs(float(shapely.make_valid(outline).area) - signed) > CROSSED_PX2

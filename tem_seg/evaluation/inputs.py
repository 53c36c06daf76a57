"""What evaluation is given: results checked against their dataset before any figure is computed."""

from __future__ import annotations

import math
from typing import Any, Literal

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset, as_rle, require_masks

IouType = Literal["segm", "rotated", "bbox"]
KEYS: dict[IouType, str] = {"segm": "segmentation", "rotated": "rotated_box", "bbox": "bbox"}
"""What is compared: masks, rotated boxes or upright boxes; the key of it in results and annotations."""


def check_results(dataset: CocoDataset, results: list[dict[str, Any]], iou_type: IouType) -> list[dict[str, Any]]:
    """Results whose image and class the dataset knows; for "segm" their masks fit their image, as compressed RLE; for
    "rotated" their boxes are five finite numbers, sides not negative (a box without area finds nothing).

    Raises UserError naming the image, and where the dataset's annotations are not of that type. (pycocotools gives
    masks of another size the IoU -1 without a word.)
    """
    if iou_type == "segm":
        require_masks(dataset, "comparing masks")
    elif iou_type == "rotated" and not dataset.has_rotated_boxes:
        raise UserError(f"the annotations of {dataset.path} are upright boxes: rotated ones cannot be compared to them")
    sizes = {image.id: (image.height, image.width) for image in dataset.images}
    known = set(dataset.category_ids)
    checked = []
    for row in results:
        image_id = row["image_id"]
        if image_id not in sizes:
            raise UserError(f"predictions name image {image_id}, which {dataset.path} does not hold")
        if row["category_id"] not in known:
            raise UserError(
                f"predictions name category {row['category_id']} in image {image_id}, but {dataset.path} knows "
                f"{dict(zip(dataset.category_ids, dataset.categories, strict=True))}: predict with a model of this "
                "dataset's classes, or set evaluation to class-agnostic after mapping the ids"
            )
        if iou_type == "rotated":
            _check_rotated(row)
        checked.append(row | {"segmentation": _mask(row, sizes[image_id])} if iou_type == "segm" else row)
    return checked


def _check_rotated(row: dict[str, Any]) -> None:
    box = row.get("rotated_box")
    if box is None:
        raise UserError(f"a prediction in image {row['image_id']} has no rotated_box: evaluate boxes ('bbox') instead")
    if len(box) != 5 or not all(math.isfinite(value) for value in box) or min(box[2], box[3]) < 0:
        raise UserError(
            f"a prediction in image {row['image_id']} has the rotated_box {box}: five finite numbers "
            "[cx, cy, w, h, angle_deg] are needed, w and h not negative"
        )


def _mask(row: dict[str, Any], size: tuple[int, int]) -> Any:
    if row.get("segmentation") is None:
        raise UserError(f"a prediction in image {row['image_id']} has no mask: evaluate boxes ('bbox') instead")
    mask = as_rle(row["segmentation"], size)
    if tuple(mask["size"]) != size:
        raise UserError(
            f"a predicted mask in image {row['image_id']} has size {mask['size']}, its image {list(size)}: "
            "were the predictions made on another version of this dataset?"
        )
    return mask


def has_masks(results: list[dict[str, Any]]) -> bool:
    """True where every result carries a mask (also without results); False where none does; a mixture is an error."""
    count = sum(row.get("segmentation") is not None for row in results)
    if 0 < count < len(results):
        raise UserError(f"{len(results) - count} of {len(results)} predictions have no mask: all need one, or none")
    return count == len(results)


def kinds_of(dataset: CocoDataset, results: list[dict[str, Any]]) -> list[IouType]:
    """What predictions can be judged by, the headline first: what both they and the annotations have.

    Without predictions, what the annotations have. Raises UserError where only some results have a mask or a rotated
    box.
    """
    masks = has_masks(results) and dataset.has_masks
    turned = _have_rotated_boxes(results) and dataset.has_rotated_boxes and (bool(results) or not masks)
    kinds: dict[IouType, bool] = {"segm": masks, "rotated": turned, "bbox": True}
    return [kind for kind, known in kinds.items() if known]


def headline_of(dataset: CocoDataset, results: list[dict[str, Any]]) -> IouType:
    """Masks if predictions and annotations have them, else rotated boxes, else upright boxes."""
    return kinds_of(dataset, results)[0]


def _have_rotated_boxes(results: list[dict[str, Any]]) -> bool:
    count = sum(row.get("rotated_box") is not None for row in results)
    if 0 < count < len(results):
        raise UserError(
            f"{len(results) - count} of {len(results)} predictions have no rotated_box: all need one, or none"
        )
    return count == len(results)


def is_crowd(annotation: dict[str, Any]) -> bool:
    """COCO's iscrowd: a region of many particles, neither to be found nor held against a prediction inside it."""
    return bool(annotation.get("iscrowd", 0))

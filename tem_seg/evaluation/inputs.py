"""What evaluation is given: results checked against their dataset before any figure is computed."""

from __future__ import annotations

from typing import Any, Literal

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset, as_rle

IouType = Literal["segm", "bbox"]


def check_results(dataset: CocoDataset, results: list[dict[str, Any]], iou_type: IouType) -> list[dict[str, Any]]:
    """Results whose image and class the dataset knows and, for "segm", whose masks fit their image, as compressed RLE.

    Raises UserError naming the image. (pycocotools gives masks of another size the IoU -1 without a word.)
    """
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
        checked.append(row | {"segmentation": _mask(row, sizes[image_id])} if iou_type == "segm" else row)
    return checked


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


def is_crowd(annotation: dict[str, Any]) -> bool:
    """COCO's iscrowd: a region of many particles, neither to be found nor held against a prediction inside it."""
    return bool(annotation.get("iscrowd", 0))

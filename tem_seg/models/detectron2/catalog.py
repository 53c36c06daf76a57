"""Our datasets in Detectron2's catalogs, and back: a Detectron2 user can take over from a name alone."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from tem_seg.core.errors import UserError
from tem_seg.data.annotations import completed, has_masks, rotated_boxes_of
from tem_seg.data.atomic import write_json
from tem_seg.data.coco import IMAGE_EXTRAS, CocoDataset, ImageRecord, as_rle
from tem_seg.data.rle import area_px

PREFIX = "tem_seg"


def register(dataset: CocoDataset, name: str, rotated: bool = False) -> str:
    """Registers ``dataset`` as ``tem_seg/<name>-<hash>`` and returns that name.

    The catalogs are global to a process and keep the first loader of a name, so the name carries a hash of the
    content: the same content may be registered again, a changed one gets a new name. The metadata's json_file is a
    COCO file of exactly these images, kept until the process ends. Detectron2's own reader takes 8-bit images only;
    our training reads the files itself.

    rotated: ``bbox`` is the rotated box, XYWHA_ABS, in records and json_file, and there are no masks: what Detectron2's
    rotated models and RotatedCOCOEvaluator take. UserError for a dataset of upright boxes.
    """
    records = to_records(dataset, rotated)
    registered = f"{PREFIX}/{name}{'_rotated' if rotated else ''}-{_digest(dataset, records)}"
    if registered not in DatasetCatalog:
        json_file = Path(_scratch().name) / f"{registered.replace('/', '_')}.json"
        write_json(json_file, _coco_content(dataset, rotated))
        DatasetCatalog.register(registered, lambda: to_records(dataset, rotated))
        MetadataCatalog.get(registered).set(
            thing_classes=list(dataset.categories),
            thing_dataset_id_to_contiguous_id={c: label for label, c in enumerate(dataset.category_ids)},
            json_file=str(json_file),
            source_file=str(dataset.path),
            evaluator_type="rotated_coco" if rotated else "coco",
        )
    return registered


def to_records(dataset: CocoDataset, rotated: bool = False) -> list[dict[str, Any]]:
    """Detectron2's standard dicts, new at every call since its tools change them in place.

    Our extra keys (docs/results-format.md) travel along; category_id is the label 0..C-1. rotated: see register.
    """
    return [
        {
            "file_name": str(image.path),
            "image_id": image.id,
            "height": image.height,
            "width": image.width,
            **{key: getattr(image, key) for key in IMAGE_EXTRAS},
            "annotations": [_to_record(entry) for entry in _entries(dataset.annotations[image.id], rotated)],
        }
        for image in dataset.images
    ]


def _entries(annotations: list[dict[str, Any]], rotated: bool) -> list[dict[str, Any]]:
    """Annotations as they are registered: rotated ones have a ``bbox`` of five numbers, its area, and no mask."""
    if not rotated:
        return annotations
    boxes = rotated_boxes_of(annotations).tolist()
    return [
        {key: value for key, value in entry.items() if key not in ("segmentation", "full_segmentation", "rotated_box")}
        | {"bbox": box, "area": box[2] * box[3]}
        for entry, box in zip(annotations, boxes, strict=True)
    ]


def _to_record(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in entry.items() if key not in ("label", "image_id")}
    copies: dict[str, Any] = {"segmentation": dict(entry["segmentation"])} if "segmentation" in entry else {}
    return (
        kept
        | copies
        | {
            "bbox": list(entry["bbox"]),
            "bbox_mode": BoxMode.XYWHA_ABS if len(entry["bbox"]) == 5 else BoxMode.XYWH_ABS,
            "category_id": entry["label"],
        }
    )


def dataset_from_catalog(name: str) -> CocoDataset:
    """Any dataset of Detectron2's catalogs in its standard format → CocoDataset; ours come back as they went in.

    What was registered with rotated boxes comes back with those alone. Raises UserError for an unknown name, and where
    only some annotations have a mask.
    """
    if name not in DatasetCatalog:
        ours = [known for known in DatasetCatalog if known.startswith(PREFIX)]
        raise UserError(
            f"no dataset {name!r} in Detectron2's DatasetCatalog; from tem_seg: {', '.join(ours) or 'none'}"
        )
    records, metadata = DatasetCatalog.get(name), MetadataCatalog.get(name)
    categories = metadata.get("thing_classes")
    if not categories:
        raise UserError(f"dataset {name!r} has no thing_classes in Detectron2's MetadataCatalog: set them")
    contiguous = metadata.get("thing_dataset_id_to_contiguous_id") or {n + 1: n for n in range(len(categories))}
    category_ids = sorted(contiguous, key=lambda category_id: contiguous[category_id])
    path = Path(metadata.get("source_file") or metadata.get("json_file") or name)
    annotations: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        annotations[record["image_id"]] = [
            _from_record(entry, record, category_ids) for entry in record.get("annotations", [])
        ]
    entries = [entry for found in annotations.values() for entry in found]
    if not has_masks(entries) and any("segmentation" in entry for entry in entries):
        raise UserError(f"dataset {name!r}: only some annotations have a segmentation; all need one, or none")
    return CocoDataset(path, [_image_of(record) for record in records], list(categories), category_ids, annotations)


def _image_of(record: dict[str, Any]) -> ImageRecord:
    extras = {key: record[key] for key in IMAGE_EXTRAS if key in record}
    return ImageRecord(
        id=record["image_id"], path=Path(record["file_name"]), height=record["height"], width=record["width"], **extras
    )


def _from_record(entry: dict[str, Any], record: dict[str, Any], category_ids: list[int]) -> dict[str, Any]:
    size = (record["height"], record["width"])
    kept = {key: value for key, value in entry.items() if key not in ("bbox_mode", "segmentation")}
    if entry["bbox_mode"] != BoxMode.XYWHA_ABS:
        kept["bbox"] = [float(v) for v in BoxMode.convert(entry["bbox"], entry["bbox_mode"], BoxMode.XYWH_ABS)]
    segmentation = entry.get("segmentation")
    if segmentation:
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], bytes):  # as pycocotools encodes
            segmentation = segmentation | {"counts": segmentation["counts"].decode("ascii")}
        kept["segmentation"] = as_rle(segmentation, size)
    return completed(kept, size) | {
        "image_id": record["image_id"],
        "category_id": category_ids[entry["category_id"]],
        "label": entry["category_id"],
    }


def _digest(dataset: CocoDataset, records: list[dict[str, Any]]) -> str:
    content = [str(dataset.path), dataset.categories, dataset.category_ids, records]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _coco_content(dataset: CocoDataset, rotated: bool) -> dict[str, Any]:
    """A COCO file's content, with what pycocotools needs and a stranger's file may lack (area, iscrowd, info)."""
    return {
        "info": {"description": f"{dataset.path}, written for Detectron2's evaluators"},
        "images": [
            {"id": image.id, "file_name": str(image.path), "height": image.height, "width": image.width}
            for image in dataset.images
        ],
        "annotations": [
            ({"iscrowd": 0} if "area" in entry else {"area": area_px(entry["segmentation"]), "iscrowd": 0})
            | {key: value for key, value in entry.items() if key != "label"}
            for image in dataset.images
            for entry in _entries(dataset.annotations[image.id], rotated)
        ],
        "categories": [
            {"id": category_id, "name": name}
            for category_id, name in zip(dataset.category_ids, dataset.categories, strict=True)
        ],
    }


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """One folder a process, removed when it ends (the cache keeps it alive until then)."""
    return tempfile.TemporaryDirectory(prefix="tem_seg_detectron2_")

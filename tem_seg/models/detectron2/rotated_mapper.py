"""Records of the catalogs → what Detectron2's rotated networks train on; its stock mapper turns boxes upright."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms
from detectron2.data.detection_utils import annotations_to_instances_rotated, build_augmentation, check_image_size
from detectron2.structures import BoxMode

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import rotated_box_corners, rotated_box_of_points, shown_part
from tem_seg.data.images import normalise, read_micrograph


class RotatedMapper:
    """A mapper for Detectron2's loaders, of records whose ``bbox`` is XYWHA_ABS (catalog.register(…, rotated=True)).

    Reads any micrograph that tem_seg reads, 16-bit ones too, and normalises it as our own training does. Boxes stay
    rotated under every augmentation: their corners move, the crop cuts them, and the smallest rectangle around what is
    seen becomes the truth (none below ``min_area_px`` px²).
    """

    def __init__(
        self, augmentations: Sequence[transforms.Augmentation] = (), *, is_train: bool = True, min_area_px: float = 8.0
    ) -> None:
        self.augmentations = transforms.AugmentationList(list(augmentations))
        self.is_train, self.min_area_px = is_train, min_area_px

    @classmethod
    def of(cls, cfg: CfgNode, is_train: bool = True) -> RotatedMapper:
        """With the augmentations of cfg.INPUT, as Detectron2's DatasetMapper takes them."""
        chosen = build_augmentation(cfg, is_train)
        if cfg.INPUT.CROP.ENABLED and is_train:
            chosen.insert(0, transforms.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return cls(chosen, is_train=is_train)

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """A record → the same with ``image`` (3, H, W) float32 in [0, 255] and, in training, ``instances``."""
        record = copy.deepcopy(record)
        grey = normalise(read_micrograph(Path(record["file_name"])).pixels)
        shown = transforms.AugInput(np.repeat(255.0 * grey[..., None], 3, axis=2).astype(np.float32))
        check_image_size(record, shown.image)
        change = self.augmentations(shown)
        record["image"] = torch.from_numpy(np.ascontiguousarray(shown.image.transpose(2, 0, 1)))
        annotations = record.pop("annotations", [])
        if self.is_train:
            size = (shown.image.shape[0], shown.image.shape[1])
            entries = [entry for entry in annotations if not entry.get("iscrowd")]
            placed = [self._placed(entry, change, size, record["file_name"]) for entry in entries]
            record["instances"] = annotations_to_instances_rotated([entry for entry in placed if entry], size)
        return record

    def _placed(
        self, entry: dict[str, Any], change: transforms.Transform, size: tuple[int, int], name: str
    ) -> dict[str, Any] | None:
        if entry["bbox_mode"] != BoxMode.XYWHA_ABS:
            raise UserError(
                f"{name}: bbox {entry['bbox']} is no rotated box (XYWHA_ABS): register the dataset with "
                "tem_seg.models.detectron2.catalog.register(dataset, name, rotated=True)"
            )
        corners = change.apply_coords(rotated_box_corners(np.asarray(entry["bbox"], np.float64)))
        points = shown_part(corners, size, self.min_area_px)
        if points is None:
            return None
        return {"bbox": list(rotated_box_of_points(points)), "category_id": entry["category_id"]}

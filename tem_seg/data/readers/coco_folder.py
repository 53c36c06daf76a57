"""The user's own dataset: COCO files with polygons, RLE or boxes, next to micrographs of any readable format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances, Micrograph
from tem_seg.data import coco
from tem_seg.data.annotations import has_masks, has_rotated_boxes, rotated_boxes_of
from tem_seg.data.images import read_micrograph
from tem_seg.data.readers.protocol import check_split

# what coco.annotations_of makes anew from the mask or the box; all else an annotation says is carried over
MADE_ANEW = {"id", "image_id", "category_id", "bbox", "area", "segmentation", "rotated_box", "truncated", "label",
             "full_segmentation"}  # fmt: skip


class CocoFolder:
    """Reader of one COCO file a split, each optional but one; image names are relative to the COCO file's folder.

    Classes are matched by name, so ids may differ between files, names not; with ``one_class`` every particle is of
    that one, whatever the files call it. Every image is opened: it must be whole and as large as the file says. Pixel
    size: ``pixel_size_nm`` (all images), else the COCO file's, else the image's own calibration, else none.
    """

    def __init__(
        self,
        train: str | Path | None = None,
        val: str | Path | None = None,
        test: str | Path | None = None,
        pixel_size_nm: float | None = None,
        one_class: str | None = None,
    ) -> None:
        given = {"train": train, "val": val, "test": test}
        self.files = {split: Path(path) for split, path in given.items() if path is not None}
        if not self.files:
            raise UserError("no dataset given: set dataset.reader.train=<COCO json file> (and val, test)")
        self.pixel_size_nm, self.one_class = pixel_size_nm, one_class

    @property
    def splits(self) -> tuple[str, ...]:
        """Those whose file was given."""
        return tuple(self.files)

    @property
    def categories(self) -> tuple[str, ...]:
        """Class names in the order of the first file, or the only one."""
        return (self.one_class,) if self.one_class else tuple(self._datasets[self.splits[0]].categories)

    @cached_property
    def _datasets(self) -> dict[str, coco.CocoDataset]:
        datasets = {split: coco.read(path) for split, path in self.files.items()}
        first = datasets[self.splits[0]]
        for split, dataset in datasets.items():
            if not self.one_class and set(dataset.categories) != set(first.categories):
                raise UserError(
                    f"classes differ: {first.path} has {sorted(first.categories)}, {dataset.path} ({split}) has "
                    f"{sorted(dataset.categories)}; give all files the same list of categories"
                )
        return datasets

    def identity(self) -> dict[str, Any]:
        """The COCO files' bytes, and name and length of every image."""
        digests: dict[str, str] = {}
        for split, dataset in self._datasets.items():
            digest = hashlib.sha256(dataset.path.read_bytes())
            for image in dataset.images:
                digest.update(f"{image.path.name} {image.path.stat().st_size}\n".encode())
            digests[split] = digest.hexdigest()
        merged = {"one_class": self.one_class} if self.one_class else {}
        return {"dataset": "coco", "pixel_size_nm": self.pixel_size_nm, "files": digests} | merged

    def read(self, split: str) -> Iterator[tuple[dict[str, Any], Instances]]:
        """Images of ``split`` in the file's order. Raises UserError naming every image that cannot be used."""
        check_split(self, split)
        dataset = self._datasets[split]
        label_of = [0 if self.one_class else self.categories.index(name) for name in dataset.categories]
        for record, image in zip(dataset.images, self._images(dataset), strict=True):
            yield image, _instances(record, dataset.annotations[record.id], label_of)

    def _images(self, dataset: coco.CocoDataset) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = []
        faults: list[str] = []
        for record in dataset.images:
            try:
                images.append(self._image(record))
            except UserError as error:
                faults.append(f"image {record.id}: {error}")
        if faults:
            raise UserError(f"{dataset.path}: {len(faults)} image(s) cannot be used:\n  " + "\n  ".join(faults[:50]))
        return images

    def _image(self, record: coco.ImageRecord) -> dict[str, Any]:
        known = self.pixel_size_nm or record.pixel_size_nm
        micrograph = read_micrograph(record.path, pixel_size_nm=known)
        if micrograph.pixels.shape != (record.height, record.width):
            height, width = micrograph.pixels.shape
            raise UserError(f"{record.path} is {width} × {height} px, annotated as {record.width} × {record.height} px")
        image: dict[str, Any] = {"file_name": str(record.path), "height": record.height, "width": record.width}
        image |= {"modality": record.modality, "group_id": record.group_id, "seed": record.seed}
        image |= self._pixel_size(record, micrograph)
        return {key: value for key, value in image.items() if value is not None}

    def _pixel_size(self, record: coco.ImageRecord, micrograph: Micrograph) -> dict[str, Any]:
        source = micrograph.pixel_size_source
        if self.pixel_size_nm is None and record.pixel_size_nm is not None:
            source = record.pixel_size_source or "COCO file"
        return {"pixel_size_nm": micrograph.pixel_size_nm, "pixel_size_source": source}


def _instances(record: coco.ImageRecord, annotations: list[dict[str, Any]], label_of: list[int]) -> Instances:
    full = [entry["full_segmentation"] for entry in annotations if "full_segmentation" in entry]
    boxes, rotated = (None, None) if has_masks(annotations) else _boxes(annotations)
    return Instances(
        size=(record.height, record.width),
        labels=np.array([label_of[entry["label"]] for entry in annotations], np.int64),
        segmentations=[entry["segmentation"] for entry in annotations] if boxes is None else [],
        full_segmentations=full if len(full) == len(annotations) else [],
        truths=[{key: value for key, value in entry.items() if key not in MADE_ANEW} for entry in annotations],
        boxes=boxes,
        rotated_boxes=rotated,
    )


def _boxes(annotations: list[dict[str, Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Upright (N, 4) xyxy, and rotated (N, 5) where they are known."""
    x, y, w, h = np.asarray([entry["bbox"] for entry in annotations], np.float64).reshape(-1, 4).T
    upright = np.stack([x, y, x + w, y + h], axis=1)
    return upright, rotated_boxes_of(annotations) if has_rotated_boxes(annotations) else None

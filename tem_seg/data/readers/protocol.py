"""What a reader of a foreign dataset keeps, and how it becomes COCO files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances
from tem_seg.data import coco


class Reader(Protocol):
    """One foreign dataset. A new one = one file in this folder + one YAML in conf/dataset."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the classes; a label is a position here."""
        ...

    @property
    def splits(self) -> tuple[str, ...]:
        """Which of "train", "val" and "test" the dataset has."""
        ...

    def identity(self) -> dict[str, Any]:
        """What the content depends on, as JSON: parameters, a fingerprint of the source files, no absolute paths."""
        ...

    def read(self, split: str) -> Iterator[tuple[dict[str, Any], Instances]]:
        """(COCO image without id, its particles), image by image, always in the same order.

        The image dict holds file_name (absolute path, str), height, width (px), and the extras of
        docs/results-format.md that are known: pixel_size_nm, pixel_size_source, modality, group_id.
        """
        ...


def convert(reader: Reader, folder: Path) -> None:
    """Writes folder/<split>/dataset.json for every split; image and annotation ids count from 1.

    Images stay where they are. Raises UserError where a split has no image.
    """
    category_ids = range(1, len(reader.categories) + 1)
    identity = reader.identity()
    for split in reader.splits:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image, instances in reader.read(split):
            images.append({"id": len(images) + 1, **image})
            annotations += coco.annotations_of(instances, len(images), category_ids, len(annotations) + 1)
        if not images:
            raise UserError(f"split {split!r} holds no image: {identity}")
        info = {"reader": type(reader).__name__, "split": split, "identity": identity}
        coco.write(folder / split / "dataset.json", images, annotations, reader.categories, info)


def check_split(reader: Reader, split: str) -> None:
    """Raises UserError for a split that the reader does not have."""
    if split not in reader.splits:
        raise UserError(f"no split {split!r}: there are {', '.join(reader.splits)}")

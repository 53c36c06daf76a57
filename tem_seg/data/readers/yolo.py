"""YOLO's label files (https://docs.ultralytics.com/datasets): boxes, or oriented boxes (OBB); numbers are shares of the
image's width and height.

    class cx cy w h                       (a box)
    class x1 y1 x2 y2 x3 y3 x4 y4         (OBB: corners in order; the box is their minimum-area rectangle)

Four corners could as well be an outline of YOLO's segmentation format: which it is must be said (oriented).
Class names: categories, else classes.txt beside the labels, else ``names`` of the data.yaml in the labels' folder or
above it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tem_seg.core.errors import UserError
from tem_seg.data.readers.box_files import CLASSES, PLACE, Box, BoxFiles, Faults, Labels, numbered, numbers
from tem_seg.data.readers.dota import box_of_corners

DESCRIPTIONS = ("data.yaml", "dataset.yaml")
FARTHEST = 2.0
"""No share of a width or height is larger: what is, is in px."""


class Yolo(BoxFiles):
    """Reader of these files (see the module); oriented: OBB."""

    name = "yolo"

    def __init__(
        self,
        images: str | Path | None = None,
        labels: str | Path | None = None,
        categories: list[str] | None = None,
        splits: dict[str, float] | None = None,
        modality: str = "unknown",
        pixel_size_nm: float | None = None,
        unlabelled: bool = True,
        oriented: bool = False,
    ) -> None:
        super().__init__(images, labels, categories, splits, modality, pixel_size_nm, unlabelled)
        self.rotated = oriented

    def identity(self) -> dict[str, Any]:
        """As the base's; oriented boxes are another content."""
        return super().identity() | {"oriented": self.rotated}

    def known_categories(self) -> tuple[str, ...]:
        """As the module says. UserError where no file names them."""
        labels = Path(self.labels.split(PLACE)[0])
        for folder in [] if self._has_classes() else [labels, *labels.parents[:2]]:
            for path in (folder / name for name in DESCRIPTIONS if (folder / name).is_file()):
                return _names(path)
        return super().known_categories()

    def _has_classes(self) -> bool:
        return any((folder / CLASSES).is_file() for folder in self._folders("labels").values())

    def parse(self, text: str, size: tuple[int, int]) -> Labels:
        """See the module."""
        boxes: list[Box] = []
        faults: list[str] = []
        for number, fields in numbered(text):
            try:
                boxes.append(self._box(number, fields, size))
            except ValueError as error:
                faults.append(f"line {number}: {error}")
        if faults:
            raise Faults(faults)
        return Labels(boxes)

    def _box(self, line: int, fields: list[str], size: tuple[int, int]) -> Box:
        expected = 9 if self.rotated else 5
        if len(fields) != expected:
            written = "class x1 y1 x2 y2 x3 y3 x4 y4" if self.rotated else "class cx cy w h"
            raise ValueError(f"{len(fields)} fields: expected '{written}' (dataset.reader.oriented={self.rotated})")
        shares = numbers(fields[1:])
        if shares is None:
            raise ValueError(f"finite numbers are needed, got {' '.join(fields[1:])}")
        if max(map(abs, shares)) > FARTHEST:
            raise ValueError(f"shares of width and height are needed, in [0, 1], got {' '.join(fields[1:])}")
        category = self.class_of(fields[0])
        if self.rotated:
            return Box(line, category, box_of_corners(fields[1:], size))
        x, w, y, h = (shares[i] * size[1 - i % 2] for i in (0, 2, 1, 3))
        return Box(line, category, (x - w / 2, y - h / 2, w, h))


def _names(path: Path) -> tuple[str, ...]:
    """``names`` of a data.yaml: a list, or a mapping of numbers from 0."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path} has no 'names', a list of the classes or a mapping of their numbers from 0")
    return tuple(str(name) for name in names)

"""Micrographs with one text file of boxes each: what labelImg-kitti, DOTA and YOLO have in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances, Micrograph, Modality
from tem_seg.data.images import SUFFIXES, read_micrograph
from tem_seg.data.readers.protocol import check_split
from tem_seg.data.split import checked_shares, split_by_shares
from tem_seg.data.validation import box_faults, rotated_box_faults

SPLITS = ("train", "val", "test")
PLACE = "{split}"
CLASSES = "classes.txt"


@dataclass(frozen=True, slots=True)
class Box:
    """One line (from 1): its class name, and box (x, y, w, h) or rotated box (cx, cy, w, h, angle_deg ccw), px.

    extra: further keys of its annotation.
    """

    line: int
    category: str
    values: tuple[float, ...]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Labels:
    """A label file's boxes, and the pixel size it states, nm (None: it states none)."""

    boxes: list[Box]
    pixel_size_nm: float | None = None


class BoxFiles(ABC):
    """Base of these readers. images, labels: folders; a.tif and a.txt belong together.

    Splits: with ``{split}`` in both paths ("data/{split}/images"), train, val and test are the folders of these names;
    else splits gives the share of the images in each, they add to 1, and images are shared out by name. An image whose
    label file is empty is one without particles; one without label file is an error, unless unlabelled is true: then it
    has no particles, as YOLO means it. categories: class names, in the order of labels; None: as the format knows them.
    """

    name = "boxes"
    rotated = True

    def __init__(
        self,
        images: str | Path | None = None,
        labels: str | Path | None = None,
        categories: list[str] | None = None,
        splits: dict[str, float] | None = None,
        modality: str = "unknown",
        pixel_size_nm: float | None = None,
        unlabelled: bool = False,
    ) -> None:
        if images is None or labels is None:
            self._refuse("give the folders: dataset.reader.images=<micrographs> dataset.reader.labels=<text files>")
        self.images, self.labels = str(images), str(labels)
        self.foldered = PLACE in self.images
        if self.foldered != (PLACE in self.labels):
            self._refuse(f"{PLACE} stands in both paths or in none, got images={images} labels={labels}")
        self.shares = {} if self.foldered else checked_shares(splits, self.name)
        if modality not in [value.value for value in Modality]:
            self._refuse(f"modality must be one of {', '.join(Modality)}, got {modality!r}")
        if pixel_size_nm is not None and not 0 < pixel_size_nm < float("inf"):
            self._refuse(f"pixel_size_nm must be positive, got {pixel_size_nm}")
        self.asked = None if categories is None else tuple(str(name) for name in categories)
        if self.asked is not None and (not self.asked or len(set(self.asked)) != len(self.asked)):
            self._refuse(f"categories must be different names, at least one, got {list(self.asked)}")
        self.modality, self.pixel_size_nm, self.unlabelled = modality, pixel_size_nm, unlabelled

    @abstractmethod
    def parse(self, text: str, size: tuple[int, int]) -> Labels:
        """A label file's text, of an image (H, W) px. Raises ``Faults`` with what is wrong, line by line."""

    def known_categories(self) -> tuple[str, ...]:
        """The format's own list of classes: ``classes.txt`` beside the labels, one a line. UserError without one."""
        for folder in self._folders("labels").values():
            if (folder / CLASSES).is_file():
                lines = (folder / CLASSES).read_text(encoding="utf-8-sig").splitlines()
                if names := tuple(line.strip() for line in lines if line.strip()):
                    return names
        raise UserError(
            f"{self.name}: no class names: put {CLASSES} (one a line, by their numbers) into {self.labels}, or "
            "set dataset.reader.categories=[…]"
        )

    def class_of(self, number: str) -> str:
        """Name of the class of this number, from 0. ValueError where there is none."""
        if not number.isdigit() or int(number) >= len(self.categories):
            last = len(self.categories) - 1
            raise ValueError(f"class {number!r} is no number from 0 to {last}: {', '.join(self.categories)}")
        return self.categories[int(number)]

    # ------------------------------------------------------------------------------------------- as Reader asks

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Those asked for, else those of the format."""
        return self.asked or self.known_categories()

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The folders that are there, or the splits with a share."""
        return tuple(self._folders("images") if self.foldered else self.shares)

    def identity(self) -> dict[str, Any]:
        """Parameters, the labels' bytes, and name and length of every image."""
        digest = hashlib.sha256()
        for split in self.splits:
            for image, label in self._pairs[split]:
                digest.update(f"{split} {image.name} {image.stat().st_size}\n".encode())
                digest.update(b"" if label is None else label.read_bytes())
        return {
            "dataset": self.name, "splits": self.shares or list(self.splits), "categories": list(self.categories),
            "modality": self.modality, "pixel_size_nm": self.pixel_size_nm, "files": digest.hexdigest(),
        }  # fmt: skip

    def read(self, split: str) -> Iterator[tuple[dict[str, Any], Instances]]:
        """Images of ``split`` in the order of their names. Raises UserError with the faults of a label file."""
        check_split(self, split)
        for image, label in self._pairs[split]:
            yield self._pair(image, label)

    # -------------------------------------------------------------------------------------------------- one image

    def _pair(self, image: Path, label: Path | None) -> tuple[dict[str, Any], Instances]:
        micrograph = read_micrograph(image, pixel_size_nm=self.pixel_size_nm)
        height, width = micrograph.pixels.shape
        text = "" if label is None else label.read_text(encoding="utf-8-sig", errors="replace")
        try:
            found = self.parse(text, (height, width))
            faults = [f"line {box.line}: {fault}" for box in found.boxes for fault in self._faults(box, height, width)]
            if faults:
                raise Faults(faults)
        except Faults as error:
            shown = "\n  ".join(error.faults[:50])
            raise UserError(f"{label} has {len(error.faults)} fault(s):\n  {shown}") from error
        entry: dict[str, Any] = {"file_name": str(image.resolve()), "height": height, "width": width,
                                 "modality": self.modality, "group_id": image.stem}  # fmt: skip
        return entry | self._calibration(micrograph, found), self._instances(found.boxes, (height, width))

    def _faults(self, box: Box, height: int, width: int) -> Iterator[str]:
        if box.category not in self.categories:
            yield f"class {box.category!r} is none of {', '.join(self.categories)}"
        check = rotated_box_faults if self.rotated else box_faults
        yield from check(list(box.values), height, width)

    def _calibration(self, micrograph: Micrograph, found: Labels) -> dict[str, Any]:
        """dataset.pixel_size_nm, else the label file's, else the image's own."""
        if micrograph.pixel_size_source != "override" and found.pixel_size_nm is not None:
            return {"pixel_size_nm": found.pixel_size_nm, "pixel_size_source": f"{self.name} label file"}
        if micrograph.pixel_size_nm is None:
            return {}
        return {"pixel_size_nm": micrograph.pixel_size_nm, "pixel_size_source": micrograph.pixel_size_source}

    def _instances(self, boxes: list[Box], size: tuple[int, int]) -> Instances:
        labels = np.array([self.categories.index(box.category) for box in boxes], np.int64)
        values = np.array([box.values for box in boxes], np.float64).reshape(-1, 5 if self.rotated else 4)
        extra = [dict(box.extra) for box in boxes]
        if self.rotated:
            return Instances(size, labels, [], truths=extra, rotated_boxes=values)
        corners = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1)
        return Instances(size, labels, [], truths=extra, boxes=corners)

    # ------------------------------------------------------------------------------------------------- the files

    @cached_property
    def _pairs(self) -> dict[str, list[tuple[Path, Path | None]]]:
        """Image and label file (None: unlabelled) of every split, by name."""
        labels = self._folders("labels")
        found = {key: self._pairs_in(folder, labels.get(key)) for key, folder in self._folders("images").items()}
        if self.foldered:
            return found
        pairs = found[""]
        parts = split_by_shares([image.stem for image, _ in pairs], self.shares)
        return {split: [pair for pair, part in zip(pairs, parts, strict=True) if part == split]
                for split in self.splits}  # fmt: skip

    def _folders(self, which: str) -> dict[str, Path]:
        """Split → folder of those that are there; {"": folder} where one folder holds all."""
        pattern = str(getattr(self, which))
        paths = {s: Path(pattern.replace(PLACE, s)) for s in SPLITS} if self.foldered else {"": Path(pattern)}
        found = {split: path for split, path in paths.items() if path.is_dir()}
        if not found:
            self._refuse(f"no folder {' or '.join(map(str, paths.values()))}")
        return found

    def _pairs_in(self, images: Path, labels: Path | None) -> list[tuple[Path, Path | None]]:
        if labels is None:
            self._refuse(f"{images} has no folder of labels beside it ({self.labels})")
        pictures = self._by_stem(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES)
        texts = self._by_stem(p for p in labels.iterdir() if p.suffix.lower() == ".txt" and p.name != CLASSES)
        alone = [] if self.unlabelled else sorted(pictures.keys() - texts)
        faults = [f"{pictures[stem]}: no {stem}.txt in {labels} (an empty one: no particles)" for stem in alone]
        faults += [f"{texts[stem]}: no image {stem}.* in {images}" for stem in sorted(texts.keys() - pictures)]
        if faults:
            self._refuse("files without a partner:\n  " + "\n  ".join(faults[:50]))
        if not pictures:
            self._refuse(f"no image in {images}: expected {', '.join(SUFFIXES)}")
        return [(pictures[stem], texts.get(stem)) for stem in sorted(pictures)]

    def _by_stem(self, paths: Iterator[Path]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(path for path in paths if not path.name.startswith(".")):
            if path.stem in found:
                self._refuse(f"{found[path.stem]} and {path} have the same name: which one is meant?")
            found[path.stem] = path
        return found

    def _refuse(self, reason: str) -> NoReturn:
        raise UserError(f"{self.name}: {reason}")


class Faults(Exception):  # noqa: N818 (several at once)
    """What is wrong in a label file, one entry a fault; becomes a UserError that names the file."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def numbered(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, fields) of the lines that hold something."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.split()


def numbers(fields: list[str]) -> list[float] | None:
    """Finite numbers, or None where one is none."""
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    return values if all(np.isfinite(values)) else None

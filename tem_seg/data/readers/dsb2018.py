"""Nuclei of the 2018 Data Science Bowl (BBBC038, Caicedo et al. 2019, doi:10.1038/s41592-019-0612-7; CC0).

Light micrographs: bright nuclei on black, or stained ones on white. They serve as a start for particles (paper 004:
"the nucleus dataset was leveraged due to the similarity"), not as micrographs to be measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances, Modality, Rle
from tem_seg.data import rle
from tem_seg.data.images import read_micrograph
from tem_seg.data.readers.protocol import check_split
from tem_seg.data.split import checked_shares, split_by_shares

HOW_TO_GET = (
    "download stage1_train.zip (83 MB) from https://bbbc.broadinstitute.org/BBBC038 and unpack it there, so that "
    "{root}/<id>/images/<id>.png and {root}/<id>/masks/*.png exist; or set dataset.reader.root=<folder>"
)


class Dsb2018:
    """Reader of the folder ``root``: <id>/images/<id>.png (grey, RGB or RGBA) and <id>/masks/*.png, one a nucleus.

    splits: share of the images in each of train, val and test; they add to 1. Only this part of the dataset came with
    masks, so the test images are some of it. Which images share a slide is not known: each is a group of its own.
    """

    categories: tuple[str, ...] = ("nucleus",)

    def __init__(self, root: str | Path, splits: dict[str, float] | None = None) -> None:
        self.root = Path(root)
        self.shares = checked_shares(splits, "dsb2018")

    @property
    def splits(self) -> tuple[str, ...]:
        """Those with a share."""
        return tuple(self.shares)

    def identity(self) -> dict[str, Any]:
        """Parameters, and name and length of every file."""
        digest = hashlib.sha256()
        for folder in self._folders:
            for path in sorted(folder.glob("*/*.png")):
                digest.update(f"{path.relative_to(self.root).as_posix()} {path.stat().st_size}\n".encode())
        return {"dataset": "dsb2018", "splits": self.shares, "files": digest.hexdigest()}

    def read(self, split: str) -> Iterator[tuple[dict[str, Any], Instances]]:
        """Images of ``split`` in the order of their ids."""
        check_split(self, split)
        parts = split_by_shares([folder.name for folder in self._folders], self.shares)
        for folder, part in zip(self._folders, parts, strict=True):
            if part == split:
                yield _image(folder)

    @cached_property
    def _folders(self) -> list[Path]:
        """One an image, in the order of their ids."""
        folders = sorted(path.parent for path in self.root.glob("*/images"))
        if not folders:
            raise UserError(f"no nuclei of the Data Science Bowl in {self.root}: {HOW_TO_GET.format(root=self.root)}")
        lacking = [folder / kind for folder in folders for kind in ("images", "masks") if not _pngs(folder / kind)]
        if lacking:
            shown = "\n  ".join(map(str, lacking[:50]))
            raise UserError(f"{len(lacking)} folder(s) of {self.root} hold no .png, is it unpacked whole?\n  {shown}")
        return folders


def _pngs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


def _image(folder: Path) -> tuple[dict[str, Any], Instances]:
    pictures = _pngs(folder / "images")
    if len(pictures) > 1:
        raise UserError(f"{folder / 'images'} holds {len(pictures)} images, expected one: remove {pictures[1].name}")
    height, width = read_micrograph(pictures[0]).pixels.shape
    masks = [_mask(path, (height, width)) for path in _pngs(folder / "masks")]
    image = {
        "file_name": str(pictures[0].resolve()), "height": height, "width": width,
        "modality": Modality.UNKNOWN.value, "group_id": folder.name,
    }  # fmt: skip
    return image, Instances((height, width), np.zeros(len(masks), np.int64), masks)


def _mask(path: Path, size: tuple[int, int]) -> Rle:
    """One nucleus: what is not black. Raises UserError for a file that cannot be read, of another size, or empty."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise UserError(f"{path} cannot be read as an image: download it again")
    if pixels.shape != size:
        raise UserError(f"{path} is {pixels.shape[1]} × {pixels.shape[0]} px, its image {size[1]} × {size[0]}")
    found: Rle = rle.encode_crop(pixels > 0, 0, 0, size)
    if rle.area_px(found) == 0:
        raise UserError(f"{path} holds no nucleus: it is black. Remove it")
    return found

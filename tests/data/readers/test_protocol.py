from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances
from tem_seg.data import coco, rle
from tem_seg.data.images import write_png
from tem_seg.data.readers.protocol import Reader, check_split, convert

SIZE = (9, 12)


class Pair:
    """Two images a split, the second without particles."""

    categories = ("rod", "cube")
    splits = ("train", "test")

    def __init__(self, folder: Path, empty: str = "") -> None:
        self.folder, self.empty = folder, empty
        write_png(folder / "a.png", np.zeros(SIZE, np.uint8))

    def identity(self) -> dict[str, Any]:
        return {"dataset": "pair"}

    def read(self, split: str) -> Iterator[tuple[dict[str, Any], Instances]]:
        mask = np.zeros(SIZE, bool)
        mask[2:5, 3:9] = True
        image = {"file_name": str(self.folder / "a.png"), "height": SIZE[0], "width": SIZE[1], "group_id": split}
        if split != self.empty:
            yield image, Instances(SIZE, np.array([1, 0]), [rle.encode(mask), rle.encode(~mask)])
            yield image, Instances(SIZE, np.zeros(0, np.int64), [])


def test_convert(tmp_path: Path) -> None:
    reader: Reader = Pair(tmp_path)
    convert(reader, tmp_path / "out")
    for split in reader.splits:
        path = tmp_path / "out" / split / "dataset.json"
        dataset = coco.read(path)
        assert [image.id for image in dataset.images] == [1, 2] and dataset.images[0].group_id == split
        assert [a["label"] for a in dataset.annotations[1]] == [1, 0] and dataset.annotations[2] == []
        assert dataset.categories == ["rod", "cube"]
        info = json.loads(path.read_text())["info"]
        assert info == {"reader": "Pair", "split": split, "identity": {"dataset": "pair"}}


def test_a_split_without_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="split 'test' holds no image: .*pair"):
        convert(Pair(tmp_path, empty="test"), tmp_path / "out")


def test_unknown_split(tmp_path: Path) -> None:
    check_split(Pair(tmp_path), "train")
    with pytest.raises(UserError, match="no split 'val': there are train, test"):
        check_split(Pair(tmp_path), "val")

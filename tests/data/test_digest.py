"""The hash of a dataset's content: the same wherever it lies, another as soon as a pixel or an annotation is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data import coco
from tem_seg.data.digest import content_digest


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "one"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 9), np.uint8))
    images = [{"id": 1, "file_name": "a.png", "height": 8, "width": 9}]
    coco.write(folder / "dataset.json", images, [], ["particle"], info={"made": "today"})
    return folder / "dataset.json"


def test_it_does_not_depend_on_where_the_files_lie(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset.parent, tmp_path / "two")
    content = json.loads(dataset.read_text())
    content["images"][0]["file_name"] = str(dataset.parent / "a.png")
    (tmp_path / "two" / "dataset.json").write_text(json.dumps(content | {"info": {"made": "tomorrow"}}))
    assert content_digest(tmp_path / "two" / "dataset.json") == content_digest(dataset)


def test_a_pixel_and_a_category_change_it(dataset: Path) -> None:
    before = content_digest(dataset)
    pixels = np.zeros((8, 9), np.uint8)
    pixels[3, 4] = 1
    cv2.imwrite(str(dataset.parent / "a.png"), pixels)
    other = content_digest(dataset)
    dataset.write_text(dataset.read_text().replace("particle", "rod"))
    assert len({before, other, content_digest(dataset)}) == 3


def test_a_missing_file_is_named(dataset: Path) -> None:
    (dataset.parent / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png, which the dataset names, cannot be read \(No such file"):
        content_digest(dataset)

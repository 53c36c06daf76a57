from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import canonical_rotated_boxes, rotated_box_corners
from tem_seg.data import coco
from tem_seg.data.images import write_png
from tem_seg.data.readers.protocol import convert
from tem_seg.data.readers.yolo import Yolo

HEIGHT, WIDTH = 200, 500


def folder(root: Path, text: str) -> Path:
    for name in ("images", "labels"):
        (root / name).mkdir()
    write_png(root / "images/a.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (root / "labels/a.txt").write_text(text)
    return root


def read(root: Path, **changes: object):  # type: ignore[no-untyped-def]
    return next(iter(Yolo(root / "images", root / "labels", **({"categories": ["rod"]} | changes)).read("train")))[1]


def test_shares_are_of_width_and_height(tmp_path: Path) -> None:
    found = read(folder(tmp_path, "0 0.5 0.25 0.1 0.2"))
    assert found.boxes.tolist() == [[225.0, 30.0, 275.0, 70.0]] and found.rotated_boxes is None


@pytest.mark.parametrize("angle", [-70.0, 0.0, 45.0])
def test_oriented_boxes_come_back(angle: float, tmp_path: Path) -> None:
    """A rectangle in px is none in shares of an image that is not square."""
    box = np.array([250.0, 100.0, 12.0, 60.0, angle])
    corners = " ".join(f"{value:.9f}" for value in (rotated_box_corners(box) / [WIDTH, HEIGHT]).ravel())
    found = read(folder(tmp_path, f"0 {corners}"), oriented=True)
    np.testing.assert_allclose(canonical_rotated_boxes(found.rotated_boxes)[0], box, atol=1e-3)


@pytest.mark.parametrize("names", [["rod", "dot"], {0: "rod", 1: "dot"}])
@pytest.mark.parametrize("place", ["data.yaml", "labels/data.yaml"])
def test_names_of_data_yaml(names: object, place: str, tmp_path: Path) -> None:
    folder(tmp_path, "1 0.5 0.5 0.1 0.1")
    (tmp_path / place).write_text(yaml.safe_dump({"names": names}))
    assert Yolo(tmp_path / "images", tmp_path / "labels").categories == ("rod", "dot")


def test_a_data_yaml_without_names(tmp_path: Path) -> None:
    folder(tmp_path, "")
    (tmp_path / "data.yaml").write_text("nc: 2")
    with pytest.raises(UserError, match=r"data\.yaml has no 'names'"):
        _ = Yolo(tmp_path / "images", tmp_path / "labels").categories


def test_stem_catalysts(data_dir: Path, tmp_path: Path) -> None:
    root = data_dir / "stem_catalysts"
    reader = Yolo(root / "images", root / "labels", ["particle"], {"test": 1.0}, unlabelled=False)
    convert(reader, tmp_path)
    dataset = coco.read(tmp_path / "test/dataset.json")
    assert (len(dataset), dataset.count, dataset.categories) == (10, 2013, ["particle"])
    assert not dataset.has_masks and not dataset.has_rotated_boxes
    sides = np.array([entry["bbox"][2:] for found in dataset.annotations.values() for entry in found])
    assert 3 < np.median(sides) < 40

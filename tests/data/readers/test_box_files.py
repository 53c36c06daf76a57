"""What all readers of boxes share: pairs, splits, calibration, class names, faults named by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data import coco
from tem_seg.data.images import write_png
from tem_seg.data.readers.dota import Dota
from tem_seg.data.readers.labelimg_kitti import LabelImgKitti
from tem_seg.data.readers.protocol import Reader, convert
from tem_seg.data.readers.yolo import Yolo

SIZE = (60, 80)
GOOD = {
    LabelImgKitti: "0 40 30 20 8 0.5\n1 20 20 6 6 0\n",
    Dota: "imagesource:tem\ngsd:None\n10 10 30 10 30 18 10 18 rod 0\n40 40 44 40 44 44 40 44 cube 1\n",
    Yolo: "0 0.5 0.5 0.25 0.1\n1 0.2 0.2 0.1 0.1\n",
}


def folders(root: Path, text: str, names: tuple[str, ...] = ("a", "b"), classes: str | None = "rod\ncube\n") -> Path:
    """Images and labels of these names; the last one's label file is empty."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        write_png(root / f"images/{name}.png", np.zeros(SIZE, np.uint8))
        (root / f"labels/{name}.txt").write_text(text if name != names[-1] else "\n")
    if classes is not None:
        (root / "labels/classes.txt").write_text(classes)
    return root


def reader(kind: Any, root: Path, **changes: Any) -> Any:
    return kind(root / "images", root / "labels", **changes)


@pytest.mark.parametrize("kind", GOOD)
def test_each_becomes_a_dataset_of_boxes_alone(kind: Any, tmp_path: Path) -> None:
    found: Reader = reader(kind, folders(tmp_path, GOOD[kind]))
    convert(found, tmp_path / "out")
    dataset = coco.read(tmp_path / "out/train/dataset.json")
    assert dataset.categories == ["rod", "cube"] and [len(a) for a in dataset.annotations.values()] == [2, 0]
    assert dataset.has_masks is False and dataset.has_rotated_boxes is (kind is not Yolo)
    assert [entry["label"] for entry in dataset.annotations[1]] == [0, 1]
    assert dataset.images[0].pixel_size_nm is None and dataset.images[0].group_id == "a"
    assert found.identity() == reader(kind, tmp_path).identity()
    assert found.identity() != reader(kind, tmp_path, pixel_size_nm=2.0).identity()


def test_images_are_shared_out_by_name(tmp_path: Path) -> None:
    names = tuple(f"i{k}" for k in range(10))
    found = reader(Yolo, folders(tmp_path, GOOD[Yolo], names), splits={"train": 0.6, "val": 0.2, "test": 0.2})
    parts = {split: [Path(image["file_name"]).stem for image, _ in found.read(split)] for split in found.splits}
    assert [len(part) for part in parts.values()] == [6, 2, 2]
    assert sorted(name for part in parts.values() for name in part) == list(names)


def test_a_folder_a_split(tmp_path: Path) -> None:
    """As YOLO and DOTA are distributed; here without a validation part."""
    for split in ("train", "test"):
        folders(tmp_path / split, GOOD[Yolo])
    found = Yolo(tmp_path / "{split}/images", tmp_path / "{split}/labels")
    assert found.splits == ("train", "test") and found.categories == ("rod", "cube")
    assert [len(list(found.read(split))) for split in found.splits] == [2, 2]
    with pytest.raises(UserError, match="no split 'val': there are train, test"):
        next(iter(found.read("val")))


def test_pixel_size_is_the_configs_or_none(tmp_path: Path) -> None:
    image, _ = next(iter(reader(Yolo, folders(tmp_path, GOOD[Yolo]), pixel_size_nm=0.5).read("train")))
    assert (image["pixel_size_nm"], image["pixel_size_source"]) == (0.5, "override")


def test_an_image_without_label_file(tmp_path: Path) -> None:
    folders(tmp_path, GOOD[Yolo])
    (tmp_path / "labels/a.txt").unlink()
    assert [len(found) for _, found in reader(Yolo, tmp_path).read("train")] == [0, 0]
    with pytest.raises(UserError, match=r"a\.png: no a\.txt in .* \(an empty one: no particles\)"):
        list(reader(Yolo, tmp_path, unlabelled=False).read("train"))
    with pytest.raises(UserError, match=r"dota: files without a partner:\n.*a\.png: no a\.txt"):
        list(reader(Dota, tmp_path).read("train"))


def test_classes_may_be_given(tmp_path: Path) -> None:
    folders(tmp_path, GOOD[Yolo], classes=None)
    with pytest.raises(UserError, match=r"yolo: no class names: put classes\.txt"):
        _ = reader(Yolo, tmp_path).categories
    assert reader(Yolo, tmp_path, categories=["wire", "dot"]).categories == ("wire", "dot")


@pytest.mark.parametrize(
    ("damage", "changes", "message"),
    [
        (lambda r: (r / "labels/z.txt").touch(), {}, r"z\.txt: no image z\.\* in"),
        (lambda r: [p.unlink() for p in r.glob("*/?.*")], {}, "yolo: no image in .*images: expected .png"),
        (lambda r: write_png(r / "images/a.tif.png", np.zeros(SIZE, np.uint8)), {"unlabelled": False}, r"a\.tif\.png"),
        (lambda r: None, {"images": "nowhere"}, "yolo: no folder nowhere"),
        (lambda r: None, {"images": "{split}/x"}, r"\{split\} stands in both paths or in none"),
        (lambda r: None, {"images": None}, "give the folders: dataset.reader.images="),
        (lambda r: None, {"modality": "xray"}, "modality must be one of bright_field"),
        (lambda r: None, {"pixel_size_nm": -1.0}, "pixel_size_nm must be positive"),
        (lambda r: None, {"splits": {"train": 0.5}}, "shares of train, val and test that add to 1"),
        (lambda r: None, {"categories": []}, "categories must be different names, at least one"),
        (lambda r: (r / "images/a.png").write_bytes(b""), {}, r"a\.png"),
    ],
)
def test_what_users_get_wrong(damage: Any, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    damage(folders(tmp_path, GOOD[Yolo]))
    given = {"images": tmp_path / "images", "labels": tmp_path / "labels"} | changes
    with pytest.raises(UserError, match=message):
        list(Yolo(**given).read("train"))


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        (LabelImgKitti, "0 40 30 -20 8 0.5", "has no area: both sides must be positive"),
        (LabelImgKitti, "0 40 30 0 8 0.5", "has no area"),
        (LabelImgKitti, "0 40 30 nan 8 0.5", "x y w h rotation must be finite numbers, got 40 30 nan"),
        (LabelImgKitti, "0 40 30 1000000 8 0.5", r"has a side of 1e\+06 px, its image is 80 × 60 px"),
        (LabelImgKitti, "0 140 30 20 8 0", "lies wholly outside its image of 80 × 60 px"),
        (LabelImgKitti, "2 40 30 20 8 0", "class '2' is no number from 0 to 1: rod, cube"),
        (LabelImgKitti, "-1 40 30 20 8 0", "class '-1' is no number"),
        (LabelImgKitti, "0 40 30 20 8", "5 fields: expected 'class x y w h rotation'"),
        (LabelImgKitti, "wire 0 0 0 1 2 30 20 0 0 0 0 0 0 0.1", "class 'wire' is none of rod, cube"),
        (LabelImgKitti, "rod 0 0 0 1 2 x 20 0 0 0 0 0 0 0.1", "box and rotation must be finite numbers, got 1 2 x 20"),
        (Dota, "10 10 30 10 30 18 rod 0", "8 fields: expected 'x1 y1 x2 y2"),
        (Dota, "10 10 30 18 30 10 10 18 rod 0", "the polygon crosses itself"),
        (Dota, "10 10 30 10 30 10 10 10 rod 0", "fewer than three different corners"),
        (Dota, "10 10 20 10 30 10 40 10 rod 0", "has no area"),
        (Dota, "10 10 30 10 inf 18 10 18 rod 0", "the corners must be finite numbers"),
        (Dota, "10 10 30 10 30 18 10 18 rod maybe", "difficult must be 0, 1 or 2, got 'maybe'"),
        (Dota, "gsd:-1", "gsd must be the metres of a pixel, or None, got '-1'"),
        (Dota, "10 10 30 10 30 18 10 18 wire 0", "class 'wire' is none of rod, cube"),
        (Yolo, "0 0.5 0.5 0 0.1", "has no area"),
        (Yolo, "0 0.5 0.5 -0.2 0.1", "has no area"),
        (Yolo, "0 0.5 0.5 0.1 nan", "finite numbers are needed"),
        (Yolo, "0 40 30 20 8", r"shares of width and height are needed, in \[0, 1\], got 40 30 20 8"),
        (Yolo, "0 0.9 0.5 0.5 0.1", "reaches outside its image of 80 × 60 px"),
        (Yolo, "0.0 0.5 0.5 0.1 0.1", r"class '0\.0' is no number from 0 to 1"),
        (Yolo, "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2", r"9 fields: expected 'class cx cy w h' .*oriented=False"),
    ],
)
def test_faults_are_named_with_file_and_line(kind: Any, line: str, message: str, tmp_path: Path) -> None:
    folders(tmp_path, f"{GOOD[kind]}\n{line}\n")
    number = len(GOOD[kind].splitlines()) + 2
    with pytest.raises(UserError, match=rf"a\.txt has 1 fault\(s\):\n  line {number}: .*{message}"):
        list(reader(kind, tmp_path).read("train"))

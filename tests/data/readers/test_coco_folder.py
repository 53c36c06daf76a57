from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tem_seg.core.errors import UserError
from tem_seg.data import coco, rle
from tem_seg.data.images import write_png
from tem_seg.data.readers.coco_folder import CocoFolder
from tem_seg.data.readers.protocol import Reader, convert

SIZE = (20, 30)


def write(folder: Path, names: tuple[str, ...] = ("rod", "cube"), **image: object) -> Path:
    """A user's file: a polygon and an RLE on a.png, nothing on the calibrated b.tif; ids of categories 3, 4, …"""
    write_png(folder / "a.png", np.zeros(SIZE, np.uint8))
    tifffile.imwrite(
        folder / "b.tif", np.ones(SIZE, np.uint16), imagej=True, resolution=(2.0, 2.0), metadata={"unit": "nm"}
    )
    mask = np.zeros(SIZE, bool)
    mask[2:6, 2:9] = True
    common = {"image_id": 7, "iscrowd": 0, "note": "by hand"}
    content = {
        "images": [
            {"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1], "group_id": "s1", **image},
            {"id": 9, "file_name": "b.tif", "height": SIZE[0], "width": SIZE[1]},
        ],
        "annotations": [
            common | {"id": 1, "category_id": 4, "bbox": [2, 2, 7, 4], "segmentation": rle.encode(mask)},
            common
            | {"id": 2, "category_id": 3, "bbox": [10, 5, 6, 6], "segmentation": [[10, 5, 16, 5, 16, 11, 10, 11]]},
        ],
        "categories": [{"id": 3 + k, "name": name} for k, name in enumerate(names)],
    }
    (folder / "mine.json").write_text(json.dumps(content))
    return folder / "mine.json"


def test_convert_a_users_files(tmp_path: Path) -> None:
    reader: Reader = CocoFolder(train=write(tmp_path))
    assert reader.splits == ("train",) and reader.categories == ("rod", "cube")
    convert(reader, tmp_path / "out")
    found = coco.read(tmp_path / "out" / "train" / "dataset.json")
    first, second = found.images
    assert (first.path, first.pixel_size_nm, first.group_id) == ((tmp_path / "a.png").resolve(), None, "s1")
    assert second.pixel_size_nm == pytest.approx(0.5) and second.pixel_size_source == "ImageJ"
    cube, rod = found.annotations[1]
    assert (cube["label"], cube["area"], rod["label"], rod["area"]) == (1, 28, 0, 36) and found.annotations[2] == []
    assert rod["note"] == "by hand" and rod["rotated_box"][:2] == pytest.approx([13, 8], abs=1e-3)


def test_pixel_size_override_then_file_then_image(tmp_path: Path) -> None:
    path = write(tmp_path, pixel_size_nm=3.0)
    sizes = [(i["pixel_size_nm"], i["pixel_size_source"]) for i, _ in CocoFolder(path).read("train")]
    assert sizes == [(3.0, "COCO file"), (pytest.approx(0.5), "ImageJ")]
    sizes = [(i["pixel_size_nm"], i["pixel_size_source"]) for i, _ in CocoFolder(path, pixel_size_nm=8.0).read("train")]
    assert sizes == [(8.0, "override")] * 2


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    reader = CocoFolder(train=write(tmp_path / "one"), test=write(tmp_path / "two", names=("cube", "rod")))
    labels = {split: next(iter(reader.read(split)))[1].labels.tolist() for split in reader.splits}
    assert labels == {"train": [1, 0], "test": [0, 1]}


def test_different_classes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    reader = CocoFolder(train=write(tmp_path / "one"), val=write(tmp_path / "two", names=("cube", "sphere")))
    with pytest.raises(UserError, match=r"classes differ: .*\['cube', 'rod'\].*\(val\) has \['cube', 'sphere'\]"):
        next(iter(reader.read("train")))


def test_one_class_takes_all_whatever_they_are_called(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    files = {"train": write(tmp_path / "one"), "val": write(tmp_path / "two", names=("cube", "sphere"))}
    reader = CocoFolder(**files, one_class="particle")
    assert reader.categories == ("particle",)
    assert {s: next(iter(reader.read(s)))[1].labels.tolist() for s in files} == {"train": [0, 0], "val": [0, 0]}
    one, two = (CocoFolder(files["train"], one_class=name).identity() for name in ("particle", None))
    assert one != two and two == CocoFolder(files["train"]).identity()


def test_nothing_given_and_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set dataset.reader.train="):
        CocoFolder()
    with pytest.raises(UserError, match="no split 'val': there are train"):
        next(iter(CocoFolder(write(tmp_path)).read("val")))
    with pytest.raises(UserError, match="no dataset at .*gone.json"):
        CocoFolder(test=tmp_path / "gone.json").identity()


def test_every_unusable_image_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    write_png(tmp_path / "a.png", np.zeros((40, 30), np.uint8))
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:300])
    with pytest.raises(UserError, match=r"mine.json: 2 image\(s\) cannot be used") as caught:
        next(iter(CocoFolder(path).read("train")))
    assert "image 7: " in str(caught.value) and "is 30 × 40 px, annotated as 30 × 20 px" in str(caught.value)
    assert "image 9: " in str(caught.value) and "truncated" in str(caught.value)


def test_hidden_parts_and_crowds_are_carried_over(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        entry |= {"full_segmentation": rle.encode(np.ones(SIZE, bool)), "iscrowd": 1, "rotated_box": [0, 0, 1, 1, 0]}
    path.write_text(json.dumps(content))
    convert(CocoFolder(val=path), tmp_path / "out")
    first = coco.read(tmp_path / "out" / "val" / "dataset.json").annotations[1][0]
    assert rle.area_px(first["full_segmentation"]) == 600 and first["iscrowd"] == 1 and first["rotated_box"][0] == 5.5


def test_converting_twice_changes_nothing(tmp_path: Path) -> None:
    convert(CocoFolder(train=write(tmp_path)), tmp_path / "one")
    convert(CocoFolder(train=tmp_path / "one" / "train" / "dataset.json"), tmp_path / "two")
    one, two = (coco.read(tmp_path / name / "train" / "dataset.json") for name in ("one", "two"))
    assert one.annotations == two.annotations and one.images == two.images


def test_identity_follows_the_content(tmp_path: Path) -> None:
    path = write(tmp_path)
    first = CocoFolder(path).identity()
    assert str(tmp_path) not in json.dumps(first) and CocoFolder(path, pixel_size_nm=1.0).identity() != first
    write(tmp_path, group_id="other")
    assert CocoFolder(path).identity() != first


def test_yaml_fits_the_reader(tmp_path: Path) -> None:
    content = yaml.safe_load((Path(__file__).parents[3] / "conf" / "dataset" / "coco.yaml").read_text())
    options = content["reader"]
    assert options.pop("_target_") == "tem_seg.data.readers.coco_folder.CocoFolder"
    assert CocoFolder(**options | {"train": write(tmp_path), "pixel_size_nm": content["pixel_size_nm"]}).splits == (
        "train",
    )

"""What annotations say, from masks and from boxes alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances
from tem_seg.data import coco, exports, rle
from tem_seg.data.annotations import completed, measured, outline_of, rotated_boxes_of
from tem_seg.data.images import write_png
from tem_seg.data.readers.coco_folder import CocoFolder
from tem_seg.data.readers.protocol import convert

SIZE = (40, 50)


def boxes(*rows: tuple[float, ...], rotated: bool = False) -> list[dict[str, Any]]:
    key, values = "rotated_boxes" if rotated else "boxes", np.array(rows, float).reshape(-1, 5 if rotated else 4)
    return measured(Instances(SIZE, np.zeros(len(rows), np.int64), [], **{key: values}))  # type: ignore[arg-type]


def test_upright_boxes_are_cut_at_the_border() -> None:
    inside, out, nothing = boxes((5, 6, 15, 10), (-3, 30, 10, 45), (60, 0, 70, 10))
    assert inside == {"bbox": [5, 6, 10, 4], "area": 40, "iscrowd": 0, "truncated": False}
    assert (out["bbox"], out["area"], out["truncated"]) == ([0, 30, 10, 10], 100, True)
    assert nothing["area"] == 0  # coco.annotations_of leaves it out


def test_rotated_boxes_keep_their_sides() -> None:
    inside, out = boxes((20, 20, 10, 4, 0), (0, 20, 4, 10, 30), rotated=True)
    assert (inside["rotated_box"], inside["area"], inside["truncated"]) == ([20, 20, 4, 10, -90], 40, False)
    assert inside["bbox"] == pytest.approx([15, 18, 10, 4])
    assert (out["area"], out["truncated"], out["bbox"][0]) == (40, True, 0)
    assert out["rotated_box"] == [0, 20, 4, 10, 30]


def test_no_boxes() -> None:
    assert boxes() == [] and boxes(rotated=True) == []
    assert rotated_boxes_of([]).shape == (0, 5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4], "area": 12}),
        ({"bbox": [1, 2, 3, 4], "area": 7, "segmentation": []}, {"bbox": [1, 2, 3, 4], "area": 7}),
        ({"bbox": [20, 20, 10, 4, 0], "segmentation": None},
         {"rotated_box": [20, 20, 4, 10, -90], "bbox": [15, 18, 10, 4], "area": 40, "iscrowd": 0, "truncated": False}),
        ({"rotated_box": [20, 20, 4, 10, 180], "bbox": [1, 1, 2, 2], "area": 9},
         {"rotated_box": [20, 20, 4, 10, 0], "bbox": [1, 1, 2, 2], "area": 9}),
    ],
)  # fmt: skip
def test_completed(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert completed({"id": 3, **given}, SIZE) == {"id": 3, **expected}


def test_a_masks_rotated_box_is_its_rectangle_and_an_upright_one_has_none() -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:14, 5:25] = True
    entry = coco.annotation_of(rle.encode(mask), 1, 1, 1)
    del entry["rotated_box"]
    assert rotated_boxes_of([entry, {"rotated_box": [1, 2, 3, 4, 5]}]).tolist() == [
        [15, 12, 4, 20, -90],
        [1, 2, 3, 4, 5],
    ]
    with pytest.raises(UserError, match="annotation 8 of image 2 has an upright box only: a rotated box or a mask"):
        rotated_boxes_of([entry, {"id": 8, "image_id": 2, "bbox": [1, 2, 3, 4]}])


def test_what_is_drawn() -> None:
    mask = rle.encode(np.eye(*SIZE, dtype=bool))
    assert outline_of({"segmentation": mask, "bbox": [0, 0, 1, 1]}, SIZE) is mask
    assert rle.area_px(outline_of({"bbox": [3, 4, 10, 5]}, SIZE)) == 50
    assert rle.area_px(outline_of({"rotated_box": [20, 20, 6, 20, 30]}, SIZE)) == pytest.approx(120, abs=12)


# ------------------------------------------------------------------------------------------- datasets of boxes alone


def dataset_file(folder: Path, annotations: list[dict[str, Any]]) -> Path:
    write_png(folder / "a.png", np.zeros(SIZE, np.uint8))
    image = {"file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}
    entries = [{"id": k + 1, "image_id": 1, "category_id": 1, **entry} for k, entry in enumerate(annotations)]
    content = {"images": [{"id": 1, **image}, {"id": 2, **image}], "annotations": entries,
               "categories": [{"id": 1, "name": "rod"}]}  # fmt: skip
    path = folder / "dataset.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("annotation", "rotated"),
    [
        ({"bbox": [5, 6, 10, 4]}, False),
        ({"bbox": [20, 20, 10, 4, 0]}, True),
        ({"rotated_box": [20, 20, 10, 4, 0]}, True),
        ({"rotated_box": [20, 20, 10, 4, 0], "bbox": [15, 18, 10, 4], "segmentation": []}, True),
    ],
)
def test_boxes_alone_are_read_and_carried_over(annotation: dict[str, Any], rotated: bool, tmp_path: Path) -> None:
    path = dataset_file(tmp_path, [annotation | {"note": "by hand", "iscrowd": 1}])
    read = coco.read(path)
    assert (read.count, read.has_masks, read.has_rotated_boxes) == (1, False, rotated)
    convert(CocoFolder(train=path), tmp_path / "out")
    again = coco.read(tmp_path / "out/train/dataset.json")
    (first,), (second,) = read.annotations[1], again.annotations[1]
    for key in ("bbox", "rotated_box", "area"):
        assert second.get(key) == first.get(key)
    assert second["note"] == "by hand" and second["iscrowd"] == 1 and "segmentation" not in second
    assert again.annotations[2] == []


def test_a_dataset_without_any_annotation_has_whatever_is_asked(tmp_path: Path) -> None:
    """Negatives are legal everywhere."""
    dataset = coco.read(dataset_file(tmp_path, []))
    assert dataset.has_masks and dataset.has_rotated_boxes
    coco.require_masks(dataset, "anything")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            {"bbox": [5, 6, 10, 4]},
            "training needs masks, but .*json are boxes without 'segmentation'",
        ),
        ({"bbox": [20, 20, 10, 4, 0]}, "are rotated boxes without 'segmentation'"),
    ],
)
def test_masks_of_boxes_are_refused(annotation: dict[str, Any], message: str, tmp_path: Path) -> None:
    dataset = coco.read(dataset_file(tmp_path, [annotation]))
    with pytest.raises(UserError, match=message):
        coco.require_masks(dataset, "training")
    with pytest.raises(UserError, match="export as yolo, labelme needs masks"):
        exports.export(dataset, "train", ["yolo", "labelme"], tmp_path)

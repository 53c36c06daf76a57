from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import box_of_crop, pixel_corners, rotated_box_of_points
from tem_seg.core.types import Instances
from tem_seg.data import coco, rle
from tem_seg.data.images import write_png

SIZE = (20, 30)


def disc(cx: float, cy: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    y, x = np.indices(size) + 0.5
    return (x - cx) ** 2 + (y - cy) ** 2 <= radius**2


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """A sound dataset: image 1 with two particles, image 2 with none."""
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, np.zeros(SIZE, np.uint8))
    masks = [rle.encode(disc(8, 8, 5)), rle.encode(disc(25, 15, 4))]
    return {
        "images": [
            {"id": k, "file_name": f, "height": SIZE[0], "width": SIZE[1]} for k, f in ((1, "a.png"), (2, "b.png"))
        ],
        "annotations": [coco.annotation_of(mask, 1, 5, k + 1) for k, mask in enumerate(masks)],
        "categories": [{"id": 5, "name": "gold"}, {"id": 9, "name": "silver"}],
    }


def save(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(content))
    return path


def test_read(tmp_path: Path, content: dict[str, Any]) -> None:
    content["images"][0] |= {"pixel_size_nm": 0.5, "modality": "haadf", "group_id": "x", "seed": None}
    dataset = coco.read(save(tmp_path, content))
    assert len(dataset) == 2 and dataset.count == 2
    assert dataset.categories == ["gold", "silver"] and dataset.category_ids == [5, 9]
    first = dataset.images[0]
    assert (first.path, first.pixel_size_nm, first.modality, first.seed) == (
        (tmp_path / "a.png").resolve(),
        0.5,
        "haadf",
        None,
    )
    assert [a["label"] for a in dataset.annotations[1]] == [0, 0]
    assert dataset.annotations[2] == []


def test_a_byte_order_mark_is_read(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert len(coco.read(path)) == 2


@pytest.mark.parametrize("text", ["", "{", "\ufeff"])
def test_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(UserError, match="d.json is not valid JSON"):
        coco.read(tmp_path / "d.json")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset at"):
        coco.read(tmp_path / "d.json")


def test_all_faults_in_one_message(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "b.png").write_bytes(b"")
    content["annotations"][0]["bbox"] = [float("nan"), 0, 1, 1]
    content["annotations"][1]["image_id"] = 77
    with pytest.raises(UserError, match=r"has 3 fault\(s\)") as caught:
        coco.read(save(tmp_path, content))
    text = str(caught.value)
    assert "image 2 (b.png): file is empty (0 bytes)" in text
    assert "image 1, annotation 1: bbox must be four finite numbers" in text
    assert "image 77, annotation 2: no such image in this file" in text


def test_very_many_faults_are_counted_not_listed(tmp_path: Path, content: dict[str, Any]) -> None:
    content["annotations"] = [content["annotations"][0] | {"id": k, "bbox": None} for k in range(80)]
    with pytest.raises(UserError, match=r"has 80 fault\(s\)") as caught:
        coco.read(save(tmp_path, content))
    assert str(caught.value).endswith("… and 30 more")


@pytest.mark.parametrize("kind", ["polygon", "list", "text"])
def test_every_kind_of_segmentation(tmp_path: Path, content: dict[str, Any], kind: str) -> None:
    mask = np.zeros(SIZE, bool)
    mask[3:9, 4:20] = True
    runs = rle.expand(rle.encode(mask)["counts"]).tolist()
    content["annotations"][0]["segmentation"] = {
        "polygon": [[4, 3, 20, 3, 20, 9, 4, 9]], "list": {"size": list(SIZE), "counts": runs}, "text": rle.encode(mask),
    }[kind]  # fmt: skip
    assert coco.read(save(tmp_path, content)).annotations[1][0]["segmentation"] == rle.encode(mask)


def test_annotation_of_a_disc() -> None:
    found = coco.annotation_of(rle.encode(disc(8, 8, 5)), 3, 5, 11)
    assert (found["id"], found["image_id"], found["category_id"], found["iscrowd"]) == (11, 3, 5, 0)
    assert found["bbox"] == [3, 3, 10, 10] and found["area"] == disc(8, 8, 5).sum() and not found["truncated"]
    assert found["rotated_box"][:2] == pytest.approx([8, 8], abs=0.3)


@pytest.mark.parametrize(
    ("cx", "cy", "truncated"), [(4, 10, True), (26, 10, True), (15, 4, True), (15, 16, True), (15, 10, False)]
)
def test_particles_at_each_border_are_truncated(cx: float, cy: float, truncated: bool) -> None:
    assert coco.annotation_of(rle.encode(disc(cx, cy, 5)), 1, 1, 1)["truncated"] is truncated


def test_one_pixel_and_none() -> None:
    one = np.zeros(SIZE, bool)
    one[7, 11] = True
    found = coco.annotation_of(rle.encode(one), 1, 1, 1)
    assert found["bbox"] == [11, 7, 1, 1] and found["area"] == 1
    assert found["rotated_box"][:4] == pytest.approx([11.5, 7.5, 1, 1], abs=1e-3)
    assert coco.annotation_of(rle.encode(one & False), 1, 1, 1)["area"] == 0


@pytest.mark.parametrize("angle", range(-90, 90, 15))
def test_rotated_box_keeps_its_range_when_rounded(angle: int) -> None:
    y, x = np.indices((80, 80)) + 0.5 - 40
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    # long side along the direction that points up at 0 and turns counter-clockwise as displayed
    along, across = -x * s - y * c, x * c - y * s
    found = coco.annotation_of(rle.encode((abs(along) < 30) & (abs(across) < 6)), 1, 1, 1)["rotated_box"]
    assert -90 <= found[4] < 90
    assert (found[4] - angle + 90) % 180 - 90 == pytest.approx(0, abs=2.5)
    assert found[2] <= found[3] and found[2:4] == pytest.approx([12, 60], abs=2)


@pytest.mark.parametrize("share", [0.002, 0.05, 0.4, 1.0])
def test_boxes_of_many_masks_are_those_of_all_their_pixels(share: float) -> None:
    """The oracle: core.geometry on the decoded crop, with every row's outermost pixels."""
    rng = np.random.default_rng(0)
    masks = [rng.random((40, 50)) < share * rng.random() for _ in range(30)] + [np.zeros((40, 50), bool)]
    masks += [np.pad(disc(9, 9, 8) & (rng.random(SIZE) < share), ((7, 13), (9, 11))) for _ in range(30)]
    instances = Instances((40, 50), np.zeros(len(masks), np.int64), [rle.encode(mask) for mask in masks])
    entries = coco.annotations_of(instances, 1, [1], 1)
    for mask, entry in zip([mask for mask in masks if mask.any()], entries, strict=True):
        x1, y1, x2, y2 = box_of_crop(mask, 0, 0)
        assert entry["bbox"] == [x1, y1, x2 - x1, y2 - y1] and entry["area"] == mask.sum()
        assert entry["rotated_box"] == pytest.approx(rotated_box_of_points(pixel_corners(mask, 0, 0)), abs=2e-3)


def test_hidden_particles_are_left_out_and_ids_run_on() -> None:
    empty = rle.encode(np.zeros(SIZE, bool))
    masks = [rle.encode(disc(8, 8, 5)), empty, rle.encode(disc(20, 8, 5))]
    instances = Instances(SIZE, np.array([1, 0, 0]), masks, masks, [{"shape": s} for s in "abc"])
    found = coco.annotations_of(instances, 4, [5, 9], 100)
    assert [(a["id"], a["category_id"], a["shape"]) for a in found] == [(100, 9, "a"), (101, 5, "c")]
    assert found[1]["full_segmentation"] == masks[2]


def test_write_then_read_and_pycocotools(tmp_path: Path, content: dict[str, Any]) -> None:
    instances = Instances(SIZE, np.array([1]), [rle.encode(disc(8, 8, 5))])
    path = tmp_path / "out" / "dataset.json"
    images = [content["images"][0] | {"file_name": str(tmp_path / "a.png"), "pixel_size_nm": float("nan")}]
    coco.write(path, images, coco.annotations_of(instances, 1, [1, 2], 1), ["gold", "silver"])
    dataset = coco.read(path)
    assert dataset.category_ids == [1, 2] and dataset.annotations[1][0]["label"] == 1
    assert dataset.images[0].pixel_size_nm is None
    other = COCO(str(path))
    assert (other.annToMask(other.loadAnns([1])[0]).astype(bool) == disc(8, 8, 5)).all()


# -------------------------------------------------------------------------------------------------- classes


def two_classes() -> coco.CocoDataset:
    """Image 1 with a rod and a cube, image 2 with a rod alone, image 3 with nothing; ids of the file are 7 and 3."""
    images = [coco.ImageRecord(i, Path(f"{i}.png"), 8, 8) for i in (1, 2, 3)]
    rod, cube = {"category_id": 7, "label": 0}, {"category_id": 3, "label": 1}
    annotations = {1: [{"id": 1} | rod, {"id": 2} | cube], 2: [{"id": 3} | rod], 3: []}
    return coco.CocoDataset(Path("dataset.json"), images, ["rod", "cube"], [7, 3], annotations)


def test_chosen_classes_give_the_labels_and_images_without_them_stay() -> None:
    dataset = two_classes()
    cubes = dataset.of_classes(["cube"])
    assert (cubes.categories, cubes.category_ids, cubes.count, len(cubes)) == (["cube"], [3], 1, 3)
    assert cubes.annotations == {1: [{"id": 2, "category_id": 3, "label": 0}], 2: [], 3: []}
    turned = dataset.of_classes(["cube", "rod"])
    assert turned.category_ids == [3, 7] and [a["label"] for a in turned.annotations[1]] == [1, 0]
    assert turned.of_classes(["rod", "cube"]) == dataset and dataset.of_classes(None) is dataset
    assert dataset.annotations[1][1]["label"] == 1, "the dataset itself is not changed"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["rod", "disc", "sphere"], r"dataset.classes names disc, sphere, but dataset.json has the classes rod, cube"),
        (["rod", "rod"], "must name each class once"), ([], "must name each class once and at least one"),
    ],
)  # fmt: skip
def test_classes_that_cannot_be_chosen(classes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        two_classes().of_classes(classes)

"""What other programs read back is what went in: tifffile, pycocotools, and rasterising by pixel centres."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import yaml
from numpy.typing import NDArray
from pycocotools.coco import COCO
from skimage.draw import polygon2mask

from tem_seg.core.errors import UserError
from tem_seg.data import coco, export_formats, exports, rle
from tem_seg.data.coco import CocoDataset
from tem_seg.data.exports import FORMATS, export
from tem_seg.data.images import read_micrograph, write_png
from tem_seg.data.readers.emps import Emps

SIZE = (90, 120)
CLASSES = ["rod", "cube"]


def disc(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


SCENES = [
    # two overlap; one is a ring, one in two parts, one cut by the border
    [disc(30, 30, 15), disc(42, 30, 12), disc(80, 40, 20) & ~disc(80, 40, 8),
     disc(20, 75, 7) | disc(60, 75, 8), disc(118, 85, 9)],
    [],
    [disc(50, 50, 25), disc(50, 50, 30)],  # the first is wholly under the second
]  # fmt: skip


def write_dataset(folder: Path, scenes: list[list[NDArray[np.bool_]]], depth: type = np.uint8) -> CocoDataset:
    """A dataset on disk: class k % 2 for particle k, pixel size 0.25 nm, a crowd region in the first image."""
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, masks in enumerate(scenes, start=1):
        write_png(folder / f"m{number}.png", rng.integers(0, np.iinfo(depth).max, SIZE).astype(depth))
        images.append({"id": number, "file_name": f"m{number}.png", "height": SIZE[0], "width": SIZE[1],
                       "pixel_size_nm": 0.25, "modality": "sem", "sequence_id": 7})  # fmt: skip
        for k, mask in enumerate(masks):
            full = rle.encode(mask)
            annotations.append(coco.annotation_of(full, number, 1 + k % 2, len(annotations) + 1)
                               | {"full_segmentation": full, "true_area_nm2": 5.5})  # fmt: skip
    if annotations:
        crowd = coco.annotation_of(rle.encode(disc(100, 10, 6)), 1, 1, len(annotations) + 1)
        annotations.append(crowd | {"iscrowd": 1})
    coco.write(folder / "dataset.json", images, annotations, CLASSES, {"seed": 3})
    return coco.read(folder / "dataset.json")


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    return write_dataset(tmp_path / "source", SCENES)


def made(dataset: CocoDataset, tmp_path: Path, name: str) -> Path:
    export(dataset, "train", [name], tmp_path / "exports")
    return tmp_path / "exports" / name / "train"


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


# ------------------------------------------------------------------------------------------------- label maps


def test_label_maps_are_16_bit_with_the_topmost_particle(dataset: CocoDataset, tmp_path: Path) -> None:
    folder = made(dataset, tmp_path, "tiff_pairs")
    for number, masks in enumerate(SCENES, start=1):
        labels = tifffile.imread(folder / "masks" / f"m{number}.tif")
        expected = np.zeros(SIZE, int)
        for label, mask in enumerate(masks, start=1):
            expected[mask] = label
        assert labels.dtype == np.uint16
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(
            tifffile.imread(folder / "images" / f"m{number}.tif"),
            cv2.imread(str(dataset.images[number - 1].path), cv2.IMREAD_UNCHANGED),
        )


def test_tiff_pairs_keep_the_pixel_size(dataset: CocoDataset, tmp_path: Path) -> None:
    folder = made(dataset, tmp_path, "tiff_pairs")
    for part in ("images", "masks"):
        assert read_micrograph(folder / part / "m1.tif").pixel_size_nm == pytest.approx(0.25, rel=1e-6)


def test_labels_have_their_class_and_hidden_particles_are_counted(dataset: CocoDataset, tmp_path: Path) -> None:
    folder = made(dataset, tmp_path, "tiff_pairs")
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows if row["image"] == "m1.tif"] == ["rod", "cube", "rod", "cube", "rod"]
    assert [row["pixels"] for row in rows if row["image"] == "m3.tif"] == ["0", str(SCENES[2][1].sum())]
    notes = json.loads((folder / "export.json").read_text())
    assert notes["particles"] == 7 and notes["without_a_pixel"] == 1


def test_16_bit_micrographs_stay_16_bit(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "source", SCENES, np.uint16)
    image = tifffile.imread(made(dataset, tmp_path, "tiff_pairs") / "images" / "m1.tif")
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, cv2.imread(str(dataset.images[0].path), cv2.IMREAD_UNCHANGED))
    shown = cv2.imread(str(made(dataset, tmp_path, "yolo") / "images" / "m1.png"), cv2.IMREAD_UNCHANGED)
    assert shown.dtype == np.uint8 and shown.min() == 0 and shown.max() == 255


def test_colour_pictures_become_grey_ones_of_8_bits_or_are_copied(dataset: CocoDataset, tmp_path: Path) -> None:
    path = dataset.images[0].path
    colours = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    cv2.imwrite(str(path), colours)
    grey = tifffile.imread(made(dataset, tmp_path, "tiff_pairs") / "images" / "m1.tif")
    assert grey.dtype == np.uint8
    assert np.abs(grey.astype(int) - cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY)).max() <= 1
    assert (made(dataset, tmp_path, "yolo") / "images" / "m1.png").read_bytes() == path.read_bytes()


def test_more_particles_than_16_bits_hold_are_refused(
    dataset: CocoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = dataset.annotations[1][0]
    many = CocoDataset(dataset.path, dataset.images, CLASSES, [1, 2], dataset.annotations | {2: [entry] * 65_536})
    monkeypatch.setattr(exports, "_digest", lambda dataset: "x")  # of 65,536 annotations: seconds
    with pytest.raises(
        UserError, match=r"m2.png has 65536 particles; a 16-bit label map holds 65535: leave tiff_pairs"
    ):
        export(many, "train", ["tiff_pairs"], tmp_path / "exports")


# ----------------------------------------------------------------------------------------------------- polygons


def test_yolo_lines_rasterise_to_their_masks(dataset: CocoDataset, tmp_path: Path) -> None:
    folder = made(dataset, tmp_path, "yolo")
    for number, masks in enumerate(SCENES, start=1):
        lines = (folder / "labels" / f"m{number}.txt").read_text().splitlines()
        assert len(lines) == len(masks) and (folder / "images" / f"m{number}.png").is_file()
        for k, (line, mask) in enumerate(zip(lines, masks, strict=True)):
            label, *shares = line.split()
            points = np.array(shares, float).reshape(-1, 2)
            assert int(label) == k % 2 and 0 <= points.min() <= points.max() <= 1
            drawn = polygon2mask(SIZE, points[:, ::-1] * SIZE - 0.5)
            assert iou(drawn, mask) >= 0.98


def test_data_yaml_names_splits_and_classes(dataset: CocoDataset, tmp_path: Path) -> None:
    for split in ("train", "test"):
        export(dataset, split, ["yolo"], tmp_path / "exports")
    content = yaml.safe_load((tmp_path / "exports" / "yolo" / "data.yaml").read_text())
    assert content["names"] == {0: "rod", 1: "cube"} and "val" not in content
    for split in ("train", "test"):
        assert (Path(content["path"]) / content[split] / "m1.png").is_file()


def test_labelme_shapes_rasterise_to_their_masks(dataset: CocoDataset, tmp_path: Path) -> None:
    folder = made(dataset, tmp_path, "labelme")
    content = json.loads((folder / "m1.json").read_text())
    assert (folder / content["imagePath"]).is_file()
    assert (content["imageHeight"], content["imageWidth"]) == SIZE and content["imageData"] is None
    drawn: list[NDArray[np.bool_]] = []
    groups: list[int | None] = []
    for shape in content["shapes"]:
        mask = polygon2mask(SIZE, np.array(shape["points"])[:, ::-1] - 0.5)
        if shape["group_id"] is not None and shape["group_id"] in groups:
            drawn[groups.index(shape["group_id"])] |= mask
        else:
            drawn.append(mask)
            groups.append(shape["group_id"])
    assert groups == [None, None, None, 4, None]  # the one in two parts
    assert all(iou(found, mask) >= 0.98 for found, mask in zip(drawn, SCENES[0], strict=True))
    assert {shape["shape_type"] for shape in content["shapes"]} == {"polygon"}
    assert [s["label"] for s in content["shapes"]] == ["rod", "cube", "rod", "cube", "cube", "rod"]
    assert json.loads((folder / "m2.json").read_text())["shapes"] == []


def test_coco_polygons_are_read_by_pycocotools_and_by_us(dataset: CocoDataset, tmp_path: Path) -> None:
    path = made(dataset, tmp_path, "coco_polygons") / "dataset.json"
    theirs, ours = COCO(str(path)), coco.read(path)
    masks = [mask for scene in SCENES for mask in scene]
    for number, mask in enumerate(masks, start=1):
        entry = theirs.anns[number]
        assert isinstance(entry["segmentation"], list) and isinstance(entry["full_segmentation"], list)
        np.testing.assert_array_equal(theirs.annToMask(entry).astype(bool), mask)
    assert isinstance(theirs.anns[len(masks) + 1]["segmentation"], dict), "a crowd region stays RLE"
    assert ours.annotations == dataset.annotations and ours.categories == CLASSES
    assert [image.path.parent.name for image in ours.images] == ["images"] * 3
    content = json.loads(path.read_text())
    assert content["images"][0]["sequence_id"] == 7 and content["info"] == {"seed": 3}


def test_images_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    first, second = (write_dataset(tmp_path / part, SCENES[:1]) for part in ("a", "b"))
    images = [{"id": k, "file_name": str(d.images[0].path), "height": SIZE[0], "width": SIZE[1]}
              for k, d in enumerate((first, second), start=1)]  # fmt: skip
    coco.write(tmp_path / "both.json", images, [], CLASSES)
    for name in FORMATS:
        folder = made(coco.read(tmp_path / "both.json"), tmp_path, name)
        stems = {file.stem for file in folder.rglob("*") if file.suffix in (".png", ".tif")}
        assert stems == {"m1_1", "m1_2"}


# ---------------------------------------------------------------------------------------- whole or not at all


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_dataset_gives_the_same_files_and_is_made_once(
    dataset: CocoDataset, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(dataset, tmp_path, name)
    first = contents(folder)
    monkeypatch.setitem(FORMATS, name, lambda *_: pytest.fail("made again"))
    assert export(dataset, "train", [name], tmp_path / "exports")[name]["particles"] >= 7
    assert contents(folder) == first and not any(".tmp" in file or ".partial" in file for file in first)


@pytest.mark.parametrize("name", FORMATS)
def test_an_interrupted_export_goes_on(
    dataset: CocoDataset, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(made(dataset, tmp_path / "whole", name))
    real, seen = rle.decode_crop, []

    def dies(segmentation: Any) -> Any:
        seen.append(segmentation)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return real(segmentation)

    monkeypatch.setattr(rle, "decode_crop", dies)
    with pytest.raises(KeyboardInterrupt):
        made(dataset, tmp_path, name)
    folder = tmp_path / "exports" / name
    assert not (folder / "train").exists() and (folder / ".train.partial").is_dir()
    assert contents(made(dataset, tmp_path, name)) == whole and not (folder / ".train.partial").exists()


def test_another_dataset_takes_the_place(dataset: CocoDataset, tmp_path: Path) -> None:
    folder = made(dataset, tmp_path, "yolo")
    assert len(list((folder / "images").iterdir())) == 3
    assert made(dataset.subset(1), tmp_path, "yolo") == folder
    assert len(list((folder / "images").iterdir())) == len(list((folder / "labels").iterdir())) == 1


def test_changing_an_export_does_not_change_the_dataset(dataset: CocoDataset, tmp_path: Path) -> None:
    before = dataset.images[0].path.read_bytes()
    (made(dataset, tmp_path, "yolo") / "images" / "m1.png").write_bytes(b"changed")
    assert dataset.images[0].path.read_bytes() == before


def test_where_nothing_can_be_written_the_place_is_named(dataset: CocoDataset, tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "yolo").write_text("a file in the way")
    with pytest.raises(UserError, match=r"the export .*exports/yolo cannot be written \(.*choose another with"):
        export(dataset, "train", ["yolo"], tmp_path / "exports")


def test_a_full_disk_is_explained(dataset: CocoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "yolo", full)
    with pytest.raises(UserError, match="no space left while making the dataset export yolo"):
        export(dataset, "train", ["yolo"], tmp_path / "exports")


def test_an_unknown_format_is_refused_with_all_there_are(dataset: CocoDataset, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="no export format 'yolov8': there are tiff_pairs, yolo, labelme, coco_polygons"
    ):
        export(dataset, "train", ["yolov8"], tmp_path)


def test_real_label_maps_come_back(data_dir: Path) -> None:
    """COCO → label map of real images: the ground and the number of labels are as their owners made them."""
    for image, instances in islice(Emps(data_dir / "emps").read("val"), 3):
        segmap = read_micrograph(data_dir / "emps" / "segmaps" / Path(image["file_name"]).name).pixels
        labels = export_formats.label_map(instances.segmentations, instances.size)
        np.testing.assert_array_equal(labels > 0, segmap > 0)
        pairs = np.unique(labels * 2.0**16 + segmap)
        assert len(pairs) == len(instances) + 1, "one label for each of theirs"

"""Nuclei of the Data Science Bowl, from the layout that its zip unpacks to."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data import coco, rle
from tem_seg.data.readers.dsb2018 import Dsb2018
from tem_seg.data.readers.protocol import convert

SIZE = (40, 60)
SQUARES = ((5, 8, 10), (20, 30, 12), (2, 48, 12))
"""Row, column and side; the last one reaches the right border."""


def nucleus(row: int, column: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[row : row + side, column : column + side] = 255
    return mask


def write_image(root: Path, name: str, squares: tuple = SQUARES, channels: int = 4) -> Path:
    folder = root / name
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    masks = [nucleus(*square) for square in squares]
    grey = np.maximum.reduce([np.full(SIZE, 12, np.uint8), *[mask // 2 for mask in masks]])
    pixels = np.dstack([grey] * 3 + [np.full(SIZE, 255, np.uint8)])[..., :channels] if channels > 1 else grey
    cv2.imwrite(str(folder / "images" / f"{name}.png"), pixels)
    for index, mask in enumerate(masks):
        cv2.imwrite(str(folder / "masks" / f"{index:064x}.png"), mask)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "stage1_train"
    for index in range(10):
        write_image(root, f"{index:064x}", channels=(4, 3, 1)[index % 3])
    return root


def test_every_mask_is_a_nucleus_where_it_was_drawn(root: Path) -> None:
    found = list(Dsb2018(root).read("train"))
    assert len(found) == 10
    for image, instances in found:
        assert (image["height"], image["width"]) == SIZE and Path(image["file_name"]).is_file()
        assert image["modality"] == "unknown" and "pixel_size_nm" not in image
        masks = [rle.decode(mask) for mask in instances.segmentations]
        np.testing.assert_array_equal(masks, [nucleus(*square) > 0 for square in SQUARES])
        assert instances.labels.tolist() == [0, 0, 0]


def test_it_becomes_a_dataset(root: Path, tmp_path: Path) -> None:
    convert(Dsb2018(root, {"train": 0.8, "val": 0.1, "test": 0.1}), tmp_path / "out")
    sets = {split: coco.read(tmp_path / "out" / split / "dataset.json") for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in sets.items()} == {"train": 8, "val": 1, "test": 1}
    names = [image.path.name for found in sets.values() for image in found.images]
    assert len(set(names)) == 10, "no image is in two splits"
    assert sets["train"].categories == ["nucleus"] and sets["train"].count == 24
    assert [a["truncated"] for a in sets["test"].annotations[1]] == [False, False, True]


def test_splits_depend_on_the_names_alone(root: Path) -> None:
    shares = {"train": 0.5, "test": 0.5}
    before = {image["group_id"] for image, _ in Dsb2018(root, shares).read("test")}
    write_image(root, "f" * 64)
    assert len(before & {image["group_id"] for image, _ in Dsb2018(root, shares).read("test")}) >= 4


def test_identity_follows_the_files_and_not_their_place(root: Path, tmp_path: Path) -> None:
    first = Dsb2018(root).identity()
    moved = root.rename(tmp_path / "elsewhere")
    assert Dsb2018(moved).identity() == first
    next(moved.glob("*/masks/*.png")).unlink()
    assert Dsb2018(moved).identity() != first


def test_a_missing_folder_says_where_to_get_the_data(tmp_path: Path) -> None:
    reader = Dsb2018(tmp_path / "nowhere")
    for ask in (reader.identity, lambda: list(reader.read("train"))):
        with pytest.raises(UserError, match="no nuclei of .*nowhere: download stage1_train.zip .*bbbc.broad"):
            ask()


def test_what_is_wrong_with_a_file_is_named(root: Path) -> None:
    first = sorted(root.iterdir())[0]
    mask = next((first / "masks").iterdir())
    whole = mask.read_bytes()
    black, small = np.zeros(SIZE, np.uint8), np.ones((4, 5), np.uint8)
    for pixels, message in ((black, "holds no nucleus"), (small, "is 5 × 4 px, its")):
        cv2.imwrite(str(mask), pixels)
        with pytest.raises(UserError, match=message):
            list(Dsb2018(root).read("train"))
    mask.write_bytes(whole[:30])
    with pytest.raises(UserError, match="cannot be read as an image: download it again"):
        list(Dsb2018(root).read("train"))
    mask.write_bytes(whole)
    (first / "images" / "other.png").write_bytes(whole)
    with pytest.raises(UserError, match="holds 2 images, expected one"):
        list(Dsb2018(root).read("train"))


def test_folders_that_were_not_unpacked_whole_are_listed(root: Path) -> None:
    first = sorted(root.iterdir())[0]
    for mask in (first / "masks").iterdir():
        mask.unlink()
    with pytest.raises(UserError, match=r"1 folder\(s\) of .* hold no .png, is it unpacked whole"):
        Dsb2018(root).identity()


def test_bad_shares_and_splits_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="dsb2018: splits must be shares of train, val and test that add to 1"):
        Dsb2018(root, {"train": 0.5, "test": 0.2})
    with pytest.raises(UserError, match="no split 'val': there are train"):
        list(Dsb2018(root).read("val"))

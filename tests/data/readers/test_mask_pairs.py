from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.data import coco, rle
from tem_seg.data.readers.mask_pairs import MaskPairs, read_labels
from tem_seg.data.readers.protocol import Reader, convert


def save(path: Path, values: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, values)
    else:
        assert cv2.imwrite(str(path), values)
    return path


def labels(dtype: Any = np.uint8) -> NDArray[Any]:
    """Two particles of 4 × 6 and 5 × 5 px."""
    mask = np.zeros((20, 30), dtype)
    mask[2:6, 3:9], mask[10:15, 20:25] = 7, 9
    return mask


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Ten pairs in images/ and masks/."""
    for k in range(10):
        save(tmp_path / f"images/i{k}.tif", np.full((20, 30), 10 * k, np.uint8))
        save(tmp_path / f"masks/i{k}.png", labels(np.uint16))
    return tmp_path


def reader(root: Path, **changes: Any) -> MaskPairs:
    return MaskPairs(root / "images", root / "masks", **changes)


def names(found: MaskPairs, split: str) -> list[str]:
    return [Path(image["file_name"]).stem for image, _ in found.read(split)]


def areas(found: NDArray[np.int32]) -> list[int]:
    return sorted(np.bincount(found.ravel())[1:].tolist())


def test_it_keeps_the_protocol(pairs: Path) -> None:
    kept: Reader = reader(pairs)
    image, instances = next(iter(kept.read("train")))
    assert image == {"file_name": str((pairs / "images/i0.tif").resolve()), "height": 20, "width": 30,
                     "modality": "unknown", "group_id": "i0"}  # fmt: skip
    assert [rle.area_px(mask) for mask in instances.segmentations] == [24, 25]
    assert np.array_equal(rle.decode(instances.segmentations[0]), labels() == 7)


def test_all_pairs_are_shared_out_by_name(pairs: Path) -> None:
    found = reader(pairs, splits={"train": 0.6, "val": 0.2, "test": 0.2})
    parts = {split: names(found, split) for split in found.splits}
    assert [len(parts[split]) for split in ("train", "val", "test")] == [6, 2, 2]
    assert sorted(name for part in parts.values() for name in part) == [f"i{k}" for k in range(10)]
    convert(found, pairs / "out")
    assert len(coco.read(pairs / "out/test/dataset.json").images) == 2


def test_a_single_pair_may_be_train_alone(pairs: Path) -> None:
    one = pairs / "one"
    save(one / "images/a.png", np.zeros((20, 30), np.uint8))
    save(one / "masks/a.tif", labels(np.uint16))
    assert names(reader(one), "train") == ["a"] and reader(one).splits == ("train",)
    with pytest.raises(UserError, match=r"1 image\(s\) cannot be shared among train, val"):
        names(reader(one, splits={"train": 0.5, "val": 0.5}), "train")


def test_masks_among_the_images(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.zeros((20, 30), np.uint8))
    save(tmp_path / "a_mask.png", labels())
    assert names(MaskPairs(tmp_path), "train") == ["a"]


def test_pixel_size_and_modality_are_said(pairs: Path) -> None:
    image, _ = next(iter(reader(pairs, pixel_size_nm=0.5, modality="sem").read("train")))
    assert image["pixel_size_nm"] == 0.5 and image["pixel_size_source"] == "override" and image["modality"] == "sem"


def test_identity_follows_content_not_place(pairs: Path, tmp_path: Path) -> None:
    before = reader(pairs).identity()
    moved = tmp_path / "moved"
    for path in pairs.glob("*/*.*"):
        (moved / path.parent.name).mkdir(parents=True, exist_ok=True)
        (moved / path.parent.name / path.name).write_bytes(path.read_bytes())
    assert reader(moved).identity() == before
    changed = labels(np.uint16)
    changed[0, 0] = 11
    save(moved / "masks/i3.png", changed)
    assert reader(moved).identity() != before


# ----------------------------------------------------------------------------------------------- kinds of masks


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.float32])
def test_label_maps_of_any_depth(tmp_path: Path, dtype: Any) -> None:
    values = labels(dtype)
    values[values == 9] = 200 if dtype == np.uint8 else 40_000
    found = read_labels(save(tmp_path / "m.tif", values))
    assert found.dtype == np.int32 and areas(found) == [24, 25] and found.max() == 2


def test_huge_ids_need_no_huge_table(tmp_path: Path) -> None:
    values = labels(np.uint32)
    values[values == 9] = 4_000_000_000
    assert areas(read_labels(save(tmp_path / "m.tif", values))) == [24, 25]


@pytest.mark.parametrize("value", [1, 255])
def test_binary_masks_are_split_into_regions(tmp_path: Path, value: int) -> None:
    mask = ((labels() > 0) * value).astype(np.uint8)
    mask[6, 9] = value  # touches the first particle's corner: one particle
    assert areas(read_labels(save(tmp_path / "m.png", mask))) == [25, 25]


def test_corners_part_regions_where_neighbours_are_a_pixel_apart(tmp_path: Path) -> None:
    mask = (labels() > 0).astype(np.uint8)
    mask[6, 9] = 1  # touches the first particle's corner alone
    assert areas(read_labels(save(tmp_path / "m.png", mask), connectivity=4)) == [1, 24, 25]


def test_each_colour_is_a_particle(tmp_path: Path) -> None:
    mask = labels()
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[mask == 7], colours[mask == 9] = (255, 0, 0), (254, 0, 0)
    colours[17:19, 2:4] = (255, 0, 0)  # in two pieces, as where something lies across
    assert areas(read_labels(save(tmp_path / "m.png", colours))) == [25, 28]


def test_grey_saved_as_colour_is_a_label_map(tmp_path: Path) -> None:
    assert areas(read_labels(save(tmp_path / "m.png", np.dstack([labels()] * 3)))) == [24, 25]


# ------------------------------------------------------------------------------------------------------ bad input


def dots(count: int, dtype: Any) -> NDArray[Any]:
    """count particles of 3 × 3 px; ids run on from 255 to 1 where they do not fit."""
    mask = np.zeros((100, 200), np.int64)
    for k in range(count):
        y, x = 5 * (k // 40), 5 * (k % 40)
        mask[y : y + 3, x : x + 3] = k % 255 + 1 if dtype == np.uint8 else k + 1
    return mask.astype(dtype)


def test_more_than_255_particles_do_not_fit_in_8_bit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more than 255 particles do not fit in 8 bit. Save the mask with 16 bit"):
        read_labels(save(tmp_path / "m.png", dots(260, np.uint8)))
    assert read_labels(save(tmp_path / "m.png", dots(255, np.uint8))).max() == 255
    assert read_labels(save(tmp_path / "m.png", dots(260, np.uint16))).max() == 260


def test_saturated_8_bit_masks_are_refused(tmp_path: Path) -> None:
    clipped = np.minimum(dots(260, np.uint16), 255).astype(np.uint8)
    with pytest.raises(UserError, match="Save the mask with 16 bit"):
        read_labels(save(tmp_path / "m.png", clipped))


def test_damaged_colours_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((100, 100, 3), np.uint8)
    for k in range(9):
        cv2.circle(colours, (10 + 30 * (k % 3), 10 + 30 * (k // 3)), 9, (40 + 20 * k, 255 - 20 * k, 90), -1)
    save(tmp_path / "m.jpg", colours)
    smoothed = cv2.imread(str(tmp_path / "m.jpg"))
    with pytest.raises(UserError, match=r"colours, \d+ of them on fewer than 4 pixels: the mask was smoothed, resized"):
        read_labels(save(tmp_path / "m.png", smoothed))
    assert read_labels(save(tmp_path / "m.png", colours)).max() == 9


def test_smoothed_label_maps_are_refused(tmp_path: Path) -> None:
    mask = np.zeros((60, 60), np.uint16)
    mask[:40, :40] = 5
    mask[45, :30] = np.arange(100, 130)  # the remains of 30 interpolated values
    with pytest.raises(UserError, match="31 values, 30 of them on fewer than 4 pixels"):
        read_labels(save(tmp_path / "m.png", mask))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((20, 30), np.uint8), "holds no particle: every pixel is background"),
        (np.full((20, 30), 3, np.uint8), "has no background: the value 0"),
        (labels(np.float32) / 2, "holds fractions: a mask must hold whole numbers"),
        (-labels(np.int16), "holds negative values"),
        (np.stack([labels()] * 3), "holds 3 images: a mask must be one"),
        (np.full((20, 30, 3), (9, 8, 7), np.uint8), "colour-coded mask without black"),
    ],
)
def test_masks_that_cannot_be_right(tmp_path: Path, mask: NDArray[Any], message: str) -> None:
    tifffile.imwrite(tmp_path / "m.tif", mask, photometric="rgb" if mask.shape[-1] == 3 else "minisblack")
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "m.tif")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    for name in ("m.png", "m.tif"):
        (tmp_path / name).write_bytes(b"II*\0 nothing")
        with pytest.raises(UserError, match=name):
            read_labels(tmp_path / name)


def test_sizes_must_agree(pairs: Path) -> None:
    save(pairs / "masks/i4.png", labels()[:, :-1])
    with pytest.raises(UserError, match=r"i4.tif is 30 × 20 px, but its mask .*i4.png 29 × 20"):
        list(reader(pairs).read("train"))


def test_every_file_without_a_partner_is_named(pairs: Path) -> None:
    (pairs / "masks/i4.png").unlink()
    (pairs / "images/i7.tif").unlink()
    with pytest.raises(UserError, match=r"i4.tif: no mask i4.png or .tif in .*masks\n.*i7.png: no image i7"):
        list(reader(pairs).read("train"))


def test_two_images_of_one_name(pairs: Path) -> None:
    save(pairs / "images/i1.png", np.zeros((20, 30), np.uint8))
    with pytest.raises(UserError, match=r"i1.png and .*i1.tif have the same name"):
        list(reader(pairs).read("train"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": {"train": 0.5}}, "must be shares of train, val and test that add to 1"),
        ({"splits": {"train": 0.5, "dev": 0.5}}, "must be shares of train, val and test"),
        ({"splits": {"train": 1.5, "val": -0.5}}, "must be shares"),
        ({"modality": "x-ray"}, "modality must be one of bright_field"),
        ({"pixel_size_nm": 0.0}, "pixel_size_nm must be positive"),
        ({"connectivity": 6}, "connectivity must be 4 or 8, got 6"),
    ],
)
def test_bad_parameters(pairs: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        reader(pairs, **changes)


def test_folders_must_be_given_and_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder given"):
        MaskPairs()
    with pytest.raises(UserError, match="must differ by mask_suffix"):
        MaskPairs(tmp_path, mask_suffix="")
    with pytest.raises(UserError, match="no folder .*nowhere"):
        list(MaskPairs(tmp_path / "nowhere").read("train"))
    with pytest.raises(UserError, match="no image with a mask"):
        list(MaskPairs(tmp_path).read("train"))
    with pytest.raises(UserError, match="no split 'val'"):
        list(MaskPairs(tmp_path).read("val"))


def test_real_sem_pairs(data_dir: Path) -> None:
    folder = data_dir / "bam_tio2"
    found = MaskPairs(folder / "SEM", folder / "masks_manual", mask_suffix="_m", modality="sem")
    counts = [len(instances) for _, instances in found.read("train")]
    assert len(counts) == 5 and counts[0] == 97
    apart = MaskPairs(folder / "SEM", folder / "masks_manual", "_m", modality="sem", connectivity=4)
    assert sum(len(instances) for _, instances in apart.read("train")) == 637  # SOURCE.md's count


def test_named_images_test_and_the_others_are_shared_out(pairs: Path) -> None:
    found = reader(pairs, splits={"train": 1.0}, test_on=["i3"])
    assert found.splits == ("train", "test") and names(found, "test") == ["i3"]
    assert names(found, "train") == [f"i{k}" for k in range(10) if k != 3]
    assert found.identity() != reader(pairs, splits={"train": 1.0}).identity()
    assert reader(pairs, splits={"train": 0.5, "val": 0.5}, test_on=["i0"]).splits == ("train", "val", "test")


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"splits": {"train": 1.0}, "test_on": []}, "name at least one"),
     ({"splits": {"train": 0.5, "test": 0.5}, "test_on": ["i0"]}, "among train and val alone"),
     ({"splits": {"train": 1.0}, "test_on": ["i99"]}, "test_on names i99, but there are i0, i1"),
     ({"splits": {"train": 1.0}, "test_on": [f"i{k}" for k in range(10)]}, "0 image")],
)  # fmt: skip
def test_names_to_test_on_that_cannot_be(pairs: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        names(reader(pairs, **changes), "test")

"""Pictures as masks: depth, pages, connection of regions, empty ones, and what a flat picture loses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from tem_seg.core.errors import UserError
from tem_seg.data import export_formats, rle
from tem_seg.data.formats import label_images
from tem_seg.data.formats.model import Annotated, Source


def labels() -> np.ndarray:
    made = np.zeros((20, 30), np.int64)
    made[2:6, 2:8], made[10:15, 10:20], made[10:15, 20:25] = 1, 7, 200
    return made


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.float32])
def test_every_depth(dtype: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", labels().astype(dtype))
    (one,) = label_images.read(Source(tmp_path / "a.tif")).images
    assert [rle.area_px(mask) for mask in one.masks] == [24, 50, 25]


def test_pages_are_micrographs_and_may_be_empty(tmp_path: Path) -> None:
    pages = np.stack([labels(), labels() * 0, labels() * (labels() == 7)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    found = label_images.read(Source(tmp_path / "a.tif"))
    assert [(one.frame, len(one)) for one in found.images] == [(0, 3), (1, 0), (2, 1)]
    assert "page 3: a binary mask: each 8-connected region" in found.notes[0]


def test_connectivity_of_binary_masks(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:6, 2:6] = mask[6:9, 6:9] = 255  # they share a corner
    cv2.imwrite(str(tmp_path / "a.png"), mask)
    counts = [len(label_images.read(Source(tmp_path / "a.png", connectivity=c)).images[0]) for c in (8, 4)]
    assert counts == [1, 2]
    with pytest.raises(UserError, match="connectivity must be 4 or 8, got 6"):
        label_images.read(Source(tmp_path / "a.png", connectivity=6))


def test_a_tiff_that_claims_a_trillion_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, labels().astype(np.uint16))
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags = [file.pages.first.tags[name] for name in ("ImageWidth", "ImageLength")]
    for tag in tags:  # type and value of the entry: LONG, 10^6
        content[tag.offset + 2 : tag.offset + 12] = (
            (4).to_bytes(2, "little") + (1).to_bytes(4, "little") + (10**6).to_bytes(4, "little")
        )
    path.write_bytes(content)
    with pytest.raises(UserError, match="1,000,000 × 1,000,000 px|truncated"):
        label_images.read(Source(path))


def test_lost_overlap_is_counted(overlapping: Annotated, tmp_path: Path) -> None:
    (note,) = label_images.write_labels([overlapping], tmp_path / "a.tif")
    one, two = (rle.decode(mask) for mask in overlapping.masks[:2])
    lost = int((one & two).sum()) + rle.area_px(overlapping.masks[2])
    assert f"{lost} px of 2 particles lie under other particles and are lost, 1 of them wholly" in note
    (found,) = label_images.read(Source(tmp_path / "a.tif")).images
    assert len(found) == 3


def test_binary_masks_say_what_grows_together(overlapping: Annotated, tmp_path: Path) -> None:
    notes = label_images.write_binary([overlapping], tmp_path / "a.png")
    assert "4 particles are 2 separate regions" in notes[0] and len(notes) == 2


def test_more_particles_than_16_bit_can_number(
    overlapping: Annotated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_formats, "MOST_LABELS", 3)
    one = replace(overlapping, pixel_size_nm=0.25)
    label_images.write_labels([one], tmp_path / "a.tif")
    assert tifffile.imread(tmp_path / "a.tif").dtype == np.uint32
    (found,) = label_images.read(Source(tmp_path / "a.tif")).images
    assert (len(found), found.pixel_size_nm) == (3, 0.25)


def test_a_png_that_claims_two_gigabytes(tmp_path: Path) -> None:
    """OpenCV would make room for them, and look for an end for ten seconds."""
    content = bytearray(cv2.imencode(".png", labels().astype(np.uint8))[1].tobytes())
    place = content.find(b"IDAT") - 4
    content[place : place + 4] = (2**31 - 1).to_bytes(4)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match="truncated or damaged"):
        label_images.read(Source(tmp_path / "a.png"))

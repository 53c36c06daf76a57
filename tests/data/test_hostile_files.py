"""Files that are damaged, half written, misnamed, or made to harm."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tem_seg.core.errors import UserError
from tem_seg.data import images
from tem_seg.data.atomic import write_text
from tem_seg.data.images import SUFFIXES, count_frames, read_micrograph, write_png

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{k + 1} "{f"&a{k};" * 10}">' for k in range(9))
    + "]><OME><Image><Pixels>&a9;</Pixels></Image></OME>"
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels>&x;</Pixels></Image></OME>'
)


@pytest.mark.parametrize("xml", [LAUGHS, OUTSIDE], ids=["a billion laughs", "a file from outside"])
def test_xml_that_declares_entities_is_refused(tmp_path: Path, xml: str) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, description=xml, metadata=None)
    tracemalloc.start()
    for use in (read_micrograph, count_frames):
        with pytest.raises(UserError, match="a.ome.tif: its XML metadata declares entities.*may be harmful"):
            use(tmp_path / "a.ome.tif")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("code", [700, 34682, 50839])
def test_entities_in_any_text_of_a_tiff_are_refused(tmp_path: Path, code: int) -> None:
    """XMP, FEI's tag, ImageJ's: wherever a program might parse it."""
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, extratags=[(code, 7, len(LAUGHS), LAUGHS.encode(), True)])
    with pytest.raises(UserError, match="declares entities"):
        read_micrograph(tmp_path / "a.tif")


def test_broken_xml_is_no_traceback(tmp_path: Path) -> None:
    xml = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels></Image></OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, description=xml, metadata=None)
    with pytest.raises(UserError, match="a.ome.tif cannot be read"):
        read_micrograph(tmp_path / "a.ome.tif")


def _claims(path: Path, side: int, compression: str | None) -> None:
    """A TIFF whose header says side × side px and whose data are a few bytes."""
    tifffile.imwrite(path, PIXELS, compression=compression, rowsperstrip=20, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages.first.tags
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tags[name].overwrite(side, dtype="I")


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_tiff_that_claims_a_million_by_a_million_pixels(tmp_path: Path, compression: str | None) -> None:
    _claims(tmp_path / "a.tif", 10**6, compression)
    tracemalloc.start()
    with pytest.raises(UserError, match="a.tif claims an image of 1,000,000 × 1,000,000 px, more than"):
        read_micrograph(tmp_path / "a.tif")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_an_hdf5_file_that_claims_a_million_by_a_million_pixels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        group = file.create_group("Experiments/a")
        group.create_dataset("data", (10**6, 10**6), "f4", chunks=(1000, 1000))  # nothing is stored
        for k in range(2):
            group.create_group(f"axis-{k}").attrs["scale"] = 1.0
    with pytest.raises(UserError, match="a.hspy claims an image of 1,000,000 × 1,000,000 px"):
        read_micrograph(tmp_path / "a.hspy")


def test_the_largest_image_that_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", PIXELS)
    monkeypatch.setattr(images, "MOST_PIXELS", 600)
    assert read_micrograph(tmp_path / "a.png").pixels.shape == (20, 30)
    monkeypatch.setattr(images, "MOST_PIXELS", 599)
    with pytest.raises(UserError, match="claims an image of 30 × 20 px, more than 599 pixels"):
        read_micrograph(tmp_path / "a.png")


@pytest.mark.parametrize("change", ["grows", "is cut", "is replaced", "is removed"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS)
    real = images._to_float

    def slow(where: Path, pixels: np.ndarray) -> np.ndarray:  # the microscope writes meanwhile
        content = path.read_bytes()
        if change == "is removed":
            path.unlink()
        else:
            path.write_bytes({"grows": content + b"more", "is cut": content[:-50], "is replaced": content}[change])
            os.utime(path, ns=(1, 1))
        return real(where, pixels)

    monkeypatch.setattr(images, "_to_float", slow)
    with pytest.raises(UserError, match="a.tif changed while it was read: wait until the program that writes it"):
        read_micrograph(path)


@pytest.mark.parametrize("name", ["Übergröße µm 粒子.tif", "a b'c\"d;$(e).tif", "😀.png", "-o.tif", "x" * 240 + ".tif"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    if name.endswith("png"):
        write_png(tmp_path / name, PIXELS)
    else:
        tifffile.imwrite(tmp_path / name, PIXELS, imagej=True, resolution=(2.0, 2.0), metadata={"unit": "nm"})
    found = read_micrograph(tmp_path / name)
    assert (found.pixels == PIXELS).all() and found.pixel_size_nm == (None if name.endswith("png") else 0.5)


def test_a_name_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    write_png(path, PIXELS)
    assert (read_micrograph(path).pixels == PIXELS).all()


@pytest.mark.parametrize("name", ["x" * 300 + ".tif", "a\0b.tif"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no micrograph at"):
        read_micrograph(tmp_path / name)


@pytest.mark.parametrize("name", ["粒" * 80 + ".png", "x" * 251 + ".png"])
def test_files_with_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    write_png(tmp_path / name, PIXELS)
    write_text(tmp_path / name.replace("png", "txt"), "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, name.replace("png", "txt")])


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s not in (".emi",)])
def test_a_tiff_under_a_foreign_ending_is_read_by_its_content(tmp_path: Path, suffix: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS)
    shutil.move(tmp_path / "a.tif", tmp_path / f"a{suffix}")
    assert (read_micrograph(tmp_path / f"a{suffix}").pixels == PIXELS).all()


@pytest.mark.parametrize("name", ["notes.txt", "Thumbs.db", ".DS_Store", "talk.pptx", "noending"])
def test_a_foreign_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 no picture" * 10)
    with pytest.raises(UserError, match="is no micrograph that can be read: expected one of .png"):
        read_micrograph(tmp_path / name)

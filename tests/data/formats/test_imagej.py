"""ROIs of every kind that has an area, stacks, and archives that were made to do harm."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.formats import archive, imagej
from tem_seg.data.formats.model import Annotated, Source

SIZE = (60, 80)


def read(path: Path) -> list[Annotated]:
    return imagej.read(Source(path, size_of=lambda _: SIZE)).images


def save(path: Path, *rois: ImagejRoi) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number, roi in enumerate(rois):
            file.writestr(f"{number}.roi", roi.tobytes())
    return path


def only(path: Path) -> np.ndarray:
    (one,) = read(path)
    (mask,) = one.masks
    return rle.decode(mask)


def polygon(kind: ROI_TYPE) -> ImagejRoi:
    roi = ImagejRoi.frompoints(np.array([[10, 20], [30, 20], [30, 50], [10, 50]]))
    roi.roitype = kind
    return roi


@pytest.mark.parametrize("kind", [ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED])
def test_outlines_run_along_the_edges_of_pixels(kind: ROI_TYPE, tmp_path: Path) -> None:
    """As ImageJ fills them: 20 × 30 px for corners that lie 20 and 30 apart."""
    (tmp_path / "a.roi").write_bytes(polygon(kind).tobytes())
    expected = np.zeros(SIZE, bool)
    expected[20:50, 10:30] = True
    np.testing.assert_array_equal(only(tmp_path / "a.roi"), expected)


def test_rectangle_written_byte_for_byte_by_hand(tmp_path: Path) -> None:
    """Big-endian: magic, version, type 1, top, left, bottom, right (RoiDecoder.java)."""
    head = b"Iout" + struct.pack(">hBxhhhhH", 227, 1, 5, 10, 25, 40, 0)
    (tmp_path / "a.roi").write_bytes(head + bytes(64 - len(head)))
    expected = np.zeros(SIZE, bool)
    expected[5:25, 10:40] = True
    np.testing.assert_array_equal(only(tmp_path / "a.roi"), expected)


def test_subpixel_rectangle_oval_and_rounded_rectangle(tmp_path: Path) -> None:
    sub = ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    rect = ImagejRoi(roitype=ROI_TYPE.RECT, options=sub, xd=2.4, yd=3.6, widthd=10.0, heightd=4.0)
    oval = ImagejRoi(roitype=ROI_TYPE.OVAL, top=10, left=20, bottom=50, right=70)
    soft = ImagejRoi(roitype=ROI_TYPE.RECT, top=0, left=0, bottom=40, right=40, rounded_rect_arc_size=20)
    (one,) = read(save(tmp_path / "a.zip", rect, oval, soft))
    areas = [rle.area_px(mask) for mask in one.masks]
    assert areas[0] == 40
    assert areas[1] == pytest.approx(np.pi * 25 * 20, rel=0.01)
    assert areas[2] == pytest.approx(1600 - (4 - np.pi) * 100, rel=0.01)


def test_composite_with_a_hole_and_an_island(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:40, 10:40] = True
    mask[20:30, 20:30] = False
    mask[24:26, 24:26] = True
    mask[45:50, 60:70] = True
    roi = imagej.region_of(rle.encode(mask))
    assert roi.composite and roi.roitype == ROI_TYPE.RECT
    np.testing.assert_array_equal(only(save(tmp_path / "a.zip", roi)), mask)


def test_what_has_no_area_is_counted(tmp_path: Path) -> None:
    line = ImagejRoi(roitype=ROI_TYPE.LINE, x1=1, y1=1, x2=9, y2=9)
    text = ImagejRoi(roitype=ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT, top=0, left=0, bottom=9, right=9)
    points = polygon(ROI_TYPE.POINT)
    found = imagej.read(Source(save(tmp_path / "a.zip", line, text, points, points, polygon(ROI_TYPE.POLYGON)),
                               size_of=lambda _: SIZE))  # fmt: skip
    assert len(found.images[0]) == 1
    assert [note.split(": ")[2] for note in found.notes] == ["1 × line region", "2 × point region", "1 × text region"]


def test_slices_of_a_stack_are_micrographs(tmp_path: Path) -> None:
    first, third, all_of_them = (polygon(ROI_TYPE.POLYGON) for _ in range(3))
    first.position, third.position = 1, 3
    found = read(save(tmp_path / "a.zip", first, third, all_of_them))
    assert [(one.frame, len(one)) for one in found] == [(0, 2), (2, 2)]


def test_outlines_beyond_the_micrograph(tmp_path: Path) -> None:
    path = save(tmp_path / "a.zip", polygon(ROI_TYPE.POLYGON))
    with pytest.raises(UserError, match="0.roi: polygon reaches outside its image of 20 × 40 px"):
        imagej.read(Source(path, size_of=lambda _: (40, 20)))


# -------------------------------------------------------------------------------------------------------- harm


def refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "bad.zip")


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path, zipped({"a.roi": bytes(10**7)}), "times its size: the archive may be a bomb")
    refused(tmp_path, zipped({"a.roi": bytes(2**24 + 1)}), "unpack to more than 16,777,216 bytes")
    monkeypatch.setattr(archive, "MOST_RATIO", 10**9)
    monkeypatch.setattr(archive, "MOST_TOTAL", 2**20)
    refused(tmp_path, zipped({f"{k}.roi": bytes(2**18) for k in range(5)}), "unpack to more than 1,048,576 bytes")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("unpacked")

    monkeypatch.setattr(archive, "_bytes", never)
    refused(tmp_path, zipped({"a.roi": b"small", "b.roi": bytes(10**7)}), "bomb")


@pytest.mark.parametrize("name", ["../a.roi", "a/../../b.roi", "/etc/a.roi", "..\\a.roi", "C:\\a.roi"])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    refused(tmp_path, zipped({name: polygon(ROI_TYPE.POLYGON).tobytes()}), "leads out of its folder")


def test_too_many_entries(tmp_path: Path) -> None:
    sound = bytearray(zipped({"a.roi": b"x"}))
    end = sound.rfind(b"PK\5\6")
    refused(
        tmp_path, bytes(sound[: end + 12] + struct.pack("<I", 2**30) + sound[end + 16 :]), "list of 1,073,741,824 bytes"
    )
    refused(tmp_path, bytes(sound[: end + 10] + struct.pack("<H", 65535) + sound[end + 12 :]), "claims 65,535 entries")
    refused(tmp_path, bytes(sound[:end] + b"PK\6\7" + bytes(16) + sound[end:]), "64-bit kind")


def test_other_archives_and_damage(tmp_path: Path) -> None:
    sound = zipped({"a.roi": polygon(ROI_TYPE.POLYGON).tobytes()}, zipfile.ZIP_STORED)
    refused(tmp_path, zipped({"word/document.xml": b"x"}), "expected an archive of .roi files alone")
    refused(tmp_path, sound[: len(sound) // 2], "without an end: it is truncated")
    refused(tmp_path, sound.replace(b"Iout", b"Jout"), "damaged")  # the checksum tells
    refused(tmp_path, zipped({"a.roi": b"Iout"}), "a.roi is no ImageJ region of interest")
    refused(tmp_path, zipped({"a.roi": b"Iout" + bytes([0, 227, 0, 0]) + bytes([255] * 60)}), "no ImageJ region|fault")


def test_litter_of_other_systems_is_no_region(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(
        zipped({"__MACOSX/._a.roi": b"x", "rois/": b"", "rois/a.roi": polygon(ROI_TYPE.POLYGON).tobytes()})
    )
    assert len(read(tmp_path / "a.zip")[0]) == 1

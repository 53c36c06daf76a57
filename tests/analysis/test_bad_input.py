"""Files, folders and settings that are not as they should be, and particles that give statistics little to go by."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analysis_scenes import DIAMETERS, Bright, micrograph, segmenter
from filelock import FileLock

from tem_seg.analysis import one
from tem_seg.analysis.analyse import analyse
from tem_seg.analysis.inputs import Item
from tem_seg.analysis.report import write_reports
from tem_seg.analysis.settings import Settings
from tem_seg.core.errors import UserError


def test_nothing_to_be_seen(tmp_path: Path) -> None:
    micrograph(tmp_path / "flat.tif", [], size=64)
    model = Bright()
    model.predict = lambda images, frames=None: [_none()]  # type: ignore[method-assign, assignment]
    found = analyse([tmp_path / "flat.tif"], tmp_path / "out", Settings(), segmenter=segmenter(model))
    write_reports(found)
    assert "no particle found in 1 of 1 micrographs: flat.tif" in found.record["notes"]
    assert "No particle counts" in (tmp_path / "out" / "report.html").read_text()
    assert len(pd.read_csv(tmp_path / "out" / "particles.csv")) == 0


def _none():  # type: ignore[no-untyped-def]
    from tem_seg.core.types import Prediction

    return Prediction(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), [])


def test_a_particle_as_large_as_the_image(tmp_path: Path) -> None:
    micrograph(tmp_path / "a.tif", [400.0], size=60, pixel_size_nm=1.0)
    model = Bright()
    model.predict = lambda images, frames=None: [_all(images[0].shape[1:])]  # type: ignore[method-assign, assignment]
    found = analyse([tmp_path / "a.tif"], tmp_path / "out", Settings(), segmenter=segmenter(model))
    write_reports(found)
    assert (len(found.measured), len(found.particles)) == (1, 0)
    assert found.record["red_flags"][0].startswith("none of 1 measured particles counts: border")
    assert found.measured["left_out"].tolist() == ["border"]


def _all(size):  # type: ignore[no-untyped-def]
    from tem_seg.core.types import Prediction
    from tem_seg.data.rle import encode

    box = np.array([[0, 0, size[1], size[0]]], np.float32)
    return Prediction(box, np.zeros(1, np.int64), np.ones(1, np.float32), [encode(np.ones(tuple(size), np.uint8))])


def test_twenty_of_one_name(tmp_path: Path) -> None:
    for k in range(20):
        micrograph(tmp_path / "in" / f"day{k}" / "image.tif", DIAMETERS[: 4 + k % 12], size=200)
    found = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert len(set(found.images["image"])) == 20 and len(list((tmp_path / "out" / "pictures").glob("*.svg"))) == 20
    assert found.images["measured"].tolist() == found.images["counted"].tolist()


def test_names_that_are_hard(tmp_path: Path) -> None:
    names = ["金ナノ粒子 é 50°C.tif", "n" * 240 + ".tif", "a&<b>.tif"]
    for place, name in enumerate(names):
        micrograph(tmp_path / "in" / name, DIAMETERS[: 3 + place], pixel_size_nm=0.5)
    found = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    write_reports(found)
    assert sorted(found.images["counted"]) == [3, 4, 5]
    assert "金ナノ粒子 é 50°C.tif" in (tmp_path / "out" / "report.html").read_text()


def test_foreign_files_and_damaged_ones(tmp_path: Path) -> None:
    micrograph(tmp_path / "in" / "a.tif", DIAMETERS, pixel_size_nm=0.5)
    (tmp_path / "in" / "notes.docx").write_bytes(b"PK")
    (tmp_path / "in" / "broken.tif").write_bytes((tmp_path / "in" / "a.tif").read_bytes()[:900])
    (tmp_path / "in" / "empty.dm4").touch()
    found = analyse([tmp_path / "in"], tmp_path / "in" / "out", Settings(), segmenter=segmenter())
    again = analyse([tmp_path / "in"], tmp_path / "in" / "out", Settings(), segmenter=segmenter())
    assert len(found.done) == len(again.done) == 1  # its own pictures are no micrographs
    assert any("notes.docx" in note for note in found.record["notes"])
    assert [("broken" in flag, "empty" in flag) for flag in found.record["red_flags"]] == [(True, False), (False, True)]


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = micrograph(tmp_path / "a.tif", DIAMETERS)
    real = one.file_digest

    def grown(file: Path) -> str:
        found = real(file)
        with file.open("ab") as more:
            more.write(b"\0" * 64)
        return found

    monkeypatch.setattr(one, "file_digest", grown)
    with pytest.raises(UserError, match="changed while it was read: wait until"):
        one.read(Item(path, None, "a.tif"), None, {"strip": True}, tmp_path / "out")
    with pytest.raises(UserError, match=r"no micrograph could be analysed.*changed while it was read"):
        analyse([path], tmp_path / "out", Settings(), segmenter=segmenter())


def test_folders_of_others_stay_as_they_are(tmp_path: Path) -> None:
    path = micrograph(tmp_path / "a.tif", DIAMETERS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "particles.csv").write_text("mine")
    with pytest.raises(UserError, match=r"holds a particles.csv that is not of tem-seg analyze"):
        analyse([path], tmp_path / "out", Settings(), segmenter=segmenter())
    assert (tmp_path / "out" / "particles.csv").read_text() == "mine"
    with pytest.raises(UserError, match="is a file: give a folder"):
        analyse([path], path, Settings(), segmenter=segmenter())


def test_two_at_once(tmp_path: Path) -> None:
    path = micrograph(tmp_path / "a.tif", DIAMETERS)
    (tmp_path / "out").mkdir()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(tmp_path / "out" / ".lock"):
            held.set()
            done.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(60)
    try:
        with pytest.raises(UserError, match="another tem-seg analyze writes into"):
            analyse([path], tmp_path / "out", Settings(), segmenter=segmenter())
    finally:
        done.set()
        other.join()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"pixel_size_nm": 0.0}, "pixel size of 0.0 nm is impossible"),
        ({"pixel_size_nm": float("nan")}, "pixel size of nan nm is impossible"),
        ({"pixel_size_error": -1.0}, "give its share, such as 0.01"),
        ({"min_score": 2.0}, "min_score lies between 0 and 1"),
        ({"border": "cut"}, "'cut' is none of keep, exclude, weight"),
        ({"weights": "mass"}, "'mass' is none of number, area, volume"),
        ({"min_size_px": -2.0}, "min_size_px must be 0 or a positive"),
        ({"magnification": 0.0}, "give one between 0.05 and 8"),
        ({"magnification": float("nan")}, "give one between 0.05 and 8"),
        ({"aggregated": "split"}, "split is for a run"),
        ({"touching": "split"}, "'split' is none of count, exclude"),
        ({"colours": "red"}, "'red' is none of flag, size"),
        ({"pixel_size_nm": -1.0}, "pixel size of -1.0 nm is impossible"),
    ],
)
def test_settings_that_are_impossible(given: dict, text: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=text):
        Settings(**given)


@pytest.mark.parametrize("diameters", [[20.0], [20.0] * 16])
def test_one_particle_and_all_alike(tmp_path: Path, diameters: list[float]) -> None:
    """Fits and intervals have nothing to go by; they say so."""
    for k in range(4):
        size = 60 if len(diameters) == 1 else 200
        path = micrograph(tmp_path / "in" / f"{k}.tif", diameters, size=size, pixel_size_nm=0.5)
        path.write_bytes(path.read_bytes() + bytes([k]))  # no copies of one another
    found = analyse([tmp_path / "in"], tmp_path / "out", Settings(colours="size"), segmenter=segmenter())
    write_reports(found)
    told = found.distribution["nm"]["equivalent_diameter"]
    assert told["n"] == 4 * len(diameters) and told["summaries"]["number"]["sd"] < 1e-9
    assert told["estimates"]["d50"]["value"] == pytest.approx(10, rel=0.02)
    assert all(fit["parameters"] is None and fit["reason"] for fit in told["fits"])
    assert found.record["red_flags"] == [] and (tmp_path / "out" / "report.pdf").is_file()


def test_a_tiff_that_claims_a_million_by_a_million(tmp_path: Path) -> None:
    micrograph(tmp_path / "in" / "good.tif", DIAMETERS, pixel_size_nm=0.5)
    small = micrograph(tmp_path / "in" / "vast.tif", [20.0], size=200).read_bytes()
    header = bytearray(small)
    order = "little" if header[:2] == b"II" else "big"
    start = int.from_bytes(header[4:8], order)
    for entry in range(int.from_bytes(header[start : start + 2], order)):
        at = start + 2 + 12 * entry
        if int.from_bytes(header[at : at + 2], order) in (256, 257):  # ImageWidth, ImageLength
            header[at + 2 : at + 12] = (4).to_bytes(2, order) + (1).to_bytes(4, order) + (10**6).to_bytes(4, order)
    (tmp_path / "in" / "vast.tif").write_bytes(header)
    found = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert [each.item.name for each in found.done] == ["good.tif"]
    assert len(found.record["red_flags"]) == 1 and "vast.tif" in found.record["red_flags"][0]


def test_empty_masks_are_no_particles(tmp_path: Path) -> None:
    from tem_seg.core.types import Prediction
    from tem_seg.data.rle import encode

    disc = np.hypot(*(np.mgrid[:200, :200] - 100)) < 12
    boxes = np.array([[10, 10, 30, 30], [88, 88, 112, 112]], np.float32)
    masks = [encode(np.zeros((200, 200), bool)), encode(disc)]
    model = Bright()
    found = Prediction(boxes, np.zeros(2, np.int64), np.array([0.9, 0.8], np.float32), masks)
    model.predict = lambda images, frames=None: [found]  # type: ignore[method-assign, assignment]
    path = micrograph(tmp_path / "a.tif", DIAMETERS, pixel_size_nm=0.5)
    seen = analyse([path], tmp_path / "out", Settings(), segmenter=segmenter(model))
    write_reports(seen)
    assert seen.particles["particle"].tolist() == [2] and seen.record["red_flags"] == []

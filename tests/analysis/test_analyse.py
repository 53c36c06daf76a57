"""Whole analyses of discs of known size: figures, resuming, and what may be wrong with files and folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from analysis_scenes import Bright, micrograph, segmenter
from filelock import FileLock

from tem_seg.analysis import analyse as module
from tem_seg.analysis import one
from tem_seg.analysis.analyse import analyse
from tem_seg.analysis.inputs import Item
from tem_seg.analysis.report import write_reports
from tem_seg.analysis.settings import Settings
from tem_seg.core.errors import UserError

DIAMETERS = tuple(np.linspace(16, 28, 16))


def five(folder: Path) -> Path:
    for k in range(5):
        micrograph(folder / f"{k}.tif", [d + 0.2 * k for d in DIAMETERS], pixel_size_nm=0.5)
    return folder


def test_sizes_intervals_and_files(tmp_path: Path) -> None:
    found = analyse([five(tmp_path / "in")], tmp_path / "out", Settings(pixel_size_error=0.01), segmenter=segmenter())
    write_reports(found)
    assert (len(found.particles), found.record["red_flags"]) == (80, [])
    nm = found.distribution["nm"]["equivalent_diameter"]
    assert nm["estimates"]["d50"]["value"] == pytest.approx(0.5 * 22.4, rel=0.01)
    assert nm["budget"]["d50"]["low_nm"] < 0.5 * 22.4 < nm["budget"]["d50"]["high_nm"]
    assert nm["budget"]["d50"]["missing"] == ("edge, common", "edge, widening")
    assert nm["enough"]["d50"]["met"] is True
    out = tmp_path / "out"
    table = pd.read_csv(out / "particles.csv")
    assert set(table["pixel_size_source"].str.contains("ImageJ")) == {True} and "equivalent_diameter_px" not in table
    for name in ("distribution.json", "budget.csv", "images.csv", "report.pdf", "distribution.svg", "distribution.png",
                 "gallery.svg", "pictures/0.png", "pictures/4.svg", "micrographs/3.csv"):  # fmt: skip
        assert (out / name).stat().st_size > 0, name
    json.loads((out / "distribution.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    page = (out / "report.html").read_text()
    assert "Uncertainty budget" in page and "Enough particles?" in page and "border" in page
    assert found.record["micrographs"][0]["sha256"] in page and 'src="http' not in page


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    five(tmp_path / "in")
    model = Bright()
    seen = segmenter(model)
    first = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=seen)
    again = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=seen)
    assert model.looked == 5 and all(each.again for each in again.done)
    pd.testing.assert_frame_equal(first.particles, again.particles, check_dtype=False)
    other = analyse([tmp_path / "in"], tmp_path / "out", Settings(pixel_size_nm=1.0), segmenter=seen)
    assert model.looked == 5  # measured anew, not looked at anew
    np.testing.assert_allclose(other.particles["min_feret_nm"], 2 * first.particles["min_feret_nm"])
    assert any("two pixel sizes differ" in flag for flag in other.record["red_flags"])
    micrograph(tmp_path / "in" / "2.tif", DIAMETERS[:5], pixel_size_nm=0.5)
    changed = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=seen)
    assert model.looked == 6 and len(changed.particles) == 69


def test_pixels_are_never_called_nanometres(tmp_path: Path) -> None:
    micrograph(tmp_path / "in" / "a.tif", DIAMETERS)
    found = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert set(found.distribution) == {"weights", "px"} and not any(c.endswith("_nm") for c in found.particles
                                                                  if c != "pixel_size_nm")  # fmt: skip
    assert "pixel size unknown in 1 of 1" in found.record["notes"][-1]
    told = found.distribution["px"]["min_feret"]
    assert told["budget"] == {} and "particles of 1 image" in told["estimates"]["d50"]["reason"]
    micrograph(tmp_path / "in" / "b.tif", DIAMETERS[:5], pixel_size_nm=0.5)
    both = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert both.particles["min_feret_px"].notna().sum() == 16 and both.particles["min_feret_nm"].notna().sum() == 5


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


def test_the_same_bytes_count_once_in_the_uncertainty(tmp_path: Path) -> None:
    for k in range(4):
        micrograph(tmp_path / "in" / f"{k}.tif", DIAMETERS, pixel_size_nm=0.5)
    found = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert "the same micrograph 4 times" in found.record["red_flags"][0]
    assert found.distribution["nm"]["min_feret"]["estimates"]["d50"]["images"] == 1


def test_frames_of_a_stack(tmp_path: Path) -> None:
    micrograph(tmp_path / "stack.tif", DIAMETERS[:4], frames=3, pixel_size_nm=0.5)
    found = analyse([tmp_path / "stack.tif"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert found.images["image"].tolist() == ["stack_0001.tif", "stack_0002.tif", "stack_0003.tif"]
    assert len(found.particles) == 12 and "frames of one file" in found.record["notes"][-1]
    assert found.record["red_flags"] == []


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
    real = one.digest

    def grown(file: Path) -> str:
        found = real(file)
        with file.open("ab") as more:
            more.write(b"\0" * 64)
        return found

    monkeypatch.setattr(one, "digest", grown)
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


def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import weakref

    alive: list[weakref.ref] = []
    most = 0
    real = one.read_with_pixel_size

    def counted(*arguments, **named):  # type: ignore[no-untyped-def]
        nonlocal most
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        found = real(*arguments, **named)
        alive.append(weakref.ref(found[0].pixels))
        return found

    monkeypatch.setattr(one, "read_with_pixel_size", counted)
    for k in range(12):
        micrograph(tmp_path / "in" / f"{k}.tif", DIAMETERS[: 4 + k], size=200)
    analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert len(alive) == 12 and most <= 4


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


def test_names_of_results() -> None:
    assert module.RECORD in module.OURS and os.sep not in "".join(module.OURS)


def test_killed_in_the_middle_only_the_rest_is_done(tmp_path: Path) -> None:
    """A process that ends after two of five, without a word; what follows is as if it had never happened."""
    five(tmp_path / "in")
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from analysis_scenes import segmenter\n"
        "from tem_seg.analysis.analyse import analyse\nfrom tem_seg.analysis.settings import Settings\n"
        "end = lambda done, total, name: os._exit(9) if done == 4 else None\n"
        "analyse([Path(sys.argv[1])], Path(sys.argv[2]), Settings(), segmenter=segmenter(), progress=end)\n"
    )
    places = os.pathsep.join([str(Path(__file__).resolve().parents[1]), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "in"), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": places}, timeout=300, check=False,
    )  # fmt: skip
    assert killed.returncode == 9
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["finished"] is None
    model = Bright()
    again = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter(model))
    assert 1 <= model.looked <= 3 and sum(each.again for each in again.done) == 5 - model.looked
    whole = analyse([tmp_path / "in"], tmp_path / "whole", Settings(), segmenter=segmenter())
    assert whole.record["finished"] is not None
    for name in ("particles.csv", "images.csv", "distribution.json", "arrangement.json", "agglomerates.csv",
                 "pictures/0.png", "pictures/4.svg"):  # fmt: skip
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


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


def test_specks_are_not_measured_unless_asked_for(tmp_path: Path) -> None:
    micrograph(tmp_path / "a.tif", [3.0, 4.0, 20.0, 22.0], pixel_size_nm=0.5)
    found = analyse([tmp_path / "a.tif"], tmp_path / "out", Settings(), segmenter=segmenter())
    (effect, *_) = found.effects
    assert str(effect).startswith("min_size_px 5: 4 → 2 (2 removed)") and len(found.particles) == 2
    assert sorted(found.measured["left_out"]) == ["", "", "min_size_px", "min_size_px"]
    assert "too small: 2" in (tmp_path / "out" / "pictures" / "a.svg").read_text()
    all_of_them = analyse([tmp_path / "a.tif"], tmp_path / "out", Settings(min_size_px=0), segmenter=segmenter())
    assert len(all_of_them.particles) == 4


def test_outlines_that_stop_short_of_the_frame_are_cut_by_it(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).normal(200, 3, (200, 200))
    for left in (2, 63, 123):  # columns 2 to 22: two pixels are left
        picture[60:80, left : left + 20] = 900
    tifffile.imwrite(tmp_path / "a.tif", picture.astype(np.uint16))
    found = analyse([tmp_path / "a.tif"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert found.measured["left_out"].tolist() == ["border", "", ""]
    width, height = 200 - 20 - 5, 200 - 20 - 5
    np.testing.assert_allclose(found.particles["weight"], 200 * 200 / (width * height), rtol=0.02)


def test_a_strip_of_writing_is_no_part_of_the_field(tmp_path: Path) -> None:
    whole = tifffile.imread(micrograph(tmp_path / "whole.tif", DIAMETERS))
    strip = np.zeros((40, 200), np.uint8)
    cv2.putText(strip, "15 kV  x50k  200 nm", (6, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 250, 1)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", np.vstack([whole, 4 * strip.astype(np.uint16)]))
    found = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert found.images[["height_px", "strip_px"]].to_numpy().tolist() == [[200, 40]] and len(found.particles) == 16
    assert any("a strip of writing below 1 of 1" in note for note in found.record["notes"])
    model = Bright()
    kept = analyse([tmp_path / "in"], tmp_path / "out", Settings(strip=False), segmenter=segmenter(model))
    assert kept.images["height_px"].tolist() == [240] and model.looked == 1 and len(kept.measured) > 16


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


def test_boxes_that_turn_with_their_particles(tmp_path: Path) -> None:
    """A model without masks: lengths and widths, no areas."""
    from tem_seg.core.types import Prediction

    turned = np.array([[60, 60, 10, 30, 30], [140, 60, 10, 40, 0], [100, 150, 12, 30, -60]], np.float32)
    corners = np.array([[x - 20, y - 20, x + 20, y + 20] for x, y, *_ in turned], np.float32)
    found = Prediction(corners, np.zeros(3, np.int64), np.full(3, 0.9, np.float32), rotated_boxes=turned)
    model = Bright()
    model.predict = lambda images, frames=None: [found]  # type: ignore[method-assign, assignment]
    path = micrograph(tmp_path / "a.tif", DIAMETERS, pixel_size_nm=0.5)
    seen = analyse([path], tmp_path / "out", Settings(colours="size"), segmenter=segmenter(model))
    write_reports(seen)
    assert sorted(seen.particles["max_feret_nm"]) == [15.0, 15.0, 20.0] and set(seen.distribution["nm"]) == {
        "min_feret", "max_feret",
    }  # fmt: skip
    assert "3 count: 15 to 20 nm" in (tmp_path / "out" / "pictures" / "a.svg").read_text()

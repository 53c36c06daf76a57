"""Whole analyses of discs of known size: figures, and what is left out of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from analysis_scenes import DIAMETERS, Bright, five, micrograph, segmenter

from tem_seg.analysis import analyse as module
from tem_seg.analysis.analyse import analyse
from tem_seg.analysis.report import write_reports
from tem_seg.analysis.settings import Settings


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


def test_names_of_results() -> None:
    assert module.RECORD in module.OURS and os.sep not in "".join(module.OURS)


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

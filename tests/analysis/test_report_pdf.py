"""report.pdf: what the page says, on A4."""

from __future__ import annotations

from pathlib import Path

import pytest
from analysis_scenes import DIAMETERS, five, micrograph, segmenter
from pypdf import PdfReader

from tem_seg.analysis.analyse import Outcome, analyse
from tem_seg.analysis.report import headlines, write_reports
from tem_seg.analysis.settings import Settings

A4 = (595.28, 841.89)


def written(found: Outcome) -> tuple[PdfReader, str]:
    """The document, and all of its text in one line."""
    write_reports(found)
    document = PdfReader(found.out / "report.pdf")
    return document, " ".join(" ".join(page.extract_text() for page in document.pages).split())


def test_says_what_the_analysis_found_and_what_repeats_it(tmp_path: Path) -> None:
    found = analyse([five(tmp_path / "in")], tmp_path / "out", Settings(pixel_size_error=0.01), segmenter=segmenter())
    document, text = written(found)
    for name, value, note in headlines(found.distribution):
        assert f"{name}: {value} ({note})" in text
    assert "80 particles in 5 micrographs" in text and "Uncertainty budget of D50" in text and "Checked by" in text
    assert found.record["micrographs"][0]["sha256"] in text.replace(" ", "")
    assert [tuple(map(float, page.mediabox[2:])) for page in document.pages] == [pytest.approx(A4, abs=0.1)] * len(
        document.pages
    )
    assert sum(len(page.images) for page in document.pages) >= 3 + 1 + 5, "distributions, gallery, micrographs"


def test_names_that_look_like_markup_and_very_long_ones_are_text(tmp_path: Path) -> None:
    names = ["a&lt;b &amp; µ.tif", "x" * 200 + ".tif", "粒子.tif"]
    for place, name in enumerate(names):
        micrograph(tmp_path / "in" / name, DIAMETERS[: 3 + place], pixel_size_nm=0.5)
    text = written(analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter()))[1]
    assert names[0] in text and "x" * 100 in text.replace(" ", "")


def test_an_analysis_without_particles_says_so(tmp_path: Path) -> None:
    micrograph(tmp_path / "in" / "empty.tif", [], pixel_size_nm=0.5)
    text = written(analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter()))[1]
    assert "No particle counts, so there is no size distribution." in text


def test_red_flags_come_first(tmp_path: Path) -> None:
    for name in "ab":
        micrograph(tmp_path / "in" / f"{name}.tif", DIAMETERS, pixel_size_nm=0.5)
    text = written(analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter()))[1]
    assert 0 < text.index("Red flag: the same micrograph 2 times") < text.index("D50")

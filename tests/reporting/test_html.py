"""The report as a file: complete, inert, repeatable, and whole when parts of a run are missing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reporting_scenes import FakeRun

from tem_seg.reporting.html import build_report


def _built(run: FakeRun, folder: Path, n_overlays: int = 6) -> str:
    path = build_report(folder, n_overlays=n_overlays, **run.arguments())
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def _figures(text: str) -> dict[str, str]:
    """Label → value of the key figures."""
    return dict(re.findall(r'<dt>([^<]*)</dt><dd class="value">([^<]*)</dd>', text))


def test_key_figures_and_provenance(fake_run: FakeRun, tmp_path: Path) -> None:
    text = _built(fake_run, tmp_path)
    figures = _figures(text)
    assert figures["AP"] == "0.610"
    assert figures["F1"] == "0.667"
    assert figures["Precision"] == "0.714"
    assert figures["Particles measured"] == "8"
    # diameters 15 20 10 12 18 24 8 0.8 nm: median 13.5, mean 13.475, SD √(381.055 / 7)
    assert figures["Equivalent diameter"] == "13.5 ± 7.38 nm"
    assert "<b>5</b> correct" in text
    for fact in (
        "discs",
        "torchvision",
        "smoke",
        "2026-01-02T03:04:05",
        "abc123",
        "größe",
        "peak memory (GB)",
        "steps: 1000",
    ):
        assert fact in text
    assert "n = 8 particles" in text
    assert "red-flags" not in text


def test_the_same_files_give_the_same_bytes_and_leave_nothing_else(fake_run: FakeRun, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    first = _built(fake_run, tmp_path)
    assert _built(fake_run, tmp_path) == first
    assert sorted(set(tmp_path.iterdir()) - set(before)) == [tmp_path / "report.html"]
    assert len(first) < 1_000_000


def test_the_file_asks_for_nothing_from_outside(fake_run: FakeRun, tmp_path: Path) -> None:
    text = _built(fake_run, tmp_path)
    assert "default-src 'none'" in text
    sources = re.findall(r'\b(?:src|href|xlink:href)="([^"]*)"', text)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"@import|url\((?!#)", text)


def test_hostile_text_is_inert(fake_run: FakeRun, tmp_path: Path) -> None:
    evil = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
    fake_run.test = replace(fake_run.test, categories=[evil])
    fake_run.particles["category"] = evil
    fake_run.metrics["red_flags"] = [evil]
    fake_run.metrics["segm"]["per_class"] = {evil: {"ap": 0.5}}
    fake_run.curves[f"train/loss_{evil}"] = 1.0
    fake_run.run |= {"experiment": evil, "config": {evil: evil}, evil: [evil, {evil: evil}]}
    text = _built(fake_run, tmp_path)
    assert text.count("alert(&#34;x&#34;)") > 20
    assert 'alert("x")' not in re.sub(r"<text .*?</text>", "", text, flags=re.DOTALL)  # a quote is harmless in SVG text
    assert text.count("<script") == 1
    assert text.count("<img") == 8
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1).png" in text  # the second micrograph's name


def test_calibration_is_drawn_and_what_is_unknown_is_said(fake_run: FakeRun, tmp_path: Path) -> None:
    bins = [{"score": 0.5, "confidence": None, "precision": 0.4, "n": 12}]
    fake_run.metrics["calibration"] = {"temperature": None, "ece_before": 0.1, "bins": bins, "note": "too few <wrong>"}
    text = _built(fake_run, tmp_path)
    assert "Reliability of 12 predictions in 1 bins" in text and "Too few &lt;wrong&gt;." in text


def test_red_flags_stand_before_the_figures(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run.metrics["red_flags"] = ["the model returned as many particles as it may", "second"]
    text = _built(fake_run, tmp_path)
    assert text.index("The model returned as many") < text.index('id="key-figures"')
    assert "<strong>Red flags</strong>" in text


def test_without_annotation(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run.matches, fake_run.truth_particles, fake_run.metrics = None, None, {}
    for found in fake_run.test.annotations.values():
        found.clear()
    text = _built(fake_run, tmp_path)
    assert "not annotated" in text
    assert "Nothing was scored" in text
    assert set(_figures(text)) == {"Particles measured", "Equivalent diameter"}
    assert "annotated, n =" not in text
    assert 'id="show-fp"' not in text


@pytest.mark.parametrize("columns", [[], ["step", "val/ap"]])
def test_without_training(fake_run: FakeRun, tmp_path: Path, columns: list[str]) -> None:
    fake_run.curves = pd.DataFrame({name: [] for name in columns})
    assert "holds no training curves" in _built(fake_run, tmp_path)


def test_no_predictions(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run.results = []
    fake_run.matches = {image.id: [] for image in fake_run.test.images}
    fake_run.particles = fake_run.particles.head(0)
    fake_run.metrics = {"n_truths": 8, "segm": {"ap": 0.0}, "at_iou50": {"best": None}, "f1": float("nan")}
    text = _built(fake_run, tmp_path)
    assert "No prediction reaches score 0.5 in any of 4 micrographs." in text
    assert "No particle was measured" in text
    assert "<b>0</b> correct" in text
    assert "predicted, n = 0" in text
    fake_run.particles = pd.DataFrame()
    fake_run.truth_particles = None
    assert "no whole particle to measure" in _built(fake_run, tmp_path)


def test_without_calibration_nothing_is_called_nm(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run.test = replace(
        fake_run.test, images=[replace(image, pixel_size_nm=None) for image in fake_run.test.images]
    )
    names = {name: re.sub(r"_nm2?$", "_px", name) for name in fake_run.particles.columns if name != "pixel_size_nm"}
    assert fake_run.truth_particles is not None
    fake_run.particles = fake_run.particles.rename(columns=names).assign(pixel_size_nm=np.nan)
    fake_run.truth_particles = fake_run.truth_particles.rename(columns=names).assign(pixel_size_nm=np.nan)
    text = _built(fake_run, tmp_path)
    assert _figures(text)["Equivalent diameter"].endswith(" px")
    assert "4 of 4 micrographs carry no pixel size" in text
    assert 'class="bar"' not in text
    visible = re.sub(r"<style.*?</style>|data:[^\"]*", "", text, flags=re.DOTALL)
    assert not re.search(r"\bnm\b", visible)


def test_mixed_calibration_has_a_section_a_unit(fake_run: FakeRun, tmp_path: Path) -> None:
    extra = pd.DataFrame(
        {"equivalent_diameter_px": [30.0, 31.0], "aspect_ratio": [1.0, 1.2], "touches_border": [False, False]}
    )
    fake_run.particles = pd.concat([fake_run.particles, extra], ignore_index=True)
    text = _built(fake_run, tmp_path)
    assert "Particles measured in nm" in text
    assert "Particles measured in px" in text
    assert "30.5 ± 0.707 px" in text


def test_models_without_masks(fake_run: FakeRun, tmp_path: Path) -> None:
    for row in fake_run.results:
        del row["segmentation"]
    fake_run.metrics["segm"] = None
    fake_run.particles = pd.DataFrame()
    text = _built(fake_run, tmp_path)
    assert "hold no masks: boxes are drawn" in text
    assert "boxes, IoU 0.50:0.95" in text


def test_almost_nothing_recorded(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run.run = {}
    text = _built(fake_run, tmp_path, n_overlays=0)
    assert text.count("not recorded") == 3
    assert "<img" not in text
    fake_run.run = {"config": "plain: text"}
    assert "plain: text" in _built(fake_run, tmp_path)

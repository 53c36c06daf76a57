"""Scale bars and panels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reporting_scenes import FakeRun

from tem_seg.core.errors import UserError
from tem_seg.data.results import by_image
from tem_seg.reporting.material import Material
from tem_seg.reporting.views import scale_bar, views


def _material(run: FakeRun) -> Material:
    arguments = run.arguments()
    return Material(rows=by_image(arguments.pop("results"), [image.id for image in run.test.images]), **arguments)


@pytest.mark.parametrize(
    ("width_px", "pixel_size_nm", "label", "bar_px"),
    [(1000, 0.21, "50 nm", 50 / 0.21), (1000, 0.8, "200 nm", 250.0), (512, 40.0, "5 µm", 125.0),
     (400, 0.01, "1 nm", 100.0), (400, 0.004, "0.2 nm", 50.0), (1, 1.0, "0.2 nm", 0.2)],
)  # fmt: skip
def test_scale_bar_is_round_and_at_most_a_quarter(
    width_px: int, pixel_size_nm: float, label: str, bar_px: float
) -> None:
    bar = scale_bar(width_px, pixel_size_nm)
    assert bar is not None
    assert bar.label == label
    assert bar.width_px == pytest.approx(bar_px)
    assert bar.width_px <= 0.25 * width_px * (1 + 1e-9)


def test_no_scale_bar_without_calibration() -> None:
    assert scale_bar(1000, None) is None


def test_panels_colour_by_match(fake_run: FakeRun) -> None:
    shown = {view.name: view for view in views(_material(fake_run), 4)}
    left, right = shown["first.png"].panels
    assert [outline.kind for outline in left.outlines] == ["tp", "tp", "fp", "fn", "fn"]
    assert [outline.kind for outline in right.outlines] == ["found", "found", "fn", "fn"]
    # 0.5 nm/px; the disc of radius 15 px covers 716 px: 2 √(716 / π) / 2
    assert left.outlines[0].title == "correct · particle · d = 15.1 nm · score 0.99"
    assert left.alt == "Predictions on first.png: 2 correct, 1 false, 2 missed"
    assert all(outline.path for view in shown.values() for panel in view.panels for outline in panel.outlines)


def test_without_annotation_the_bare_micrograph_stands_beside(fake_run: FakeRun) -> None:
    fake_run.matches = None
    (view,) = views(_material(fake_run), 1)
    assert [len(panel.outlines) for panel in view.panels] == [3, 0]
    assert view.counts is None


def test_boxes_are_drawn_where_there_are_no_masks(fake_run: FakeRun) -> None:
    for row in fake_run.results:
        row["bbox"] = [10.0, 20.0, 30.0, 40.0]
        del row["segmentation"]
    fake_run.results[4]["rotated_box"] = [50.0, 60.0, 10.0, 20.0, 90.0]
    shown = {view.name: view for view in views(_material(fake_run), 4)}
    assert shown["first.png"].panels[0].outlines[0].path == "M100 200l300 0 0 400 -300 0z"
    turned = shown[fake_run.test.images[1].path.name].panels[0].outlines[0].path
    corners = np.array(turned[1:-1].replace("l", " ").split(), int).reshape(-1, 2).cumsum(axis=0) / 10
    assert sorted(corners.tolist()) == [[40, 55], [40, 65], [60, 55], [60, 65]]


def test_a_replaced_image_is_named(fake_run: FakeRun) -> None:
    fake_run.test = replace(fake_run.test, images=[replace(image, width=100) for image in fake_run.test.images])
    with pytest.raises(UserError, match=r"is 200 × 160 px, but .*dataset.json says 100 × 160: the image was replaced"):
        views(_material(fake_run), 1)

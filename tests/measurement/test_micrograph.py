"""One micrograph's particles: contours, neighbours, grey levels, and pixel sizes that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measurement_shapes import shape

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.measurement.counting import Rules
from tem_seg.measurement.micrograph import unit_of
from tem_seg.measurement.particles import particle_table

SIZE = (100, 120)


def dataset_of(pixel_size_nm: Any) -> CocoDataset:
    image = ImageRecord(1, Path("im1.png"), *SIZE, pixel_size_nm, "file")
    return CocoDataset(Path("dataset.json"), [image], ["p"], [1], {1: []})


def square(x: int, y: int, side: int, **more: Any) -> dict[str, Any]:
    return {"segmentation": rle.encode_crop(np.ones((side, side), bool), x, y, SIZE), "category_id": 1} | more


def test_contours_are_used_where_they_are_and_only_if_wanted() -> None:
    line = [[9.8, 9.9], [30.2, 9.9], [30.2, 30.1], [9.8, 30.1]]
    rows = {1: [square(10, 10, 20, contour=line), square(60, 60, 20)]}
    fine, coarse = (particle_table(dataset_of(0.5), rows, subpixel=subpixel) for subpixel in (True, False))
    assert fine["outline"].tolist() == ["contour", "mask"] and coarse["outline"].tolist() == ["mask", "mask"]
    assert fine["area_nm2"].tolist() == pytest.approx([20.4 * 20.2 / 4, 100])
    assert fine["min_feret_nm"][0] == pytest.approx(10.1) and coarse["min_feret_nm"][0] == pytest.approx(10.0)
    assert fine["perimeter_nm"][0] == pytest.approx(2 * 40.6 / 2)


def test_neighbours_in_nm() -> None:
    rows = {1: [square(10, 10, 10), square(24, 10, 10), square(34, 10, 10), square(80, 80, 10)]}
    table = particle_table(dataset_of(0.5), rows)
    assert table["nearest_edge_nm"].tolist() == pytest.approx([2.0, 0.0, 0.0, 0.5 * (np.hypot(37, 61) - 1)])
    assert table["nearest_centre_nm"].tolist()[:3] == [7.0, 5.0, 5.0]
    assert table["touches_particle"].tolist() == [False, True, True, False]
    assert table["agglomerate"].tolist() == [1, 2, 2, 3] and not table["overlaps"].any()


def test_particles_below_the_smallest_size_are_no_neighbours() -> None:
    rows = {1: [square(10, 10, 10), square(20, 10, 2), square(50, 10, 10)]}
    table = particle_table(dataset_of(None), rows, rules=Rules(min_size_px=4.0))
    assert table["touches_particle"].tolist() == [False] * 3
    assert table["nearest_edge_px"].tolist() == pytest.approx([30, np.nan, 30], nan_ok=True)
    assert table["agglomerate"].isna().tolist() == [False, True, False]


def test_grey_levels_are_asked_for() -> None:
    pixels = np.full(SIZE, 40, np.float32)
    pixels[10:30, 10:30] = 200
    asked = []
    rows = {1: [square(10, 10, 20)]}
    table = particle_table(dataset_of(1.0), rows, pixels=lambda image: asked.append(image.id) or pixels)
    assert (table["grey_mean"][0], table["grey_background"][0], asked) == (200, 40, [1])
    assert "grey_mean" not in particle_table(dataset_of(1.0), rows)
    empty = particle_table(dataset_of(1.0), {1: []}, pixels=lambda image: asked.append(image.id) or pixels)
    assert "grey_mean" in empty and asked == [1]  # a micrograph without particles is not read


def test_shape_classes_come_along() -> None:
    disc = rle.encode_crop(shape("ellipse", 30, 30, 0), 10, 10, SIZE)
    rows = {1: [{"segmentation": disc, "category_id": 1}, square(80, 60, 30), square(5, 5, 4)]}
    table = particle_table(dataset_of(1.0), rows)
    assert table["shape_class"].tolist()[:2] == ["round", "rectangular"] and table["shape_class"].isna()[2]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0.0, r"image 1 \(im1.png\) has pixel_size_nm = 0.0: expected a positive number of nm, or nothing at all"),
        (-0.5, "pixel_size_nm = -0.5: expected a positive number"),
        (float("nan"), "pixel_size_nm = nan: expected a positive number"),
        (float("inf"), "pixel_size_nm = inf: expected a positive number"),
        ("0.5", "pixel_size_nm = '0.5': expected a positive number"),
        (True, "pixel_size_nm = True: expected a positive number"),
        ((0.5, 0.6), r"pixel_size_nm = \[0.5, 0.6\]: sizes are measured on square pixels, .* resample"),
        (np.array([0.5, 0.5]), "square pixels"),
    ],
)
def test_what_is_no_pixel_size(size: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        particle_table(dataset_of(size), {1: [square(10, 10, 5)]})


def test_units() -> None:
    image = dataset_of(None).images[0]
    assert unit_of(image) == ("px", 1.0)
    assert unit_of(dataset_of(2).images[0]) == ("nm", 2.0)

"""Sizes from rotated boxes alone, against the masks of the same rods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measurement_shapes import shape

from tem_seg.core.geometry import rotated_box_of_points
from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset, ImageRecord, annotation_of
from tem_seg.measurement.boxes import measure_rotated_boxes
from tem_seg.measurement.masks import measure_masks
from tem_seg.measurement.particles import particle_table

SIZE = (100, 120)
UNKNOWN = ("area_px", "equivalent_diameter_px", "solidity", "circularity")


def measured(*box: float, size: tuple[int, int] = SIZE) -> dict[str, float]:
    return {name: values[0] for name, values in measure_rotated_boxes(np.array([box]), size).items()}


def test_a_rod_is_as_wide_and_as_long_as_its_box() -> None:
    found = measured(40, 50, 8, 30, 20)
    assert (found["min_feret_px"], found["max_feret_px"], found["aspect_ratio"]) == (8.0, 30.0, 3.75)
    assert (found["centroid_x_px"], found["centroid_y_px"], found["touches_border"]) == (40.0, 50.0, False)
    assert found["orientation_deg"] == pytest.approx(-70.0)  # at 0 the long side stands upright, at 90°
    assert np.isnan([found[name] for name in UNKNOWN]).all()


@pytest.mark.parametrize("same", [(30, 8, 110), (8, 30, 200), (8, 30, -160)])
def test_the_same_box_written_otherwise_is_the_same(same: tuple[float, float, float]) -> None:
    assert measured(40, 50, *same) == pytest.approx(measured(40, 50, 8, 30, 20), nan_ok=True)


@pytest.mark.parametrize("angle_deg", range(0, 180, 20))
def test_boxes_and_masks_agree_on_rods(angle_deg: int) -> None:
    """Within the pixels' unevenness; a rectangle's max Feret is its diagonal, a box says the side."""
    mask = rle.encode_crop(shape("rectangle", 60.0, 12.0, angle_deg), 5, 5, SIZE)
    of_mask = {name: values[0] for name, values in measure_masks([mask], SIZE).items()}
    box = annotation_of(mask, 1, 1, 1)["rotated_box"]
    found = measured(*box)
    assert found["min_feret_px"] == pytest.approx(of_mask["min_feret_px"], abs=1.5)
    assert found["max_feret_px"] == pytest.approx(60.0, abs=1.5)
    assert of_mask["max_feret_px"] == pytest.approx(np.hypot(60, 12), abs=1.5)
    apart = abs(found["orientation_deg"] - of_mask["orientation_deg"]) % 180.0
    assert min(apart, 180.0 - apart) < 1.5
    assert found["orientation_deg"] == pytest.approx((angle_deg + 90) % 180 - 90, abs=1.5) or angle_deg == 80


def test_a_square_has_no_direction_and_a_line_no_ratio() -> None:
    assert np.isnan(measured(40, 50, 9, 9, 20)["orientation_deg"])
    assert np.isnan(measured(40, 50, 0, 9, 20)["aspect_ratio"])


@pytest.mark.parametrize(("x", "y"), [(3, 50), (117, 50), (40, 3), (40, 98)])
def test_a_box_that_reaches_the_edge_touches_it(x: float, y: float) -> None:
    assert measured(x, y, 8, 8, 0)["touches_border"]
    assert not measured(60, 50, 8, 8, 0)["touches_border"]


def test_no_boxes() -> None:
    assert all(len(values) == 0 for values in measure_rotated_boxes(np.zeros((0, 5)), SIZE).values())


def test_a_table_of_boxes_has_the_columns_of_one_of_masks() -> None:
    images = [ImageRecord(1, Path("/nowhere/a.png"), *SIZE, 0.5, "file"), ImageRecord(2, Path("/nowhere/b.png"), *SIZE)]
    dataset = CocoDataset(Path("/nowhere/dataset.json"), images, ["rod"], [1], {1: [], 2: []})
    row = {"category_id": 1, "score": 0.9, "rotated_box": [40, 50, 8, 30, 20], "bbox": [20, 20, 40, 60]}
    table = particle_table(dataset, {1: [row, row | {"score": 0.1}], 2: [row]}, min_score=0.5)
    assert table["particle"].tolist() == [1, 1]
    assert table["max_feret_nm"].tolist()[0] == 15.0 and np.isnan(table["max_feret_nm"][1])
    assert table["max_feret_px"].tolist()[1] == 30.0
    assert table[["area_nm2", "equivalent_diameter_nm", "area_px", "solidity"]].isna().all(axis=None)
    mask = {1: [{"category_id": 1, "segmentation": rle.encode_crop(np.ones((4, 4), bool), 9, 9, SIZE)}], 2: [row]}
    assert list(particle_table(dataset, mask).columns) == list(table.columns)
    points = np.array([[0, 0], [10, 0], [10, 4], [0, 4]])
    assert measured(*rotated_box_of_points(points))["orientation_deg"] == 0.0

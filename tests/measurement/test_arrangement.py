"""How particles lie, from their table: density, cover, agglomerates, in each unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.measurement.arrangement import agglomerate_table, arrangement
from tem_seg.measurement.particles import covered_px, particle_table

SIZE = (200, 240)


def dataset_of(*pixel_sizes_nm: float | None) -> CocoDataset:
    images = [ImageRecord(i + 1, Path(f"im{i + 1}.png"), *SIZE, nm, "file") for i, nm in enumerate(pixel_sizes_nm)]
    return CocoDataset(Path("dataset.json"), images, ["p"], [1], {i.id: [] for i in images})


def square(x: int, y: int, side: int) -> dict[str, Any]:
    return {"segmentation": rle.encode_crop(np.ones((side, side), bool), x, y, SIZE), "category_id": 1}


def arranged(dataset: CocoDataset, rows: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    table, cover = particle_table(dataset, rows), covered_px(dataset, rows)
    return arrangement(table, dataset.images, cover, np.random.default_rng(0))


def test_density_cover_and_agglomerates_by_hand() -> None:
    # a pair side by side, a single one, one cut by the border
    rows = {1: [square(50, 50, 10), square(60, 50, 10), square(150, 100, 10), square(0, 0, 10)]}
    found = arranged(dataset_of(0.5), rows)["nm"]
    assert (found["n_images"], found["n_particles"], found["field"]) == (1, 4, 240 * 200 / 4)
    assert found["area_fraction"] == pytest.approx(400 / (240 * 200))
    weight = 240 * 200 / ((240 - 11) * (200 - 11))
    assert found["number_density"] == pytest.approx(3 * weight / (240 * 200 * 0.25))
    pairs = found["agglomerates"]
    assert (pairs["single_particles"], pairs["n"], pairs["largest_particles"]) == (2, 1, 2)
    assert pairs["share_of_particles"] == 0.5 and pairs["by_particles"] == {"2": 1}
    # of a bar of 20 × 10 pixel centres: (20² - 1 + 10² - 1) / 12
    assert pairs["median_gyration_radius"] == pytest.approx(0.5 * np.sqrt((399 + 99) / 12))
    assert found["clark_evans"] is None and found["ripley"] is None  # four particles say nothing


def test_overlaps_cover_once() -> None:
    found = arranged(dataset_of(None), {1: [square(50, 50, 10), square(55, 50, 10), square(50, 50, 10)]})["px"]
    assert found["area_fraction"] == pytest.approx(150 / (240 * 200))
    assert found["agglomerates"]["by_particles"] == {"3": 1}


@pytest.mark.parametrize(("spacing", "clustered"), [(20, False), (None, True)])
def test_grids_and_clusters(spacing: int | None, clustered: bool) -> None:
    if spacing:
        places = [(x, y) for x in range(10, 230, spacing) for y in range(10, 190, spacing)]
    else:
        corners = ((30, 30), (150, 90), (60, 140))
        places = [(x + 9 * i, y + 9 * j) for x, y in corners for i in range(4) for j in range(4)]
    found = arranged(dataset_of(0.5), {1: [square(x, y, 4) for x, y in places]})["nm"]
    assert found["ripley"]["clustered"] is clustered and found["ripley"]["p"] == 0.005
    assert (found["clark_evans"]["index"] < 1) is clustered and found["clark_evans"]["p"] < 0.01
    assert found["ripley"]["r"][-1] == pytest.approx(0.25 * 200 * 0.5) and found["ripley"]["simulations"] == 199


def test_units_are_kept_apart() -> None:
    rows = {k: [square(50, 50, 10), square(60, 50, 10)] for k in (1, 2)}
    found = arranged(dataset_of(2.0, None), rows)
    assert set(found) == {"nm", "px"} and found["nm"]["n_particles"] == found["px"]["n_particles"] == 2
    radius = {unit: found[unit]["agglomerates"]["median_gyration_radius"] for unit in ("nm", "px")}
    assert radius["nm"] == pytest.approx(2.0 * radius["px"])
    table = agglomerate_table(particle_table(dataset_of(2.0, None), rows))
    assert table["area_nm2"].tolist() == pytest.approx([800, np.nan], nan_ok=True)
    assert table["area_px"].tolist() == pytest.approx([np.nan, 200], nan_ok=True)


def test_boxes_have_agglomerates_and_no_area() -> None:
    rows = {1: [{"rotated_box": [50, 50, 6, 40, angle], "category_id": 1} for angle in (0, 60)]}
    dataset = dataset_of(1.0)
    found = arranged(dataset, rows)["nm"]
    assert found["area_fraction"] is None
    assert found["agglomerates"]["by_particles"] == {"2": 1} and found["agglomerates"]["median_gyration_radius"] is None
    assert agglomerate_table(particle_table(dataset, rows))["area_nm2"].isna().all()


@pytest.mark.parametrize("rows", [{1: []}, {1: [square(10, 10, 0)]}, {}])
def test_no_particles(rows: dict[int, list[dict[str, Any]]]) -> None:
    found = arranged(dataset_of(1.0), rows)["nm"]
    assert (found["n_particles"], found["number_density"], found["area_fraction"]) == (0, 0.0, 0.0)
    assert found["agglomerates"]["n"] == 0 and found["agglomerates"]["share_of_particles"] is None


def test_a_lone_and_a_huge_particle() -> None:
    one = arranged(dataset_of(1.0), {1: [square(10, 10, 5)]})["nm"]
    assert one["agglomerates"]["single_particles"] == 1 and one["ripley"] is None
    full = {1: [{"segmentation": rle.encode(np.ones(SIZE, bool)), "category_id": 1}]}
    found = arranged(dataset_of(1.0), full)["nm"]
    assert (found["area_fraction"], found["number_density"]) == (1.0, 0.0)

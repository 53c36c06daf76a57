"""The table of particles: columns, units, filters, and what users get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from measurement_shapes import blobs, encoded, shape

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.measurement.counting import Rules
from tem_seg.measurement.masks import measure_mask, measure_masks
from tem_seg.measurement.particles import counted, particle_table, read_table, write_table

SIZE = (100, 120)
LENGTHS = [
    "equivalent_diameter", "min_feret", "max_feret", "max_feret_orthogonal", "x_size", "y_size", "rectangle_width",
    "rectangle_length", "ellipse_major", "ellipse_minor", "perimeter",
]  # fmt: skip
AROUND = ["nearest_edge", "nearest_centre"]
NM = ["area_nm2", *(f"{name}_nm" for name in LENGTHS)]
PX = [f"{name}_px" for name in ("area", *LENGTHS)]
AROUND_NM, AROUND_PX = ([f"{name}_{unit}" for name in AROUND] for unit in ("nm", "px"))
ALL_NM, ALL_PX = [*NM, *AROUND_NM], [*PX, *AROUND_PX]
HEAD = ["image_id", "image", "particle", "category", "score"]
SHAPES = [
    "aspect_ratio", "aspect_ratio_xy", "ellipse_ratio", "solidity", "extent", "convexity", "circularity", "form_factor",
    "roundness", "orientation_deg", "centroid_x_px", "centroid_y_px", "shape_class", "outline", "touches_border",
]  # fmt: skip
TAIL = [*SHAPES, "touches_particle", "overlaps", "agglomerate", "weight", "pixel_size_nm", "pixel_size_source"]


def dataset_of(*pixel_sizes_nm: float | None) -> CocoDataset:
    images = [
        ImageRecord(i + 1, Path(f"/nowhere/im{i + 1}.png"), *SIZE, nm, None if nm is None else "file metadata")
        for i, nm in enumerate(pixel_sizes_nm)
    ]
    return CocoDataset(Path("/nowhere/dataset.json"), images, ["rod", "cube"], [7, 3], {i.id: [] for i in images})


def row(mask: np.ndarray, x0: int, y0: int, score: float | None = 0.9, category_id: int = 7) -> dict[str, Any]:
    entry: dict[str, Any] = {"segmentation": rle.encode_crop(mask, x0, y0, SIZE), "category_id": category_id}
    return entry | ({} if score is None else {"score": score})


def test_columns_and_figures_of_a_calibrated_image() -> None:
    table = particle_table(dataset_of(0.5), {1: [row(np.ones((10, 20), bool), 30, 40, category_id=3)]})
    assert list(table.columns) == [*HEAD, *NM, *AROUND_NM, *TAIL]
    found = table.iloc[0].to_dict()
    assert [found[key] for key in HEAD] == [1, "im1.png", 1, "cube", 0.9]
    assert found["area_nm2"] == 50.0
    assert found["equivalent_diameter_nm"] == pytest.approx(np.sqrt(200 / np.pi))
    assert (found["min_feret_nm"], found["max_feret_nm"]) == pytest.approx((5.0, np.sqrt(125)))
    assert (found["aspect_ratio"], found["solidity"], found["orientation_deg"]) == pytest.approx((np.sqrt(5), 1.0, 0.0))
    assert (found["centroid_x_px"], found["centroid_y_px"], found["touches_border"]) == (40.0, 45.0, False)
    assert (found["pixel_size_nm"], found["pixel_size_source"]) == (0.5, "file metadata")


def test_pixels_are_never_called_nm() -> None:
    table = particle_table(dataset_of(None), {1: [row(np.ones((10, 20), bool), 30, 40)]})
    assert list(table.columns) == [*HEAD, *PX, *AROUND_PX, *TAIL]
    assert (table["area_px"][0], table["min_feret_px"][0]) == (200.0, 10.0)
    assert table["pixel_size_nm"].isna().all()
    assert table["pixel_size_source"].isna().all()


def test_calibrated_results_add_their_confidence_and_edge() -> None:
    sure = row(np.ones((10, 20), bool), 30, 40) | {"confidence": 0.7, "edge_sd_px": 0.6}
    unsure = row(np.ones((5, 5), bool), 5, 5) | {"confidence": 0.2, "edge_sd_px": None}
    table = particle_table(dataset_of(0.5, None), {1: [sure, unsure], 2: [sure]})
    assert list(table.columns) == [
        *HEAD, "confidence", *NM, "edge_sd_nm", *AROUND_NM, *PX, "edge_sd_px", *AROUND_PX, *TAIL,
    ]  # fmt: skip
    assert table["confidence"].tolist() == [0.7, 0.2, 0.7]
    assert table["edge_sd_nm"][0] == pytest.approx(0.3) and table["edge_sd_px"][2] == 0.6
    assert table["edge_sd_nm"].isna().tolist() == [False, True, True]


def test_a_mixed_table_has_both_and_leaves_out_what_does_not_apply() -> None:
    square = np.ones((10, 10), bool)
    table = particle_table(dataset_of(2.0, None), {1: [row(square, 5, 5)], 2: [row(square, 5, 5)]})
    assert list(table.columns) == [*HEAD, *NM, *AROUND_NM, *PX, *AROUND_PX, *TAIL]
    assert table["min_feret_nm"].tolist() == pytest.approx([20.0, np.nan], nan_ok=True)
    assert table["min_feret_px"].tolist() == pytest.approx([np.nan, 10.0], nan_ok=True)


def test_twice_the_pixel_size_gives_twice_the_lengths() -> None:
    rows = {1: [row(mask, 10, 10) for mask in blobs(0, 6)]}
    one, two = particle_table(dataset_of(0.7), rows), particle_table(dataset_of(1.4), rows)
    assert (two[NM] / one[NM]).to_numpy() == pytest.approx(np.tile([4.0] + [2.0] * len(LENGTHS), (6, 1)))
    assert two[SHAPES].equals(one[SHAPES])


def test_rotation_by_a_right_angle_keeps_sizes_and_shapes() -> None:
    keys = [key for key in (*PX, *SHAPES[:9]) if key not in ("x_size_px", "y_size_px", "aspect_ratio_xy")]
    upright = measure_masks(*encoded(blobs(4), (60, 60)))
    turned = measure_masks(*encoded([np.rot90(mask) for mask in blobs(4)], (60, 60)))
    for key in keys:
        assert turned[key] == pytest.approx(upright[key], abs=1e-5), key


def test_aspect_ratio_of_a_rod_does_not_depend_on_its_angle() -> None:
    rods = [shape("rectangle", 60, 15, angle) for angle in range(0, 180, 15)]
    ratio = measure_masks(*encoded(rods))["aspect_ratio"]
    assert ratio == pytest.approx(np.hypot(60, 15) / 15, rel=0.06)


def test_shuffled_rows_give_the_same_particles() -> None:
    rng = np.random.default_rng(0)
    rows = [row(mask, 10, 10) for mask in blobs(1)]
    order = rng.permutation(len(rows))
    table = particle_table(dataset_of(1.0), {1: rows})
    shuffled = particle_table(dataset_of(1.0), {1: [rows[i] for i in order]})
    columns = [*NM, *SHAPES]
    assert shuffled[columns].equals(table[columns].iloc[order].reset_index(drop=True))


def test_filters_keep_the_place_in_the_list() -> None:
    pixel = np.ones((4, 4), bool)
    rows = {1: [row(pixel, 50, 50, 0.9), row(pixel, 0, 50, 0.8), row(pixel[:0], 9, 9, 0.7), row(pixel, 20, 20, 0.2)]}
    dataset = dataset_of(1.0)
    assert particle_table(dataset, rows)["particle"].tolist() == [1, 2, 4]  # an empty mask is no particle
    assert particle_table(dataset, rows, min_score=0.5)["particle"].tolist() == [1, 2]
    inside = counted(dataset, rows, Rules(border="exclude")).particles
    assert inside["particle"].tolist() == [1, 4]
    assert inside.index.tolist() == [0, 1]
    assert particle_table(dataset, {1: [row(pixel, 9, 9, None)]}, min_score=0.99)["score"].isna().tolist() == [True]


@pytest.mark.parametrize(("sizes", "units"), [((1.0,), ALL_NM), ((None,), ALL_PX), ((1.0, None), [*ALL_NM, *ALL_PX])])
def test_no_particles_leave_the_columns(sizes: tuple[float | None, ...], units: list[str], tmp_path: Path) -> None:
    dataset = dataset_of(*sizes)
    table = particle_table(dataset, dataset.annotations)
    assert (len(table), list(table.columns)) == (0, [*HEAD, *units, *TAIL])
    everything_excluded = {1: [row(np.ones((4, 4), bool), 0, 0)]}
    assert len(counted(dataset, everything_excluded, Rules(border="exclude")).particles) == 0
    write_table(tmp_path / "particles.csv", table)
    assert list(read_table(tmp_path / "particles.csv").columns) == list(table.columns)


def test_a_single_pixel_is_measured() -> None:
    found = measure_mask(np.ones((1, 1), bool), 7, 9, SIZE)
    assert (found["area_px"], found["min_feret_px"], found["max_feret_px"]) == pytest.approx((1.0, 1.0, np.sqrt(2)))
    assert (found["solidity"], found["circularity"]) == (1.0, 1.0)
    assert np.isnan(found["orientation_deg"])
    assert (found["centroid_x_px"], found["centroid_y_px"], found["touches_border"]) == (7.5, 9.5, False)


def test_a_particle_as_large_as_the_image() -> None:
    found = measure_mask(np.ones(SIZE, bool), 0, 0, SIZE)
    assert (found["area_px"], found["min_feret_px"], found["touches_border"]) == (12000.0, 100.0, True)


def test_an_empty_mask_is_undefined() -> None:
    found = measure_mask(np.zeros((3, 3), bool), 2, 2, SIZE)
    assert (found.pop("area_px"), found.pop("touches_border"), found.pop("outline")) == (0.0, False, "mask")
    assert found.pop("shape_class") is None
    assert np.isnan(list(found.values())).all()


def test_polygons_are_measured() -> None:
    polygon = row(np.ones((1, 1), bool), 0, 0) | {"segmentation": [[20, 20, 40, 20, 40, 30, 20, 30]]}
    assert particle_table(dataset_of(None), {1: [polygon]})["area_px"][0] == pytest.approx(200, abs=35)


def test_written_and_read_is_equal(tmp_path: Path) -> None:
    rows = {1: [row(mask, 10, 10) for mask in blobs(2)], 2: [row(blobs(3)[0], 5, 5, None)]}
    table = particle_table(dataset_of(0.123456789, None), rows)
    write_table(tmp_path / "new" / "particles.csv", table)
    again = read_table(tmp_path / "new" / "particles.csv")
    pd.testing.assert_frame_equal(again, table, check_dtype=False, check_exact=True)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["particles.csv"]
    with pytest.raises(UserError, match=r"no particle table at .*other\.csv: run the 'measure' stage first"):
        read_table(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({5: []}, "holds no image with id 5"),
        (
            {1: [{"category_id": 7, "bbox": [0, 0, 2, 2]}]},
            r"image 1 \(im1.png\) has no mask and no rotated box: .* out",
        ),
        ({1: [row(np.ones((2, 2), bool), 0, 0, category_id=1)]}, "image 1 has category 1, which .* does not know"),
        ({1: [{"category_id": 7, "segmentation": {"size": [9, 9], "counts": "a"}}]}, r"has size \[9, 9\], the image"),
    ],
)
def test_bad_rows_are_named(rows: dict[int, list[dict[str, Any]]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        particle_table(dataset_of(1.0), rows)

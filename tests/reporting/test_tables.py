"""Tables: how values are written, what is left out, what is undefined."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tem_seg.reporting import tables
from tem_seg.reporting.tables import cell


@pytest.mark.parametrize(
    ("value", "text", "key"),
    [(None, "–", None), (np.nan, "–", None), (np.float32("inf"), "–", None), (pd.NA, "–", None), (True, "yes", "yes"),
     (np.bool_(False), "no", "no"), (12345, "12,345", 12345.0), (np.int64(7), "7", 7.0), (3.14159, "3.142", 3.14159),
     ("<b>", "<b>", "<b>")],
)  # fmt: skip
def test_cell(value: object, text: str, key: object) -> None:
    assert cell(value) == tables.Cell(text, key)
    assert cell(0.5, 3).text == "0.500"


def test_a_table_refuses_a_short_row() -> None:
    with pytest.raises(ValueError, match="row 0 has 1 cells for 2 columns"):
        tables.Table("", ("a", "b"), ((cell(1),),))


def _text(table: tables.Table) -> list[list[str]]:
    return [[entry.text for entry in row] for row in table.rows]


def test_metric_tables_hold_what_metrics_json_holds() -> None:
    figures = {"ap": 0.5, "ap50": 0.75, "ap75": float("nan"), "per_class": {"rod": {"ap": 0.4, "n_truths": 1234}}}
    at = {"score": 0.9, "precision": 1.0, "recall": 0.25, "f1": 0.4, "accuracy": 0.25, "tp": 1, "fp": 0, "fn": 3}
    metrics = {
        "n_truths": 1234, "n_images": 3, "max_instances": 1000, "segm": figures, "bbox": None,
        "segm_at_score": {"score": 0.9, "ap": 0.3}, "at_iou50": {"fixed": at, "best": None},
        "false_positives_per_empty_image": {"fixed": 0.5, "best": None, "n_images": 2},
    }  # fmt: skip
    average, classes, threshold, alarms = tables.metric_tables(metrics)
    assert _text(average) == [["masks", "0.500", "0.750", *["–"] * 5], ["masks, score ≥ 0.9", "0.300", *["–"] * 6]]
    assert "n = 1,234 particles in 3 micrographs, at most 1,000 detections" in average.caption
    assert _text(classes) == [["rod", "1,234", "0.400", "–", "–"]]
    assert _text(threshold) == [["the papers' threshold", "0.900", "1.000", "0.250", "0.400", "0.250", "1", "0", "3"]]
    assert _text(alarms) == [["mean", "0.500", "–", "2"]]


@pytest.mark.parametrize("metrics", [{}, {"segm": None, "at_iou50": None, "false_positives_per_empty_image": None}])
def test_no_metrics_no_tables(metrics: dict[str, object]) -> None:
    assert tables.metric_tables(metrics) == []


def test_sizes_leave_out_the_border_and_the_unknown() -> None:
    frame = pd.DataFrame(
        {"equivalent_diameter_nm": [1.0, 2.0, np.nan, 4.0], "touches_border": [False, True, False, False]}
    )
    assert tables.values(frame, "equivalent_diameter_nm").tolist() == [1.0, 4.0]
    assert tables.on_border(frame) == 1
    assert tables.values(frame, "min_feret_nm").tolist() == []
    assert tables.values(None, "min_feret_nm").tolist() == []
    assert tables.on_border(None) == 0


def test_units_are_those_that_hold_particles() -> None:
    mixed = pd.DataFrame({"equivalent_diameter_nm": [1.0, np.nan], "equivalent_diameter_px": [np.nan, 9.0]})
    assert tables.size_units(mixed, None) == ["nm", "px"]
    assert tables.size_units(mixed.head(1)) == ["nm"]
    assert tables.size_units(pd.DataFrame()) == []
    px = tables.measured_in(mixed, "px")
    assert px is not None
    assert px.index.tolist() == [1]
    assert tables.measured_in(pd.DataFrame(), "px") is None


def equal(*values: float) -> tables.Sample:
    return tables.Sample(np.array(values), np.ones(len(values)))


def test_a_particle_of_weight_three_is_three_particles() -> None:
    frame = pd.DataFrame({"min_feret_nm": [5.0, 1.0, 8.0, 2.0], "weight": [3.0, 2.0, 1.0, 4.0]})
    weighted, repeated = tables.sample(frame, "min_feret_nm"), np.repeat([5.0, 1.0, 8.0, 2.0], [3, 2, 1, 4])
    assert weighted.weighted and not equal(1.0, 2.0).weighted and not equal().weighted
    mean, sd = weighted.mean_and_sd()
    assert mean == pytest.approx(repeated.mean())
    assert sd == pytest.approx(repeated.std() * np.sqrt(1 / (1 - 30 / 100)))  # worth 10² / 30 particles
    # sorted 1, 2, 5, 8 with weights 2, 4, 3, 1: they stand at 0.1, 0.4, 0.75 and 0.95 of all weight
    assert weighted.quantiles([0.1, 0.5, 0.95]) == pytest.approx([1.0, 2.0 + 3.0 * 0.1 / 0.35, 8.0])
    assert np.isnan(weighted.quantiles([0.05])).all()
    assert "Miles" in tables.size_table([("a", weighted)], "nm").caption
    assert "Miles" not in tables.size_table([("a", equal(1.0, 2.0))], "nm").caption


def test_size_table_by_hand() -> None:
    table = tables.size_table([("a", equal(2.0, 4.0, 4.0, 6.0)), ("one", equal(5.0)), ("none", equal())], "nm")
    # deviations 2, 0, 0, 2: variance 8 / 3
    assert _text(table)[0][:5] == ["a", "4", "4", "1.633", "4"]
    assert _text(table)[1] == ["one", "1", "5", "–", "5", "5", "5"]
    assert _text(table)[2] == ["none", "0", *["–"] * 5]


def test_particle_table_is_cut_and_says_so() -> None:
    frame = pd.DataFrame({"particle": range(300), "min_feret_nm": np.linspace(10, 90, 300), "area_px": np.nan})
    table = tables.particle_table(frame)
    assert table.columns == ("particle", "min Feret (nm)")
    assert len(table.rows) == 200
    assert table.caption.startswith("First 200 of 300 particles")
    assert {len(row[1].text.split(".")[1]) for row in table.rows} == {2}  # points stand in line
    assert tables.particle_table(frame.head(2)).caption.startswith("2 particles")


@pytest.mark.parametrize(
    ("column", "heading"),
    [("area_nm2", "area (nm²)"), ("orientation_deg", "orientation (°)"), ("solidity", "solidity"),
     ("pixel_size_source", "pixel size source"), ("centroid_x_px", "centroid x (px)"), ("px", "px")],
)  # fmt: skip
def test_heading(column: str, heading: str) -> None:
    assert tables.heading(column) == heading


def test_rotated_boxes_have_their_rows_and_lengths_stand_for_sizes() -> None:
    figures = {"ap": 0.5, "ap50": 0.8, "ap75": 0.4, "per_class": {"rod": {"ap": 0.5, "ap50": 0.8, "ap75": 0.4}}}
    metrics = {"headline": "rotated", "segm": None, "rotated": figures, "bbox": figures | {"ap": 0.6},
               "rotated_at_score": {"score": 0.9, "ap": 0.3}}  # fmt: skip
    precision, by_class = tables.metric_tables(metrics)
    assert [row[0].text for row in precision.rows] == ["rotated boxes", "boxes", "rotated boxes, score ≥ 0.9"]
    assert "on rotated boxes" in by_class.caption
    rods = pd.DataFrame({"equivalent_diameter_nm": [np.nan, np.nan], "max_feret_nm": [30.0, 40.0]})
    assert tables.size_of(rods, "nm") == "max_feret" and tables.size_units(rods) == ["nm"]
    assert tables.measured_in(rods, "nm") is not None and tables.measured_in(rods, "px") is None
    discs = pd.DataFrame({"equivalent_diameter_nm": [3.0], "max_feret_nm": [4.0]})
    assert tables.size_of(discs, "nm") == tables.size_of(pd.DataFrame(), "nm") == "equivalent_diameter"
    assert tables.size_table([("predicted", equal(30.0, 40.0))], "nm", "max_feret").caption.startswith("Length")

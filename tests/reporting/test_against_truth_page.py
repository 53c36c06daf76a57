"""Annotated and predicted sizes side by side, from measurement.json."""

from __future__ import annotations

from typing import Any

from tem_seg.reporting.against_truth import size_tables


def block(**changes: Any) -> dict[str, Any]:
    mean = {"value": 1.0, "low": -0.5, "high": 2.5, "reason": None}
    difference = {"mean": mean, "median": mean | {"value": 2.0}, "ks": 0.125, "wasserstein": 1.75}
    told = {"n": 100, "mean": 50.0, "sd": 10.0, "median": 48.0}
    made = {"annotated": told, "predicted": told | {"n": 90, "mean": 51.0, "median": 50.0}}
    return made | {"median_relative": 2 / 48, "difference": difference} | changes


def test_side_by_side() -> None:
    (table,) = size_tables({"against_truth": {"nm": {"min_feret": block()}}}, "nm")
    assert table.columns == ("", "N", "mean (nm)", "SD (nm)", "median (nm)")
    texts = [[one.text for one in row] for row in table.rows]
    assert texts[0] == ["annotated", "100", "50", "10", "48"] and texts[1][:3] == ["predicted", "90", "51"]
    assert texts[2] == ["difference", "-10", "+1 (-0.5 to +2.5)", "–", "+2 (-0.5 to +2.5)"]
    assert "the median is off by +4.2 %" in table.caption and "0.125" in table.caption and "1.75 nm" in table.caption


def test_nothing_to_compare() -> None:
    assert size_tables({}, "nm") == size_tables({"against_truth": None}, "nm") == []
    assert size_tables({"against_truth": {"px": {"min_feret": block()}}}, "nm") == []
    empty = {"n": 0, "mean": None, "sd": None, "median": None}
    one = block(predicted=empty, median_relative=None, difference=None)
    (table,) = size_tables({"against_truth": {"nm": {"min_feret": one}}}, "nm")
    assert len(table.rows) == 2 and table.caption.endswith("annotated and predicted.")


def test_no_interval_says_why() -> None:
    bare = {"value": 1.0, "low": None, "high": None, "reason": "5 images are too few"}
    told = block(difference={"mean": bare, "median": bare, "ks": 0.1, "wasserstein": 1.0})
    (table,) = size_tables({"against_truth": {"nm": {"min_feret": told}}}, "nm")
    assert table.caption.endswith("No interval: 5 images are too few.") and table.rows[2][2].text == "+1"

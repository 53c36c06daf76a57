"""The scale bar reader on real figures of EMPS (scripts/bench_scalebar.py)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from bench_scalebar import TABLES, tally, verdict

from tem_seg.data.scalebar import NotRead, ScaleBar


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_tables_follow_their_rule(data_dir: Path, split: str) -> None:
    """The first 30 images of the split, by id, that carry a bar with its label, and all others before the last."""
    with (TABLES / f"scalebar_emps_{split}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ids = sorted((data_dir / "emps" / f"{split}.csv").read_text().split())
    assert [row["image_id"] for row in rows] == ids[: len(rows)]
    assert sum(bool(row["value"]) for row in rows) == 30 and rows[-1]["value"]


def test_figures_it_was_tuned_on(data_dir: Path) -> None:
    counts, lines, _ = tally(data_dir / "emps" / "images", TABLES / "scalebar_emps_train.csv")
    assert counts["wrong"] == 0, "\n".join(lines)
    assert counts["right"] >= 18 and counts["right"] + counts["refused"] == counts["labelled"]


def test_figures_it_never_saw(data_dir: Path) -> None:
    """Read once when the reader was finished: 17 of 30 claimed, all right. Nothing may be tuned on them."""
    counts, lines, _ = tally(data_dir / "emps" / "images", TABLES / "scalebar_emps_test.csv")
    assert counts["wrong"] == 0, "\n".join(lines)
    assert counts["right"] >= 14


def test_verdicts() -> None:
    row = {"image_id": "a", "value": "0.5", "unit": "µm", "bar_px": "100"}
    bar = ScaleBar("500 nm", 500.0, 100.9, 1.0, (0, 0, 101, 4), 0.9)
    assert verdict(bar, row) == "right" and verdict(NotRead("unsure"), row) == "refused"
    assert verdict(bar, row | {"bar_px": "102"}) == "wrong" and verdict(bar, row | {"unit": "nm"}) == "wrong"
    none = row | {"value": "", "unit": "", "bar_px": ""}
    assert verdict(bar, none) == "wrong" and verdict(NotRead("unsure"), none) == "nothing to read"

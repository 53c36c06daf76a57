"""Settings that differ, the list of runs, and how far each came."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from compare_scenes import run_of

from tem_seg.reporting.compare_tables import run_table, settings_table, state
from tem_seg.reporting.compared import groups


def test_settings_and_circumstances_that_differ() -> None:
    one, other = run_of(lr=0.1, steps=3), run_of(lr=0.2, steps=3, seed=4)
    other = replace(other, run=other.run | {"git": {"commit": "0123456789abcdef", "diff": "x"}})
    table = settings_table(groups([one, other]))
    assert table is not None and table.columns == ("setting", "A", "B")
    assert {row[0].text: [cell.text for cell in row[1:]] for row in table.rows} == {
        "commit": ["–", "0123456789"], "uncommitted changes": ["no", "yes"], "lr": ["0.1", "0.2"],
    }  # fmt: skip


def test_seeds_alone_are_no_difference() -> None:
    assert settings_table(groups([run_of(seed=1), run_of(seed=2)])) is None


@pytest.mark.parametrize(
    ("record", "steps", "expected"),
    [
        ({"finished": "now"}, [9], "finished"),
        ({"finished": None, "stages": {}}, [], "unfinished: nothing is done"),
        ({"stages": {"generate": {}}}, [9, 1199], "unfinished: training, step 1,200"),
        (
            {"stages": {"generate": {}}, "config": {"train": {"steps": 3000}}},
            [9],
            "unfinished: training, step 10 of 3,000",
        ),
        ({"stages": {"generate": {}, "train": {}, "predict": {}}}, [9], "unfinished: predict is done"),
    ],
)
def test_how_far_a_run_came(record: dict[str, object], steps: list[int], expected: str) -> None:
    assert state(replace(run_of(), run=record, curves=pd.DataFrame({"step": steps}))) == expected


def test_the_list_holds_every_run() -> None:
    runs = [run_of(lr=1, seed=1), run_of(lr=1, seed=2), run_of(lr=2, metrics={"ap": 0.5, "f1": None, "n_images": 3})]
    rows = [[cell.text for cell in row] for row in run_table(groups(runs)).rows]
    assert [row[:4] for row in rows] == [
        ["A1", "gold: lr=1", "1", "finished"],
        ["A2", "gold: lr=1", "2", "finished"],
        ["B", "gold: lr=2", "0", "finished"],
    ]
    assert rows[2][4:8] == ["0.500", "–", "3", "–"]

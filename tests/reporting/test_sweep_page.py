"""summary.html: what is read in it, with nothing of a user's taken for markup."""

from __future__ import annotations

import re
from typing import Any

from tem_seg.reporting import sweep_page, sweep_plots
from tem_seg.reporting.sweep_page import Part, Row
from tem_seg.reporting.sweep_plots import Point


def row(
    number: int, state: str = "complete", figure: float | None = 0.5, error: str | None = None, **values: Any
) -> Row:
    return Row(number, Point(number, state, values, figure), 12.34, f"runs/{number}", error)


def part(*rows: Row, **more: Any) -> Part:
    known = {"name": "gold", "kind": "tpe", "metric": "ap", "wanted": len(rows), "importance": {}, "best": None}
    return Part(rows=rows, **(known | more))


def page(*parts: Part) -> str:
    return sweep_page.render("gold", "python -m tem_seg.run -m …", parts, "2026-11-21")


def test_the_page_names_the_best_the_failed_and_the_states() -> None:
    rows = (row(0, lr=1e-3), row(1, figure=0.75, lr=2e-3), row(2, "pruned", 0.1, "ended at step 400", lr=3e-3),
            row(3, "failed", None, "the disk is full", lr=4e-3))  # fmt: skip
    text = page(part(*rows, importance={"lr": 1.0}, best="python -m tem_seg.run --config-name best"))
    assert "<b>job 1</b>" in text and "<b>0.750</b>" in text and "--config-name best" in text
    assert "Job 3: the disk is full" in text and "ended at step 400" in text and "PED-ANOVA" in text
    assert text.count("<svg") == 3 and not re.search(r"(src|href)=.?https?:", text)


def test_a_sweep_without_figures_has_a_table_and_no_plots() -> None:
    text = page(part(row(0, "running", None, seed="1"), row(1, "waiting", None, seed="2")))
    assert "<svg" not in text and "waiting" in text and "Best of them" not in text
    assert "0 of 3 jobs" in page(part(wanted=3))


def test_a_user_s_texts_are_no_markup() -> None:
    text = page(part(row(0, "failed", None, "<script>alert(1)</script>", **{"<b>k</b>": "<i>v</i>"})))
    assert "<script>alert" not in text and "<i>v</i>" not in text and "<b>k</b>" not in text


def test_the_best_is_a_finished_one_and_the_first_of_equals() -> None:
    rows = (row(0, figure=0.5), row(1, figure=0.7), row(2, figure=0.7), row(3, "pruned", 0.9), row(4, figure=None))
    best = sweep_page.best_of(rows)
    assert best is not None and best.job == 1
    assert sweep_page.best_of((row(0, "failed", None),)) is None


def test_only_what_varies_is_drawn_the_most_important_first() -> None:
    points = [Point(n, "complete", {"a": n, "b": "x" if n else "y", "c": 1}, 0.1) for n in range(3)]
    assert sweep_page.varied(points, {"b": 0.9, "a": 0.1}) == ["b", "a"]


def test_numbers_of_a_grid_are_sorted_as_numbers() -> None:
    table = sweep_page.table(part(row(0, lr="0.01", kind="[rod]"), row(1, lr="0.001", kind="[cube]")))
    lr, kind = table.columns.index("lr"), table.columns.index("kind")
    assert [line[lr].key for line in table.rows] == [0.01, 0.001] and [line[lr].text for line in table.rows] == [
        "0.01",
        "0.001",
    ]
    assert table.rows[0][kind].key == "[rod]"


def test_an_axis_of_the_parallel_coordinates() -> None:
    log = sweep_plots._Scale([1e-4, 1e-3, 1e-2, None])
    assert log.log and [round(log.height(v), 6) for v in (1e-4, 1e-3, 1e-2)] == [0.0, 0.5, 1.0]
    assert [text for _, text in log.ticks()][::2] == ["0.0001", "0.001", "0.01"]
    linear = sweep_plots._Scale(["1", "3"])
    assert not linear.log and linear.height("2") == 0.5
    words = sweep_plots._Scale(["sgd", "adamw", "sgd"])
    assert words.height("sgd") == 0 and words.height("adamw") == 1 and words.ticks()[1] == (1.0, "adamw")
    assert sweep_plots._Scale([0.5, 0.5]).height(0.5) == 0.5 and log.height(None) != log.height(None)


def test_plots_survive_what_sweeps_leave() -> None:
    odd = [Point(0, "failed", {"a": "x"}, None), Point(1, "complete", {"a": "x", "b": 2}, 0.0),
           Point(2, "complete", {"a": "$y$"}, 0.0), Point(3, "pruned", {"a": "z", "b": -1}, 0.3)]  # fmt: skip
    for drawn in (sweep_plots.history(odd, "f1"), sweep_plots.parallel_coordinates(odd, ["a", "b"], "f1")):
        assert drawn.startswith("<svg") and "nan" not in drawn.lower().replace("nano", "")

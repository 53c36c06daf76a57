"""Means, spreads, differences and what is beyond chance, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from compare_scenes import DRAWN, run_of

from tem_seg.reporting.compare_figures import FigureCell, beyond_chance, figure_tables
from tem_seg.reporting.compared import groups


def ap_row(*runs: object) -> tuple[FigureCell, ...]:
    (table,) = figure_tables(groups(list(runs)))  # type: ignore[arg-type]
    rows = dict(table.rows)
    return rows["AP, masks"]


def scored(ap: float | None, **about: object) -> object:
    return run_of(metrics={"headline": "segm", "segm": {"ap": ap}}, **about)  # type: ignore[arg-type]


def test_mean_sd_and_difference() -> None:
    first, second = ap_row(
        *(scored(ap, seed=k, lr=1) for k, ap in enumerate((0.60, 0.64, 0.68))),
        *(scored(ap, seed=k, lr=2) for k, ap in enumerate((0.80, 0.82, 0.84))),
    )
    # SD with n - 1: sqrt((0.04² + 0 + 0.04²) / 2) = 0.04; sqrt(2 × 0.02² / 2) = 0.02
    assert (first.text, first.delta, first.best) == ("0.640 ± 0.040", "", False)
    assert (second.text, second.delta, second.best) == ("0.820 ± 0.020", "+0.180", True)
    # t = 0.18 / sqrt((0.0016 + 0.0004) / 3) = 6.97, df = 2.94: beyond the 3.2 of 95 %
    assert second.clear and second.note == "mean ± SD of 3 seeds: 0.800, 0.820, 0.840"


def test_one_run_a_column_is_never_beyond_chance() -> None:
    first, second = ap_row(scored(0.1, lr=1), scored(0.9, lr=2))
    assert (first.text, second.text, second.delta, second.clear) == ("0.100", "0.900", "+0.800", False)


def test_the_interval_of_welch() -> None:
    assert beyond_chance(np.array([0.60, 0.62, 0.64]), np.array([0.70, 0.72, 0.74]))  # t = 6.1, 4 df: 2.78
    assert not beyond_chance(np.array([0.60, 0.70]), np.array([0.65, 0.75]))
    assert not beyond_chance(np.array([0.5, 0.5]), np.array([0.6, 0.6])), "no spread, no claim"


def test_other_micrographs_have_no_difference_and_are_never_best() -> None:
    first, second, third = ap_row(scored(0.5, lr=1), scored(0.9, lr=2, tested="u"), scored(0.6, lr=3))
    assert (second.text, second.delta, second.best) == ("0.900", "", False)
    assert (third.delta, third.best, first.best) == ("+0.100", True, False)


def test_micrographs_drawn_anew_by_each_seed_are_compared() -> None:
    _, second = ap_row(scored(0.5, lr=1, **DRAWN), scored(0.4, lr=2, tested="u", **DRAWN))
    assert second.delta == "−0.100"


def test_undefined_is_a_dash_and_rows_of_dashes_are_left_out() -> None:
    first, second = ap_row(scored(None, lr=1), scored(0.6, lr=2))
    assert (first.text, second.text, second.delta) == ("–", "0.600", "")
    assert figure_tables(groups([run_of(lr=1), run_of(lr=2)])) == []  # type: ignore[list-item]


@pytest.mark.parametrize("kind", ["segm", "rotated", "bbox"])
def test_the_kind_is_part_of_the_name(kind: str) -> None:
    run = run_of(metrics={"headline": kind, kind: {"ap": 0.5}})
    (table,) = figure_tables(groups([run]))
    words = {"segm": "masks", "rotated": "rotated boxes", "bbox": "boxes"}
    assert [label for label, _ in table.rows] == [f"AP, {words[kind]}"]

"""Plots of a comparison: told apart, only of what there is, and what they show read back from the SVG."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
from compare_scenes import metrics, run_of

from tem_seg.reporting.compare_plots import curve_plots, precision_recall, size_plots, style
from tem_seg.reporting.compared import RunFiles, groups


def with_curves(run: RunFiles, **columns: list[float]) -> RunFiles:
    return replace(run, curves=pd.DataFrame({"step": [9, 19, 29], **columns}))


def test_twenty_four_columns_are_told_apart() -> None:
    assert len({style(place) for place in range(24)}) == 24


def test_only_what_was_logged_is_drawn() -> None:
    nan = float("nan")
    runs = [
        with_curves(run_of(lr=1), **{"val/ap": [nan, 0.1, 0.2]}),
        with_curves(run_of(lr=2), **{"train/lr": [1, 1, 1]}),
    ]
    drawn = curve_plots(groups(runs))
    assert [caption for caption, _ in drawn] == ["AP on validation micrographs."]
    assert "AP on validation micrographs over training steps of 2 runs" in drawn[0][1]
    assert curve_plots(groups([run_of(lr=1), run_of(lr=2)])) == []


def test_a_line_a_run_in_its_groups_colour() -> None:
    runs = [with_curves(run_of(lr=1, seed=k), **{"val/ap": [0.1, 0.2, 0.3]}) for k in range(3)]
    runs.append(with_curves(run_of(lr=2), **{"val/ap": [0.2, 0.3, 0.4]}))
    ((_, svg),) = curve_plots(groups(runs))
    lines = re.findall(r'<path d="M[^"]*" clip-path[^>]*stroke: (#\w+)', svg)
    assert [lines.count(style(place).colour) for place in (0, 1)] == [3, 1]


def test_precision_over_recall_of_those_that_were_scored() -> None:
    assert precision_recall(groups([run_of(lr=1), run_of(lr=2)])) is None
    svg = precision_recall(groups([run_of(lr=1, metrics=metrics(0.5)), run_of(lr=2)]))
    assert svg is not None and "of 1 runs" in svg


def _sized(run: RunFiles, sizes: list[float], unit: str = "nm") -> RunFiles:
    table = pd.DataFrame({f"equivalent_diameter_{unit}": sizes, "touches_border": False})
    return replace(run, particles=table, truth_particles=table)


def test_sizes_by_unit_with_the_annotation_where_all_saw_the_same() -> None:
    sizes = list(np.linspace(5, 9, 40))
    found = groups([_sized(run_of(lr=1), sizes), _sized(run_of(lr=2), sizes, "px")])
    same = size_plots(found, same=True)
    assert [("in nm" in svg, "in px" in svg) for _, svg in same] == [(True, False), (False, True)]
    assert all("as annotated" in caption for caption, _ in same)
    assert all(
        "as annotated" not in caption and "% of particles" in svg for caption, svg in size_plots(found, same=False)
    )
    assert size_plots(groups([run_of(lr=1), run_of(lr=2)]), same=True) == []

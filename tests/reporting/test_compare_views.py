"""Which micrographs are shown under which models."""

from __future__ import annotations

from pathlib import Path

import pytest
from compare_scenes import write_dataset, write_run

from tem_seg.reporting.compare_views import side_by_side
from tem_seg.reporting.compared import groups
from tem_seg.stages.compared import read_runs


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "discs-0123")


def test_what_most_models_saw_is_shown(tmp_path: Path, dataset: Path) -> None:
    other = write_dataset(tmp_path / "other-77", seed=1)
    places = [other, dataset, dataset]
    shown = side_by_side(groups(read_runs([write_run(tmp_path / f"{k}", p, lr=k) for k, p in enumerate(places)])), 1)
    assert shown.left_out == ["A"]
    assert [panel.title.split(" ")[0] for panel in shown.views[0].panels] == ["annotated", "B", "C"]


def test_missed_and_found_in_the_annotation(tmp_path: Path, dataset: Path) -> None:
    runs = [write_run(tmp_path / "a", dataset, lr=1, missed=1), write_run(tmp_path / "b", dataset, lr=2, missed=2)]
    shown = side_by_side(groups(read_runs(runs)), 9)
    assert len(shown.views) == 3, "no more than there are"
    annotated, first, second = next(view for view in shown.views if view.name == "1.png").panels
    # of three particles the first is missed by both, the second by the second model, the third by none
    assert [one.kind for one in annotated.outlines] == ["fn", "found", "found"]
    assert [one.title.rsplit("found by ", 1)[-1] for one in annotated.outlines] == ["0 of 2", "1 of 2", "2 of 2"]
    assert annotated.title == "annotated · 3 particles, 1 found by none"
    assert [one.kind for one in first.outlines] == ["tp", "tp", "fn"]
    assert [one.kind for one in second.outlines] == ["tp", "fn", "fn"]


def test_equal_models_show_the_first_of_the_dataset(tmp_path: Path, dataset: Path) -> None:
    runs = [write_run(tmp_path / "a", dataset, lr=1), write_run(tmp_path / "b", dataset, lr=2)]
    shown = side_by_side(groups(read_runs(runs)), 2)
    assert [(view.name, view.why) for view in shown.views] == [
        ("1.png", "no. 1 of the dataset"), ("2.png", "no. 2 of the dataset"),
    ]  # fmt: skip


def test_no_micrographs_are_asked_for_or_there(tmp_path: Path, dataset: Path) -> None:
    runs = read_runs([write_run(tmp_path / "a", dataset), write_run(tmp_path / "b", dataset, finished=False)])
    assert side_by_side(groups(runs), 0).views == []
    shown = side_by_side(groups(runs[1:]), 3)
    assert shown.views == [] and shown.left_out == ["A"]

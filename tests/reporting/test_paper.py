"""The paper's figures beside the run's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from reporting_scenes import FakeRun

from tem_seg.reporting.html import build_report
from tem_seg.reporting.paper import figure_at, held, label, paper

GOLD: dict[str, Any] = {
    "source": "A paper, Table 1",
    "stand_in": "held-out synthetic micrographs",
    "reports": [
        {"what": "mAP", "value": 0.84, "n": "19 micrographs", "of": ["segm_at_score.ap50", "segm.ap"], "against": None},
        {"what": "training mAP", "value": 0.9, "n": "3 micrographs", "of": ["splits.train.ap"], "against": "mAP"},
    ],
}
METRICS: dict[str, Any] = {
    "n_images": 4, "n_truths": 1234, "segm": {"ap": 0.61, "per_class": {"hole": {"ap": 0.2, "n_truths": 5}}},
    "segm_at_score": {"score": 0.9, "ap50": 0.6},
    "at_iou50": {"best": {"score": 0.4567, "f1": 0.7}, "fixed": {"score": 0.9, "f1": 0.5}},
    "splits": {"train": {"ap": 0.8, "n_images": 12, "n_truths": 300}},
}  # fmt: skip


def texts(said: dict[str, Any], metrics: dict[str, Any]) -> list[list[str]]:
    found = paper({"config": {"paper": said}}, metrics)
    assert found and found.table
    return [[cell.text for cell in row] for row in found.table.rows]


def test_every_figure_stands_beside_ours_with_both_ns() -> None:
    test = "4 micrographs, 1,234 particles"
    assert texts(GOLD, METRICS) == [
        ["mAP", "0.84", "19 micrographs", "AP50, masks, score ≥ 0.9", "0.600", test],
        ["mAP", "0.84", "19 micrographs", "AP, masks", "0.610", test],
        ["training mAP", "0.9", "3 micrographs", "AP, training split", "0.800", "12 micrographs, 300 particles"],
    ]


def test_what_the_run_has_not_got_is_a_dash() -> None:
    assert [row[4:] for row in texts(GOLD, {})] == [["–", "–"]] * 3
    rotated = GOLD | {"reports": [GOLD["reports"][0] | {"of": ["rotated.ap"]}]}
    assert texts(rotated, METRICS | {"rotated": None})[0][4] == "–"


@pytest.mark.parametrize("run", [{}, {"config": None}, {"config": {}}, {"config": {"paper": {"source": None}}}])
def test_no_paper_no_section(run: dict[str, Any]) -> None:
    """Also of runs from before there was such a node."""
    assert paper(run, METRICS) is None and list(held(run, METRICS)) == []


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("at_iou50.best.f1", "F1, IoU 0.5, score chosen on validation"),
        ("at_iou50.fixed.f1", "F1, IoU 0.5, score ≥ 0.9"),
        ("segm.per_class.hole.ap", "AP, masks, hole"),
        ("rotated.ap", "AP, rotated boxes"),
        ("splits.val.ap50", "AP50, validation split"),
        ("ap", "AP"),
    ],
)
def test_places_of_metrics_json_in_words(place: str, words: str) -> None:
    assert label(place, METRICS) == words


def test_a_class_has_its_own_n() -> None:
    figure = {"what": "", "value": 1, "n": "", "of": ["segm.per_class.hole.ap"]}
    (one,) = held({"config": {"paper": {"reports": [figure]}}}, METRICS)
    assert (one.ours, one.our_n, one.against) == (0.2, "4 micrographs, 5 particles", None)
    assert figure_at(METRICS, "segm.per_class.rod.ap") is None and figure_at(METRICS, "segm") is None


def section(run: FakeRun, folder: Path) -> str | None:
    text = build_report(folder, **run.arguments()).read_text(encoding="utf-8")
    found = re.search(r'<section id="paper">.*?</section>', text, re.DOTALL)
    assert ('href="#paper"' in text) == bool(found)
    return found and found[0]


def test_the_report_has_the_section(fake_run: FakeRun, tmp_path: Path) -> None:
    assert section(fake_run, tmp_path) is None
    fake_run.run["config"] = {"paper": GOLD}
    text = section(fake_run, tmp_path)
    assert text and "A paper, Table 1." in text and ">0.84<" in text and ">0.610<" in text
    assert "<strong>Stand-in:</strong> these figures are not of the paper's data, but of held-out synthetic" in text


def test_the_stand_in_is_not_said_where_there_is_none(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run.run["config"] = {"paper": GOLD | {"stand_in": None, "reports": []}}
    text = section(fake_run, tmp_path)
    assert text and "tand-in" not in text and "reports no figure that ours could be held against" in text


def test_hostile_text_is_inert(fake_run: FakeRun, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    figure = {"what": evil, "value": 0.5, "n": evil, "of": [f"segm.per_class.{evil}.ap"]}
    fake_run.run["config"] = {"paper": {"source": evil, "stand_in": evil, "reports": [figure]}}
    text = section(fake_run, tmp_path)
    assert text and "<script" not in text and text.count("&lt;script&gt;") >= 5

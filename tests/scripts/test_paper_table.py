"""scripts/paper_table.py on runs whose differences are worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import paper_table
import pytest

from tem_seg.core.errors import UserError


def run(
    folder: Path, experiment: str, ap: float | None, theirs: float | None, against: str | None = None, **more: Any
) -> Path:
    """A finished run with one figure, and training AP 0.8."""
    reports = [{"what": "mAP", "value": theirs, "n": "90 micrographs", "of": ["segm.ap"], "against": against}]
    config = {"paper": {"source": "a paper", "stand_in": "other ones", "reports": reports}, "dataset": {"name": "emps"},
              "arm": None}  # fmt: skip
    folder.mkdir()
    record = {"experiment": experiment, "profile": "laptop", "command": ["python", "-m", "tem_seg.run", "a='b|c'"],
              "finished": "now", "config": config | more}  # fmt: skip
    metrics = {"n_images": 3, "n_truths": 40, "segm": {"ap": ap}, "splits": {"train": {"ap": 0.8}}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def cells(*folders: Path) -> list[dict[str, str]]:
    lines = list(paper_table.table([paper_table.read(folder) for folder in folders]))
    assert lines[1] == "| " + " | ".join(["---"] * len(paper_table.COLUMNS)) + " |"
    found = [[cell.strip() for cell in line.replace("\\|", "¦").strip("|").split(" | ")] for line in lines[2:]]
    return [dict(zip(paper_table.COLUMNS, row, strict=True)) for row in found]


def test_an_effect_between_two_experiments(tmp_path: Path) -> None:
    without = run(tmp_path / "a", "drawn", 0.5, 0.4)
    better = [run(tmp_path / f"b{n}", "overlay", ap, 0.8, "drawn") for n, ap in enumerate((0.6, 0.64))]
    plain, with_overlay = cells(*better, without)[::-1]
    assert (
        plain["the paper (n)"] == "0.4 (90 micrographs)" and plain["ours (n)"] == "0.500 (3 micrographs, 40 particles)"
    )
    assert plain["effect in the paper"] == plain["effect here"] == "–"
    assert with_overlay["ours (n)"].startswith("0.620 ± 0.028 over 2 runs (")  # √(2 · 0.02² / 1)
    assert with_overlay["effect in the paper"] == "+0.40 against drawn"
    assert with_overlay["effect here"] == "+0.120, reproduced"
    assert with_overlay["data"] == "stand-in: other ones" and with_overlay["experiment"] == "overlay (laptop)"
    assert "¦" in with_overlay["command"], "a bar in a command is no column"


def test_an_effect_of_the_other_sign_between_arms(tmp_path: Path) -> None:
    real = run(tmp_path / "a", "utile", 0.5, 0.36, arm="real")
    mixed = run(tmp_path / "b", "utile", 0.45, 0.74, "real", arm="mixed")
    first, second = cells(real, mixed)
    assert first["experiment"] == "utile, real (laptop)" and second["effect here"] == "-0.050, not reproduced"


def test_an_arm_that_the_paper_has_not(tmp_path: Path) -> None:
    everything = run(tmp_path / "a", "utile", 0.9, None, arm="all")
    some = run(tmp_path / "b", "utile", 0.8, 0.88, "all", arm="some")
    first, second = cells(everything, some)
    assert (first["the paper (n)"], first["ours (n)"]) == ("–", "0.900 (3 micrographs, 40 particles)")
    assert (second["effect in the paper"], second["effect here"]) == ("none reported against all", "-0.100")


def test_an_effect_within_one_run(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", "rods", 0.5, 0.5)
    record = json.loads((folder / "run.json").read_text())
    record["config"]["paper"]["reports"].append(
        {"what": "training mAP", "value": 0.91, "n": "19", "of": ["splits.train.ap"], "against": "mAP"}
    )
    (folder / "run.json").write_text(json.dumps(record))
    assert cells(folder)[1]["effect here"] == "+0.300, reproduced"


def test_a_run_that_is_not_given_and_a_figure_that_is_not_there(tmp_path: Path) -> None:
    assert cells(run(tmp_path / "a", "overlay", 0.6, 0.8, "drawn"))[0]["effect here"] == "no run of drawn given"
    found = cells(run(tmp_path / "b", "drawn", None, 0.4), run(tmp_path / "c", "overlay", 0.6, 0.8, "drawn"))
    assert found[0]["ours (n)"].startswith("– (") and found[1]["effect here"] == "–"


def test_other_profiles_are_other_rows(tmp_path: Path) -> None:
    one, two = run(tmp_path / "a", "drawn", 0.5, 0.4), run(tmp_path / "b", "drawn", 0.6, 0.4)
    record = json.loads((two / "run.json").read_text())
    (two / "run.json").write_text(json.dumps(record | {"profile": "study"}))
    assert [row["experiment"] for row in cells(one, two)] == ["drawn (laptop)", "drawn (study)"]


def test_runs_of_no_paper_give_no_row(tmp_path: Path) -> None:
    assert cells(run(tmp_path / "a", "mine", 0.5, 0.4, paper={"source": None, "reports": []})) == []


def test_folders_that_are_no_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="has no run.json: give folders of evaluated runs"):
        paper_table.read(tmp_path)
    folder = run(tmp_path / "a", "drawn", 0.5, 0.4)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"finished": None}))
    with pytest.raises(SystemExit) as ended:
        paper_table.main([str(folder)])
    assert (
        ended.value.code == 2
        and "is not finished: the command that began it goes on with it" in capsys.readouterr().err
    )

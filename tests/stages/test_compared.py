"""Run directories read for a comparison: finished, unfinished, with files missing, damaged or not fitting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from compare_scenes import change, write_dataset, write_predictions, write_run

from tem_seg.core.errors import UserError
from tem_seg.data.digest import content_digest
from tem_seg.stages.compared import read_runs


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "discs-0123")


def test_a_finished_run_holds_all(tmp_path: Path, dataset: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "a", dataset, missed=1)])
    assert run.faults == () and run.material is not None
    assert run.metrics["ap"] == 0.6 and len(run.curves) == 2 and len(run.particles) == 3
    # of 3 and 2 particles one each is missed; all that is found is right
    assert [(c.tp, c.fp, c.fn) for c in map(run.material.counts, (1, 2, 3))] == [(2, 0, 1), (1, 0, 1), (0, 0, 0)]
    assert run.material.score == 0.5, "the score that the measure stage noted"


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path, dataset: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "a", dataset, finished=False)])
    assert run.material is None and run.tested is None and not run.metrics and not len(run.particles)
    assert run.faults == ("nothing was predicted yet, so it is not shown on micrographs.",)


def test_runs_on_copies_of_a_dataset_saw_the_same_micrographs(tmp_path: Path, dataset: Path) -> None:
    copy = tmp_path / "elsewhere" / "test" / "dataset.json"
    shutil.copytree(dataset.parent, copy.parent)
    other = write_dataset(tmp_path / "other", seed=1)
    folders = [write_run(tmp_path / name, path) for name, path in (("a", dataset), ("b", copy), ("c", other))]
    first, second, third = read_runs(folders)
    assert first.tested == second.tested != third.tested


def test_the_recorded_digest_counts_where_the_dataset_is_gone(tmp_path: Path, dataset: Path) -> None:
    digest = content_digest(dataset)
    folders = [write_run(tmp_path / name, dataset) for name in "ab"]
    stages = json.loads((folders[0] / "run.json").read_text())["stages"]
    change(folders[0] / "run.json", stages=stages | {"generate": {"data_sha256": {"test": digest}}})
    change(folders[0] / "datasets.json", test=str(tmp_path / "gone" / "dataset.json"))
    first, second = read_runs(folders)
    assert first.tested == second.tested
    assert first.material is None and second.material is not None
    assert "its micrographs cannot be shown: no dataset at " in first.faults[0]


def test_a_part_of_a_dataset_is_another_test(tmp_path: Path, dataset: Path) -> None:
    folders = [write_run(tmp_path / name, dataset) for name in "ab"]
    content = json.loads((folders[1] / "predictions.json").read_text())
    rows = [row for row in content["results"] if row["image_id"] == 1]
    change(folders[1] / "predictions.json", info=content["info"] | {"image_ids": [1]}, results=rows)
    whole, part = read_runs(folders)
    assert whole.tested != part.tested
    assert part.material is not None and len(part.material.test) == 1


def test_empty_predictions_are_a_case(tmp_path: Path, dataset: Path) -> None:
    folder = write_run(tmp_path / "a", dataset)
    write_predictions(folder, dataset, keep=False)
    (run,) = read_runs([folder])
    assert run.material is not None and run.material.total().tp == 0 and run.material.total().fn == 5


def test_predictions_that_do_not_fit_are_said(tmp_path: Path, dataset: Path) -> None:
    folder = write_run(tmp_path / "a", dataset)
    content = json.loads((folder / "predictions.json").read_text())
    change(folder / "predictions.json", results=[row | {"image_id": 77} for row in content["results"]])
    (run,) = read_runs([folder])
    assert run.material is None
    assert run.faults[0].startswith("its predictions cannot be shown: predictions name image 77")


def test_what_is_no_run_directory_is_refused(tmp_path: Path, dataset: Path) -> None:
    run = write_run(tmp_path / "runs" / "a", dataset)
    with pytest.raises(UserError, match="gone is no folder: give run directories"):
        read_runs([run, tmp_path / "gone"])
    with pytest.raises(UserError, match=r"holds no run.json: it is no run directory, but 1 lie in it: .*/runs/\*"):
        read_runs([run.parent])
    with pytest.raises(UserError, match="a is given twice"):
        read_runs([run, tmp_path / "runs" / "." / "a"])


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "predictions.json"])
def test_damaged_files_are_named(tmp_path: Path, dataset: Path, name: str) -> None:
    folder = write_run(tmp_path / "a", dataset)
    (folder / name).write_text('{"half')
    with pytest.raises(UserError, match=name):
        read_runs([folder])

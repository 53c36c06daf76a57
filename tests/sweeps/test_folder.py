"""A sweep's folder: one sweep at a time, found again by the same command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tem_seg.core.errors import UserError
from tem_seg.stages import sweep_job
from tem_seg.stages.sweep_job import Job
from tem_seg.sweeps import folder

LINE = ["experiment=gold_aunp", "sweep=random", "sweep.n_trials=4"]


def begun(path: Path, line: list[str] = LINE, finished: bool = False) -> Path:
    """A sweep of which one job was written."""
    with folder.claimed(path, line):
        sweep_job.write(path / "0", Job(0, "gold_aunp", 0, [], {}))
        if finished:
            folder.finish(path)
    return path


def test_two_sweeps_into_one_folder_are_refused(tmp_path: Path) -> None:
    said = "in use by another sweep: wait, or choose another hydra.sweep.dir"
    with folder.claimed(tmp_path / "s", LINE), pytest.raises(UserError, match=said):
        folder.claimed(tmp_path / "s", LINE).__enter__()


def test_another_sweep_s_folder_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "s")
    with pytest.raises(UserError, match=r"holds another sweep \(experiment=gold_aunp .*choose another"):
        folder.claimed(tmp_path / "s", ["experiment=nuclei"]).__enter__()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used .*set hydra.sweep.dir"):
        folder.claimed(tmp_path / "file" / "s", LINE).__enter__()


def test_a_folder_without_a_job_goes(tmp_path: Path) -> None:
    with folder.claimed(tmp_path / "s", LINE):
        pass
    assert not (tmp_path / "s").exists()


def test_the_same_command_finds_its_newest_unfinished_sweep(tmp_path: Path) -> None:
    begun(tmp_path / "1")
    begun(tmp_path / "2", finished=True)
    begun(tmp_path / "3", ["experiment=nuclei"])
    new = tmp_path / "4"
    assert folder.choose(new, False, LINE) == tmp_path / "1"
    assert folder.choose(new, False, [*LINE[:2], "sweep.n_trials=9"]) == tmp_path / "1", "more trials of the same"
    assert folder.choose(new, False, ["experiment=polylatex_silica"]) == new
    assert folder.choose(new, True, LINE) == new, "named by the user"
    with folder.claimed(tmp_path / "1", LINE):
        assert folder.choose(new, False, LINE) == new, "somebody is at it"

"""A job's record: what it says after every end that a job can have."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from sweep_jobs import CFG, job

from tem_seg.core.errors import UserError
from tem_seg.stages import pruning, sweep_job
from tem_seg.stages.sweep_job import Prune


def raising(error: BaseException) -> Callable[[DictConfig], float | None]:
    def run(cfg: DictConfig) -> float | None:
        raise error

    return run


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    whole = job(1, prune=Prune(4, 200), figure=0.5, validations=[[200, 0.25]], state="complete", run_dir="runs/x")
    sweep_job.write(tmp_path / "1", whole)
    assert sweep_job.read(tmp_path / "1") == whole and sweep_job.read(tmp_path / "2") is None


@pytest.mark.parametrize("content", ["[1]", '{"number": 1}', "{"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(UserError, match=r"job\.json is (no job's record|not valid JSON)"):
        sweep_job.read(tmp_path)


def test_outside_a_sweep_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep_job.kept(lambda cfg: 0.5, CFG) == 0.5
    sweep_job.note_run(tmp_path)
    sweep_job.check_validation({"train": "x"})
    pruning.check_not_ended()
    assert pruning.judge() is None and sweep_job.metric() == "ap" and not list(tmp_path.iterdir())


def test_a_job_that_ends_well(folder: Path) -> None:
    def run(cfg: DictConfig) -> float:
        sweep_job.note_run(Path("/runs/gold/1"))
        assert json.loads((folder / "job.json").read_text())["state"] == "running"
        return 0.5

    assert sweep_job.kept(run, CFG) == 0.5
    found = sweep_job.read(folder)
    assert found and (found.state, found.figure, found.run_dir, found.error) == ("complete", 0.5, "/runs/gold/1", None)
    assert found.wall_s is not None


def test_a_job_that_is_over_is_not_run_again(folder: Path) -> None:
    sweep_job.write(folder, job(3, state="complete", figure=0.25))
    assert sweep_job.kept(raising(AssertionError("it ran")), CFG) == 0.25


def test_two_processes_with_one_job_run_it_once(folder: Path) -> None:
    ran: list[int] = []

    def run(cfg: DictConfig) -> float:
        ran.append(1)
        time.sleep(0.3)
        return 0.5

    first = threading.Thread(target=sweep_job.kept, args=(run, CFG))
    first.start()
    while not ran:
        time.sleep(0.01)
    assert sweep_job.kept(run, CFG) == 0.5 and len(ran) == 1
    first.join()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("lower\n optimizer.lr"), "lower optimizer.lr"),
        (ValueError("first\nsecond"), "ValueError: first second"),
        (RuntimeError(), "RuntimeError:"),
        (KeyError("x" * 999), "KeyError: …"),
    ],
)
def test_a_failed_job_says_why_in_a_line_and_keeps_the_traceback(folder: Path, error: Exception, said: str) -> None:
    with pytest.raises(type(error)):
        sweep_job.kept(raising(error), CFG)
    found = sweep_job.read(folder)
    assert found and found.state == "failed" and found.error == said
    assert "Traceback" in (folder / "error.txt").read_text()


def test_a_user_s_error_is_found_behind_others() -> None:
    outer = RuntimeError("in a worker")
    outer.__cause__ = UserError("the disk is full")
    assert sweep_job.in_a_line(outer) == "the disk is full"


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupted_job_waits_to_be_run_again(folder: Path, end: BaseException) -> None:
    with pytest.raises(type(end)):
        sweep_job.kept(raising(end), CFG)
    found = sweep_job.read(folder)
    assert found and found.state == "waiting" and not found.over


def test_a_search_without_a_validation_figure_is_refused(folder: Path) -> None:
    sweep_job.write(folder, job(3, needs_figure=True, metric="ap50"))

    def early(cfg: DictConfig) -> float:
        sweep_job.check_validation({})  # before the dataset is made nothing is known
        sweep_job.check_validation({"train": "a", "val": "b"})
        sweep_job.check_validation({"train": "a", "test": "b"})
        raise AssertionError("it went on")

    with pytest.raises(UserError, match="goes by ap50 of the validation split, and this run has none"):
        sweep_job.kept(early, CFG)
    sweep_job.write(folder, job(3, needs_figure=True))
    with pytest.raises(UserError, match="The test split is never used for it"):
        sweep_job.kept(lambda cfg: None, CFG)


def test_trainings_before_the_job_s_own_are_no_part_of_it(folder: Path) -> None:
    def run(cfg: DictConfig) -> float:
        with sweep_job.aside():
            assert pruning.judge() is None
            sweep_job.note_run(Path("/runs/before"))
        sweep_job.note_run(Path("/runs/own"))
        return 0.5

    sweep_job.kept(run, CFG)
    found = sweep_job.read(folder)
    assert found and found.run_dir == "/runs/own"

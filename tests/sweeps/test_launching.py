"""Jobs and launchers that fail in every way: each job ends with a state, and none takes another with it."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import submitit
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from tem_seg.core.errors import UserError
from tem_seg.stages import sweep_job
from tem_seg.stages.sweep_job import Job
from tem_seg.sweeps import launching


def jobs(count: int, **more: Any) -> list[Job]:
    return [Job(number, "gold", number, [f"x={number}"], {"x": number}, **more) for number in range(count)]


class Pool(Launcher):
    """Like joblib's: a job of ``deadly`` takes down all that was launched with it, after ``begun`` of them began."""

    def __init__(self, folder: Path, deadly: Sequence[int] = (), begun: int = 2) -> None:
        self.folder, self.deadly, self.begun = folder, deadly, begun
        self.launches: list[list[int]] = []

    def setup(self, **_: Any) -> None: ...

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        numbers = [int(overrides[-1].split("=")[1].strip("'")) for overrides in job_overrides]
        self.launches.append(numbers)
        if set(numbers) & set(self.deadly):
            for number in numbers[: self.begun]:
                known = sweep_job.read(self.folder / str(number)) or jobs(number + 1)[number]
                sweep_job.write(self.folder / str(number), replace(known, state="running"))
            raise RuntimeError("a worker was killed\nwith many lines")
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=float(number)) for number in numbers]


def test_a_job_that_kills_its_process_fails_alone(tmp_path: Path) -> None:
    pool = Pool(tmp_path, deadly=[1])
    over = launching.launch(pool, jobs(5), tmp_path)
    assert [job.state for job in over] == ["complete", "failed", "complete", "complete", "complete"]
    assert over[1].error == "RuntimeError: a worker was killed with many lines"
    assert pool.launches == [[0, 1, 2, 3, 4], [0], [1], [2, 3, 4]]
    assert [job.figure for job in over] == [0.0, None, 2.0, 3.0, 4.0]
    assert sweep_job.read(tmp_path / "1") == over[1]


def test_a_launcher_that_begins_nothing_raises(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a worker was killed"):
        launching.launch(Pool(tmp_path, deadly=[0], begun=0), jobs(3), tmp_path)


@pytest.mark.parametrize(
    ("back", "needs", "state", "figure", "error"),
    [
        (JobReturn(status=JobStatus.COMPLETED, _return_value=0.5), True, "complete", 0.5, None),
        (JobReturn(status=JobStatus.COMPLETED, _return_value=None), False, "complete", None, None),
        (JobReturn(status=JobStatus.COMPLETED, _return_value=None), True, "failed", None, "no validation"),
        (JobReturn(status=JobStatus.FAILED, _return_value=UserError("too large")), False, "failed", None, "too large"),
        (JobReturn(status=JobStatus.FAILED, _return_value=KeyError("a")), False, "failed", None, "KeyError: 'a'"),
    ],
)
def test_what_a_launcher_gives_back_becomes_a_record(
    tmp_path: Path, back: JobReturn, needs: bool, state: str, figure: float | None, error: str | None
) -> None:
    (job,) = jobs(1, needs_figure=needs)
    found = launching.settled(job, back, tmp_path)
    assert (found.state, found.figure) == (state, figure)
    assert found.error == error or (error == "no validation" and "validation split" in str(found.error))


def test_the_record_that_a_job_kept_itself_counts(tmp_path: Path) -> None:
    (job,) = jobs(1)
    kept = replace(job, state="pruned", figure=0.2, error="ended at step 400")
    sweep_job.write(tmp_path / "0", kept)
    assert launching.settled(job, JobReturn(status=JobStatus.COMPLETED, _return_value=0.9), tmp_path) == kept


def test_a_full_disk_under_the_records_does_not_end_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0").write_text("a file where the job's folder should be")
    (job,) = jobs(1)
    back = JobReturn(status=JobStatus.COMPLETED, _return_value=0.5)
    assert launching.settled(job, back, tmp_path).figure == 0.5
    assert "job 0: its record cannot be written" in capsys.readouterr().err


def test_a_dead_job_of_submitit_comes_back_as_failed(tmp_path: Path) -> None:
    job: submitit.LocalJob[Any] = submitit.LocalJob(tmp_path, "999999999")
    job.paths.result_pickle.write_bytes(pickle.dumps(("error", "Traceback …\nMemoryError")))
    before = submitit.Job.results
    with launching._deaths_returned():
        (back,) = job.results()
    assert back.status == JobStatus.FAILED
    assert re.match("FailedJobError: Job .* failed .* MemoryError", sweep_job.in_a_line(back._return_value))
    assert submitit.Job.results is before

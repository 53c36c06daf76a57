"""Hands jobs to a launcher of Hydra's, whichever it is, so that one that dies takes no other with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from tem_seg.stages import sweep_job
from tem_seg.stages.sweep_job import Job
from tem_seg.sweeps import space


def overrides(job: Job, folder: Path) -> list[str]:
    """A job's command line, with the folder of its record."""
    place = [f"hydra.sweep.dir={space.quoted(str(folder))}", f"hydra.sweep.subdir={space.quoted(str(job.number))}"]
    return [*job.overrides, *place]


def launch(launcher: Launcher, jobs: Sequence[Job], folder: Path) -> list[Job]:
    """Runs the jobs and returns their records as they are afterwards, all of them over.

    Where a process dies without a word (out of memory), launchers give up all that they have in hand: jobs that had
    begun are then run one by one, so that the one to blame shows itself, and the others together again. Raises what
    the launcher raised where it began none.
    """
    over: dict[int, Job] = {}
    waiting = list(jobs)
    while waiting:
        try:
            over |= _together(launcher, waiting, folder)
        except Exception:
            state = {job.number: sweep_job.read(folder / str(job.number)) or job for job in waiting}
            if all(job.state == "waiting" for job in state.values()):
                raise
            for job in (job for job in state.values() if job.state == "running"):
                over[job.number] = _alone(launcher, job, folder)
            over |= {number: job for number, job in state.items() if job.over}
        waiting = [job for job in waiting if job.number not in over]
    return [over[job.number] for job in jobs]


def _together(launcher: Launcher, jobs: Sequence[Job], folder: Path) -> dict[int, Job]:
    with _deaths_returned():
        returned = launcher.launch([overrides(job, folder) for job in jobs], initial_job_idx=jobs[0].number)
    return {job.number: settled(job, back, folder) for job, back in zip(jobs, returned, strict=True)}


def _alone(launcher: Launcher, job: Job, folder: Path) -> Job:
    try:
        return _together(launcher, [job], folder)[job.number]
    except Exception as error:  # noqa: BLE001 - whatever a launcher raises, this job is the reason
        return _written(folder, replace(job, state="failed", error=sweep_job.in_a_line(error)))


def settled(job: Job, back: JobReturn, folder: Path) -> Job:
    """The job's own record where it kept one to the end, else made from what the launcher gave back."""
    known = sweep_job.read(folder / str(job.number)) or job
    if known.over:
        return known
    if back.status != JobStatus.COMPLETED:
        return _written(folder, replace(known, state="failed", error=sweep_job.in_a_line(back._return_value)))
    figure: Any = back.return_value
    if figure is None and job.needs_figure:
        return _written(folder, replace(known, state="failed", error=sweep_job.no_figure(job.metric)))
    return _written(folder, replace(known, state="complete", figure=None if figure is None else float(figure)))


def _written(folder: Path, job: Job) -> Job:
    try:
        sweep_job.write(folder / str(job.number), job)
    except OSError as error:
        print(f"job {job.number}: its record cannot be written ({error})", file=sys.stderr)
    return job


@contextmanager
def _deaths_returned() -> Iterator[None]:
    """submitit raises at the first job that died, while others still run; here such a job comes back as failed."""
    submitit = sys.modules.get("submitit") or _imported_if_there()
    if submitit is None:
        yield
        return
    original = submitit.Job.results

    def results(job: Any) -> list[Any]:
        try:
            return list(original(job))
        except Exception as error:  # noqa: BLE001 - scancel, a lost node, out of memory: all leave no result
            return [JobReturn(status=JobStatus.FAILED, _return_value=error)]

    submitit.Job.results = results
    try:
        yield
    finally:
        submitit.Job.results = original


def _imported_if_there() -> Any:
    try:
        import submitit
    except ImportError:
        return None
    return submitit

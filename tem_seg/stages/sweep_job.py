"""A job of a sweep and its record, ``<sweep folder>/<number>/job.json``: all that the two tell each other.

The sweep writes the record before the job starts; the job, in whatever process and on whatever node, keeps it up to
date. So a killed sweep loses nothing that a job has reached, and trainings can be compared while they run.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tem_seg.core.errors import UserError
from tem_seg.data import atomic

JOB_FILE, ERROR_FILE, LOCK_FILE = "job.json", "error.txt", ".lock"
OVER = ("complete", "pruned", "failed")
"""States of a job that is not run again; before: waiting, running."""


LONGEST_ERROR = 300


class Pruned(Exception):  # noqa: N818 - no error: the training was ended on purpose
    """A training that was ended early; its run directory stays unfinished and can be resumed by hand."""


@dataclass(frozen=True, slots=True)
class Prune:
    """When a training is ended early (config/schema.py, Sweep)."""

    after_trials: int
    from_step: int


@dataclass(frozen=True, slots=True)
class Job:
    """number: in the sweep; trial: in its experiment; figure: of the validation split; validations: [step, figure]."""

    number: int
    experiment: str
    trial: int
    overrides: list[str]
    parameters: dict[str, Any]
    metric: str = "ap"
    needs_figure: bool = False
    prune: Prune | None = None
    state: str = "waiting"
    figure: float | None = None
    validations: list[list[float]] = field(default_factory=list)
    ended_at: int | None = None
    run_dir: str | None = None
    wall_s: float | None = None
    error: str | None = None

    @property
    def over(self) -> bool:
        """Whether it is done, well or badly."""
        return self.state in OVER


def read(folder: Path) -> Job | None:
    """The record in a job's folder; None where there is none."""
    path = folder / JOB_FILE
    if not path.is_file():
        return None
    content = atomic.read_json(path)
    try:
        prune = Prune(**content["prune"]) if content.get("prune") else None
        return Job(**{**content, "prune": prune})
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no job's record ({error}): remove that folder, it is then run anew") from error


def write(folder: Path, job: Job) -> None:
    """Writes the record atomically."""
    atomic.write_json(folder / JOB_FILE, asdict(job), indent=1)


_active: list[Path | None] = []
"""The folder of the job that this process runs; None inside a training before it (stages/chain.py)."""


def kept(run: Callable[[DictConfig], float | None], cfg: DictConfig) -> float | None:
    """``run(cfg)``; in a job of a sweep its record says what becomes of it.

    A job that is over is not run again. Two processes with the same job (a sweep that was killed and started again
    while its jobs went on) run it once: the second one waits.
    """
    folder = _folder()
    if folder is None:
        return run(cfg)
    with FileLock(folder / LOCK_FILE):
        job = read(folder)
        if job is None:
            return run(cfg)
        if not job.over:
            _active.append(folder)
            _processes_as_usual()
            try:
                job = _run(run, cfg, folder, job)
            finally:
                _active.pop()
    return job.figure


def _run(run: Callable[[DictConfig], float | None], cfg: DictConfig, folder: Path, job: Job) -> Job:
    start = time.monotonic()
    write(folder, replace(job, state="running", error=None, ended_at=None))
    outcome: dict[str, Any] = {"state": "waiting"}  # interrupted or preempted: it will be run again
    try:
        figure = run(cfg)
        if job.needs_figure and figure is None:
            raise UserError(no_figure(job.metric))
        outcome = {"state": "complete", "figure": figure}
    except Pruned as end:
        outcome = {"state": "pruned", "error": str(end)}
    except Exception as error:
        outcome = {"state": "failed", "error": in_a_line(error)}
        with _left_to_the_sweep():
            atomic.write_text(folder / ERROR_FILE, "".join(traceback.format_exception(error)))
        raise
    finally:
        with _left_to_the_sweep():
            now = read(folder) or job  # the run directory and the validations came in the meantime
            job = replace(now, **outcome, wall_s=round((now.wall_s or 0) + time.monotonic() - start, 2))
            if job.state == "pruned":
                job = replace(job, figure=job.validations[-1][1] if job.validations else None)
            write(folder, job)
    return job


def _processes_as_usual() -> None:
    """A process of joblib's makes its own way of starting processes everyone's; loaders and drawing cannot go it."""
    if multiprocessing.get_start_method(allow_none=True) == "loky":
        multiprocessing.set_start_method(None, force=True)


@contextmanager
def _left_to_the_sweep() -> Iterator[None]:
    """A record that cannot be written (disk full) must not hide why; the sweep gets that error too and notes it."""
    try:
        yield
    except OSError as error:
        print(f"the sweep's record of this job cannot be written: {error}", file=sys.stderr)


def in_a_line(error: BaseException) -> str:
    """A user's error as it is; any other with its kind, shortened."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    if cause is not None:
        return " ".join(str(cause).split())
    return shorten(f"{type(error).__name__}: {error}", LONGEST_ERROR, placeholder=" …")


def no_figure(metric: str) -> str:
    """What is said where a search has nothing to go by."""
    return (
        f"the search goes by {metric} of the validation split, and this run has none: it needs a dataset with a split "
        "'val' and the stages predict and evaluate. The test split is never used for it"
    )


def _folder() -> Path | None:
    """The folder of this process's job; None for a run of its own, and for the helpers of a distributed training."""
    if not HydraConfig.initialized() or int(os.environ.get("SLURM_PROCID", "0")) > 0:
        return None
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    folder = Path(hydra.runtime.output_dir)
    return folder if (folder / JOB_FILE).is_file() else None


def active() -> tuple[Path, Job] | None:
    """The job that this process runs, and its folder; None outside of a sweep."""
    folder = _active[-1] if _active else None
    job = read(folder) if folder else None
    return (folder, job) if folder and job else None


@contextmanager
def aside() -> Iterator[None]:
    """What runs inside is no part of the job: the trainings before its own."""
    _active.append(None)
    try:
        yield
    finally:
        _active.pop()


def note_run(run_dir: Path) -> None:
    """Notes where the job's run lies."""
    if found := active():
        write(found[0], replace(found[1], run_dir=str(run_dir)))


def metric() -> str:
    """The figure that the sweep goes by; ap outside of one."""
    found = active()
    return found[1].metric if found else "ap"


def check_validation(splits: dict[str, Any]) -> None:
    """Raises UserError where a search goes by validation figures and there is no such split, before any training."""
    found = active()
    if found and found[1].needs_figure and splits and "val" not in splits:
        raise UserError(no_figure(found[1].metric))

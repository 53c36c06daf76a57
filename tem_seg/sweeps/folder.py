"""A sweep's folder: found again after a kill, locked while in use."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.stages import sweep_job
from tem_seg.stages.sweep_job import Job

SWEEP_FILE, LOCK_FILE = "sweep.json", ".lock"
MAY_CHANGE = ("sweep.n_trials=", "sweep.n_jobs=")
"""Settings with which a sweep may go on that began with others."""


def digest(arguments: list[str]) -> str:
    """What a sweep and its continuation share."""
    same = sorted(argument for argument in arguments if not argument.startswith(MAY_CHANGE))
    return hashlib.sha256(json.dumps(same).encode()).hexdigest()[:12]


def choose(given: Path, named: bool, arguments: list[str]) -> Path:
    """The folder to use. given: what the config says; named: by the user, who wants that one.

    Otherwise the newest one beside it that belongs to the same command, is not finished and not in use.
    """
    given = given.resolve()
    if not named:
        for path in sorted(given.parent.glob(f"*/{SWEEP_FILE}"), reverse=True):
            content = _read(path)
            mine = content.get("digest") == digest(arguments) and not content.get("finished")
            if mine and not _in_use(path.parent):
                return path.parent
    return given


@contextmanager
def claimed(folder: Path, arguments: list[str]) -> Iterator[None]:
    """Holds the folder. Raises UserError where another sweep works in it, or has left its jobs there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_FILE)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder} is in use by another sweep: wait, or choose another hydra.sweep.dir") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be used ({error.strerror}): set hydra.sweep.dir=<folder>") from error
    try:
        earlier = _read(folder / SWEEP_FILE)
        if earlier and earlier.get("digest") != digest(arguments):
            began = " ".join(earlier.get("arguments", []))
            raise UserError(f"{folder} holds another sweep ({began}): choose another hydra.sweep.dir")
        note(folder, earlier | {"arguments": arguments, "digest": digest(arguments), "finished": None})
        yield
    finally:
        lock.release()
        if {entry.name for entry in folder.glob("*")} == {SWEEP_FILE, LOCK_FILE}:  # no job was begun
            for name in (SWEEP_FILE, LOCK_FILE):
                (folder / name).unlink()
            folder.rmdir()


def note(folder: Path, content: dict[str, Any]) -> None:
    """Writes sweep.json."""
    atomic.write_json(folder / SWEEP_FILE, {"started": now(), **content}, indent=1)


def finish(folder: Path) -> None:
    """Notes that all jobs are over: the same command then begins a new sweep."""
    note(folder, _read(folder / SWEEP_FILE) | {"finished": now()})


def began(folder: Path) -> str | None:
    """When the sweep was first started."""
    return _read(folder / SWEEP_FILE).get("started")


def jobs(folder: Path) -> list[Job]:
    """The records of all jobs, by number."""
    found = [sweep_job.read(path.parent) for path in folder.glob(f"*/{sweep_job.JOB_FILE}")]
    return sorted((job for job in found if job), key=lambda job: job.number)


def now() -> str:
    """The time as run.json has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _read(path: Path) -> dict[str, Any]:
    return dict(atomic.read_json(path)) if path.is_file() else {}


def _in_use(folder: Path) -> bool:
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False

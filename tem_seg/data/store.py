"""Datasets are made once: a folder's name holds the hash of everything that went into it."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tem_seg.core.errors import UserError
from tem_seg.data.atomic import write_text

log = logging.getLogger(__name__)
IDENTITY = "identity.json"
FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "disk quota used up", errno.EFBIG: "file size limit reached"}

DENIED = {errno.EACCES: "permission denied", errno.EPERM: "not permitted", errno.EROFS: "read-only file system"}


def ensure(root: Path, name: str, identity: dict[str, Any], build: Callable[[Path], None]) -> Path:
    """The folder root/<name>-<hash of identity>, made by ``build`` if it is not there yet.

    Jobs that ask for the same dataset at once make it once: the others wait. ``build(partial)`` fills a hidden
    folder that is renamed when finished; after a kill it is handed the same folder again, so it must skip what is
    already whole. Raises UserError when the disk is full.
    """
    text = canonical(identity)
    final = root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if _is_complete(final, text):
        return final
    with disk_full_explained(root, final.name):
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".{final.name}.lock", final):
            if not _is_complete(final, text):
                _build(final, text, build)
    return final


def canonical(identity: dict[str, Any]) -> str:
    """JSON text that is the same for equal content: sorted keys, no spaces, tuples as lists, no NaN."""
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _build(final: Path, text: str, build: Callable[[Path], None]) -> None:
    partial = final.with_name(f".{final.name}.partial")
    partial.mkdir(exist_ok=True)
    build(partial)
    write_text(partial / IDENTITY, text + "\n")
    partial.rename(final)


def _is_complete(final: Path, text: str) -> bool:
    if not final.exists():
        return False
    stored = final / IDENTITY
    if not stored.is_file() or stored.read_text(encoding="utf-8").strip() != text:
        raise UserError(f"{final} exists, but its {IDENTITY} is missing or was changed: delete or rename that folder")
    return True


@contextmanager
def _locked(path: Path, final: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process, which is making %s", final)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def disk_full_explained(root: Path, name: str) -> Iterator[None]:
    """Turns "disk full", "quota" and "file too large" into a UserError that says which disk and what to do."""
    try:
        yield
    except OSError as error:
        ours = error.filename is not None and Path(error.filename).is_relative_to(root)  # not a source that is read
        if ours and error.errno in DENIED:
            raise UserError(
                f"cannot write the dataset {name} below {root} ({DENIED[error.errno]}: {error.filename}): set "
                "paths.outputs=<folder> to one that you may write to"
            ) from error
        if error.errno not in FULL:
            raise
        disk = mount_point(root)
        usage = shutil.disk_usage(disk)
        raise UserError(
            f"{FULL[error.errno]} while making the dataset {name} in {root} (disk mounted at {disk}: "
            f"{usage.free / 1e6:.1f} MB free of {usage.total / 1e9:.2f} GB). Free some space or choose a folder on "
            "another disk, then give the same command again: what is finished there is kept and used."
        ) from error


def mount_point(path: Path) -> Path:
    """Where the file system that holds ``path`` (which need not exist yet) is mounted."""
    path = path.resolve()
    while not path.exists() or not path.is_mount():
        path = path.parent
    return path

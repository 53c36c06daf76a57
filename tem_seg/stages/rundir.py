"""Run directories: made exclusively, locked while in use, found again after a kill."""

from __future__ import annotations

import errno
import hashlib
import json
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.data.atomic import write_json
from tem_seg.data.store import FULL, mount_point
from tem_seg.stages import slurm

RUN_FILE = "run.json"
LOCK_FILE = ".lock"


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The composed config as plain values, interpolations resolved."""
    content = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


SAID = {
    "": ("run_dir", "paper", "arm", "arms", "sweep"), "dataset": ("where", "stand_in", "labels_note"),
    "trainer": ("nodes",),
}  # fmt: skip
"""Keys that change nothing that a run does, by the part of the config that holds them; what arms set is elsewhere."""


def without_texts(config: dict[str, Any]) -> dict[str, Any]:
    """The config without what only says something (SAID)."""
    found = {key: value for key, value in config.items() if key not in SAID[""]}
    for part, keys in SAID.items():
        if isinstance(found.get(part), dict):
            found[part] = {key: value for key, value in found[part].items() if key not in keys}
    return found


def digest(config: dict[str, Any]) -> str:
    """What two runs of the same config share; where the run lies, and texts, are no part of it."""
    same = without_texts(config)
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:12]


def read(run_dir: Path) -> dict[str, Any]:
    """run.json, or {} where there is none."""
    path = run_dir / RUN_FILE
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it, or choose another run_dir") from error


def write(run_dir: Path, run: dict[str, Any]) -> None:
    """Writes run.json atomically."""
    write_json(run_dir / RUN_FILE, run, indent=1)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run directory that is ours until the lock is released. resumed: an unfinished run of the same config."""

    path: Path
    lock: FileLock
    resumed: bool

    def release(self) -> None:
        """Unlocks the directory; where nothing was begun in it, it goes."""
        self.lock.release()
        if self.path.is_dir() and [entry.name for entry in self.path.iterdir()] == [LOCK_FILE]:
            (self.path / LOCK_FILE).unlink(missing_ok=True)
            self.path.rmdir()


def removed(path: Path) -> bool:
    """Whether a claimed directory was deleted while in use, even where writers have made it anew since."""
    return not (path / LOCK_FILE).exists()


def explained(error: Exception, path: Path) -> Exception:
    """A UserError for what befell a claimed run directory: deleted, or its disk full. Any other error as it is."""
    if removed(path):
        return UserError(f"{path} was deleted while its run was at work: start the run again, it begins anew")
    full = FULL.get(error.errno or 0) if isinstance(error, OSError) else None
    disk = mount_point(path)
    free_mb = shutil.disk_usage(disk).free / 1e6
    if full is None and isinstance(error, RuntimeError) and free_mb < 1:  # torch writes checkpoints in C++
        full = FULL[errno.ENOSPC]
    if full is None:
        return error
    return UserError(
        f"{full} while writing in {path} (disk mounted at {disk}: {free_mb:.1f} MB free). Free some space, or choose "
        "another disk with paths.outputs=<folder>; the same command goes on from the last checkpoint"
    )


def claim(cfg: DictConfig) -> Claim:
    """The run's directory: ``run_dir``, or the newest unfinished and unlocked one of the same config, or a new one."""
    config = plain(cfg)
    if cfg.run_dir is not None:
        return _claim_given(Path(cfg.run_dir), digest(config))
    root = Path(cfg.paths.outputs).resolve() / "runs" / cfg.name
    for candidate in sorted(root.glob("*/"), reverse=True):
        if not _unfinished(candidate, digest(config)) or _awaited(candidate):
            continue
        lock = _try_lock(candidate)
        if lock is not None:
            if _unfinished(candidate, digest(config)):  # it may have finished between the look and the lock
                _sweep(candidate)
                return Claim(candidate, lock, resumed=True)
            lock.release()
    return _claim_new(root)


def _sweep(path: Path) -> None:
    """Removes the half-written files that a kill left beside their places; the lock says that nobody writes them."""
    for leftover in path.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _unfinished(path: Path, config_digest: str) -> bool:
    run = read(path)
    return run.get("config_digest") == config_digest and not run.get("finished")


def _awaited(path: Path) -> bool:
    """Whether another job of SLURM, of the same config, will come back to it: one that was preempted waits unlocked."""
    owner = read(path).get("slurm_job")
    return owner not in (None, slurm.job()) and slurm.is_queued(str(owner))


def _claim_given(path: Path, config_digest: str) -> Claim:
    path = path.resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _try_lock(path)
    except OSError as error:
        raise UserError(f"run_dir={path} cannot be used ({error.strerror}): give a folder to write in") from error
    if lock is None:
        raise UserError(f"{path} is in use by another run: wait for it, or choose another run_dir")
    return Claim(path, lock, resumed=_unfinished(path, config_digest))


def _claim_new(root: Path) -> Claim:
    """Exclusive: two runs started in the same second get two directories."""
    while True:
        path = root / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot write below {root} ({error.strerror}): set paths.outputs=<folder>") from error
        lock = _try_lock(path)
        if lock is not None:
            return Claim(path, lock, resumed=False)


def _try_lock(path: Path) -> FileLock | None:
    lock = FileLock(path / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock

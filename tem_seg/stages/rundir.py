"""Run directories: made exclusively, locked while in use, found again after a kill."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.data.atomic import write_json

RUN_FILE = "run.json"
LOCK_FILE = ".lock"


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The composed config as plain values, interpolations resolved."""
    content = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def digest(config: dict[str, Any]) -> str:
    """What two runs of the same config share; where the run lies is no part of it."""
    same = {key: value for key, value in config.items() if key != "run_dir"}
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
        if [entry.name for entry in self.path.iterdir()] == [LOCK_FILE]:
            (self.path / LOCK_FILE).unlink(missing_ok=True)
            self.path.rmdir()


def claim(cfg: DictConfig) -> Claim:
    """The run's directory: ``run_dir``, or the newest unfinished and unlocked one of the same config, or a new one."""
    config = plain(cfg)
    if cfg.run_dir is not None:
        return _claim_given(Path(cfg.run_dir), digest(config))
    root = Path(cfg.paths.outputs).resolve() / "runs" / cfg.name
    for candidate in sorted(root.glob("*/"), reverse=True):
        if not _unfinished(candidate, digest(config)):
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

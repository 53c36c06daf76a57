"""Reads back what W&B left on disk (run-*.wandb), so that a test can say what was logged.

The file is a LevelDB log of protobuf records: blocks of 32 KiB, each record in one or several parts with a checksum.
Its layout is W&B's own affair: wandb is pinned exactly, and only this module knows it.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto import wandb_internal_pb2
from wandb.sdk.lib import wbauth

BLOCK_BYTES = 32 * 1024
FILE_HEADER = struct.Struct("<4sHB")  # ":W&B", magic number, version
PART_HEADER = struct.Struct("<IHB")  # checksum, length, kind
WHOLE, LAST = 1, 4  # kinds of part after which a record is complete


@dataclass
class OfflineRun:
    """What a run logged. rows: one dict a call of ``log``; artifacts: by type; exit_code None: the run was killed."""

    folder: Path
    id: str = ""
    project: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    def series(self, name: str) -> dict[int, Any]:
        """Training step → value."""
        return {row["trainer/global_step"]: row[name] for row in self.rows if name in row}


def read_only_run(run_dir: Path) -> OfflineRun:
    """The one W&B run below run_dir/wandb."""
    (run,) = read_all_runs(run_dir)
    return run


def read_all_runs(run_dir: Path) -> list[OfflineRun]:
    """The W&B runs below run_dir/wandb, and the parts of one that was resumed, in the order they were started."""
    return [_read_to_end(path) for path in sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))]


def _read_to_end(path: Path) -> OfflineRun:
    """Once its last record is there: W&B's process may write after finish()."""
    deadline = time.monotonic() + 60
    while (run := _read(path)).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return run


def _read(path: Path) -> OfflineRun:
    run = OfflineRun(path.parent)
    for record in _records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.project, run.group = record.run.run_id, record.run.project, record.run.run_group
            run.tags = list(record.run.tags)
            run.config |= _values(record.run.config.update)
        elif kind == "config":
            run.config |= _values(record.config.update)
        elif kind == "history":
            run.rows.append(_values(record.history.item))
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            run.artifacts[record.request.log_artifact.artifact.type] = record.request.log_artifact.artifact
        elif kind == "artifact":
            run.artifacts[record.artifact.type] = record.artifact
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def isolate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no home, nothing of W&B outside ``folder``, and nothing that an earlier test left in this process."""
    wbauth.unauthenticate_session(update_settings=False)
    wandb.teardown()
    for name in ("API_KEY", "BASE_URL", "IDENTITY_TOKEN_FILE", "MODE", "PROJECT", "ENTITY", "RUN_ID", "RESUME"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    for name in ("CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(folder / name.lower()))


def _records(data: bytes) -> Iterator[Any]:
    identity, magic, _ = FILE_HEADER.unpack_from(data)
    assert (identity, magic) == (b":W&B", 0xBEE1), "not a file of W&B"
    place, parts = FILE_HEADER.size, b""
    while place + PART_HEADER.size <= len(data):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        checksum, length, kind = PART_HEADER.unpack_from(data, place)
        if left < PART_HEADER.size or kind == 0:  # padding up to the next block
            place += left
            continue
        if place + PART_HEADER.size + length > len(data):  # not yet written to the end
            return
        part = data[place + PART_HEADER.size : place + PART_HEADER.size + length]
        assert zlib.crc32(bytes([kind]) + part) == checksum, f"wrong checksum at byte {place}"
        place, parts = place + PART_HEADER.size + length, parts + part
        if kind in (WHOLE, LAST):
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}

"""Files appear whole or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError


@contextmanager
def replacing(path: Path, synced: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success it takes its place, on failure it is removed.

    synced: the content is on the disk before the name is. Without it a file outlives a killed process but maybe
    not a power cut: for thousands of small files, whose writer calls os.sync once at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{_short(path.name)}.{os.getpid()}.tmp")
    try:
        yield temporary
        if synced:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _short(name: str) -> str:
    """The name itself, or a digest of one so long (255 bytes at most) that nothing can be put before and after it."""
    encoded = os.fsencode(name)
    return name if len(encoded) < 230 else hashlib.sha256(encoded).hexdigest()


def write_text(path: Path, text: str, synced: bool = True) -> None:
    """Writes UTF-8 text atomically."""
    with replacing(path, synced) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, indent: int | None = None, synced: bool = True) -> None:
    """Writes JSON atomically. NaN becomes null (JSON has none); numpy numbers and arrays become plain ones."""
    try:
        text = json.dumps(content, indent=indent, allow_nan=False)  # nearly everything is plain already
    except (TypeError, ValueError):
        text = json.dumps(_plain(content), indent=indent, allow_nan=False)
    write_text(path, text + "\n", synced)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def read_json(path: Path) -> Any:
    """Reads JSON. Raises UserError for a file that is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from error

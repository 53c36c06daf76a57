"""Names of files: taken from foreign files they never lead elsewhere, and made for several files they never collide."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tem_seg.data.formats.model import Annotated

LONGEST = 180
"""Bytes of a name without ending: file systems take 255, and endings and temporary files need some."""
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*/\\]')


def base_name(text: Any) -> str:
    """The last part of a path as any system writes it ("../raw/a.tif" → "a.tif"), without what names cannot hold."""
    last = re.split(r"[/\\]", str(text).strip())[-1]
    cleaned = FORBIDDEN.sub("_", last).strip(" ")
    return "" if cleaned.strip(".") == "" else cleaned


def stems(origins: Sequence[PurePath]) -> list[str]:
    """A file name without ending for each of these files, no two alike even where case is ignored.

    A file keeps its own name; files of the same name get as many of their folders before it as tell them apart, and a
    number where those do not. Names that are too long are cut and get a digest.
    """
    found = [_stem(path, 0) for path in origins]
    for depth in range(1, 4):
        counts = Counter(map(_key, found))
        found = [_stem(path, depth) if counts[_key(name)] > 1 else name
                 for path, name in zip(origins, found, strict=True)]  # fmt: skip
    return _numbered([_short(name) for name in found])


def _stem(path: PurePath, depth: int) -> str:
    folders = [base_name(part) for part in path.parts[:-1][-depth:]] if depth else []
    return "_".join([*filter(None, folders), base_name(path.stem) or "unnamed"])


def _numbered(names: list[str]) -> list[str]:
    taken: set[str] = set()
    result = []
    for name in names:
        new, number = name, 1
        while _key(new) in taken:
            number += 1
            new = f"{name}_{number}"
        taken.add(_key(new))
        result.append(new)
    return result


def _key(name: str) -> str:
    """What file systems that ignore case, or compose accents, take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _short(name: str) -> str:
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= LONGEST:
        return name
    kept = encoded[: LONGEST - 13].decode("utf-8", "ignore")
    return f"{kept}_{hashlib.sha256(encoded).hexdigest()[:12]}"


def unique_files(found: Sequence[tuple[Annotated, Path | None]]) -> list[str]:
    """A file name for each micrograph, given with its file where it is known; a frame's number is part of it."""
    origins = []
    for one, micrograph in found:
        name = base_name(one.name if micrograph is None else micrograph.name) or "unnamed"
        folder = (micrograph or one.path or Path(name)).parent
        frame = "" if one.frame is None else f"_{one.frame + 1:04d}"
        origins.append(folder / f"{PurePath(name).stem}{frame}{PurePath(name).suffix}")
    return [f"{stem}{path.suffix}" for stem, path in zip(stems(origins), origins, strict=True)]

"""Files with outlines from what a user names: files, and folders with whatever else lies in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tem_seg.core.errors import UserError
from tem_seg.data.formats.model import Source
from tem_seg.data.formats.table import format_of
from tem_seg.data.images import SUFFIXES


@dataclass(slots=True)
class Gathered:
    """files: with outlines. pictures: micrographs that lie beside them. skipped: a sentence for each foreign file."""

    files: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def gather(paths: Sequence[Path]) -> Gathered:
    """Files as they are named, and of folders, with all that lies in them, what holds outlines, in order of names.

    Pictures in a folder are masks; where files with outlines (JSON, ROIs, …) lie beside them they are the micrographs.
    Raises UserError where there is nothing to read.
    """
    found = Gathered()
    for path in paths:
        if not _is_folder(path):
            found.files.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            _sort_in(Path(folder), sorted(name for name in names if not name.startswith(".")), found)
    found.files = list(dict.fromkeys(found.files))
    if not found.files:
        raise UserError(
            f"no outlines in {', '.join(str(path)[:200] for path in paths)} ({len(found.skipped)} other files): "
            "expected label pictures, COCO, LabelMe, VIA, QuPath or ImageJ files"
        )
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # names too long to be one
        return False


def _sort_in(folder: Path, names: Iterable[str], found: Gathered) -> None:
    pictures, files = [], []
    for name in names:
        try:
            kind = format_of(Source(folder / name))
        except UserError as error:
            found.skipped.append(f"skipped {error}")
            continue
        if kind == "labels":
            pictures.append(folder / name)
        elif kind is not None:
            files.append(folder / name)
        elif Path(name).suffix.lower() in SUFFIXES:
            found.pictures.append(folder / name)
        else:
            found.skipped.append(f"skipped {folder / name}: it holds no outlines")
    if files:
        found.pictures += pictures
    found.files += files or pictures

"""Micrographs from what a user names: files, folders, globs, and each frame of files that hold several."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tem_seg.core.errors import UserError
from tem_seg.data.formats.names import base_name, stems
from tem_seg.data.images import SUFFIXES, count_frames


@dataclass(frozen=True, slots=True)
class Item:
    """One micrograph. name: its file name, no other's in this analysis; frame: from 0, None of files with one."""

    path: Path
    frame: int | None
    name: str

    @property
    def stem(self) -> str:
        """What its files in the result are called, without ending."""
        return Path(self.name).stem if Path(self.name).suffix else self.name


@dataclass(slots=True)
class Inputs:
    """items: micrographs, in order. notes: a sentence for each foreign file. flags: for each that cannot be read."""

    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


def find(paths: Sequence[Path], *, outside: Path | None = None) -> Inputs:
    """Files as named, of folders all micrographs in them, of patterns ("run*/*.dm4") what matches, each once.

    outside: the folder of results, in which nothing is looked for. Foreign files of folders are skipped with a note;
    micrographs that cannot be opened get a flag. Raises UserError where nothing is left.
    """
    found = Inputs()
    files: dict[Path, Path] = {}
    for path in paths:
        for one in _files(path, outside, found):
            files.setdefault(Path(os.path.abspath(one)), one)
    places = [place for file in files.values() for place in _frames(file, found)]
    if not places:
        said = f": {found.flags[0]}" if found.flags else f" ({len(found.notes)} other files)"
        raise UserError(f"no micrograph in {', '.join(str(path)[:200] for path in paths)}{said}")
    found.items = _named(places)
    return found


def _files(path: Path, outside: Path | None, found: Inputs) -> Iterator[Path]:
    try:
        folder, there = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        raise UserError(f"{str(path)[:200]} is no name of a file ({error})") from error
    if folder:
        yield from _in_folder(path, outside, found)
    elif there:
        yield path
    elif matches := sorted(glob.glob(str(path), recursive=True)):
        for match in matches:
            yield from _files(Path(match), outside, found)
    else:
        raise UserError(f"no micrograph at {str(path)[:200]}: check the name, or give a folder")


def _in_folder(path: Path, outside: Path | None, found: Inputs) -> Iterator[Path]:
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(
            name for name in folders
            if not name.startswith(".") and (outside is None or (Path(folder) / name).resolve() != outside.resolve())
        )  # fmt: skip
        for name in sorted(name for name in names if not name.startswith(".")):
            if Path(name).suffix.lower() in SUFFIXES:
                yield Path(folder) / name
            else:
                found.notes.append(f"skipped {Path(folder) / name}: no micrograph by its name")


def _frames(file: Path, found: Inputs) -> list[tuple[Path, int | None]]:
    try:
        count = count_frames(file)
    except UserError as error:
        found.flags.append(f"not analysed: {error}")
        return []
    return [(file, None)] if count == 1 else [(file, frame) for frame in range(count)]


def _named(places: Sequence[tuple[Path, int | None]]) -> list[Item]:
    origins = []
    for path, frame in places:
        number = "" if frame is None else f"_{frame + 1:04d}"
        stem = base_name(path.stem) or "unnamed"
        origins.append(Path(os.path.abspath(path)).parent / f"{stem}{number}{path.suffix}")
    names = stems(origins)
    return [Item(path, frame, f"{name}{origin.suffix}")
            for (path, frame), name, origin in zip(places, names, origins, strict=True)]  # fmt: skip

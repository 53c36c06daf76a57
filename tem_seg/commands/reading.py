"""Outlines and micrographs from the command line, put together: what ``measure`` and ``convert`` begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tem_seg.core.errors import UserError
from tem_seg.core.types import Micrograph
from tem_seg.data.formats import table
from tem_seg.data.formats.gather import gather
from tem_seg.data.formats.micrographs import Micrographs
from tem_seg.data.formats.model import Annotated, Size, Source
from tem_seg.data.images import count_frames
from tem_seg.data.pixel_size import GIVEN, PixelSize, disagreement, read_with_pixel_size


@dataclass(frozen=True, slots=True)
class Placed:
    """Particles, the micrograph that they were drawn on (None where there is none), and its pixel size."""

    one: Annotated
    micrograph: Path | None
    pixel_size: PixelSize


@dataclass(slots=True)
class Reading:
    """placed: all that was read. notes: sentences for the user. skipped: number of foreign files. flags: red ones."""

    placed: list[Placed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: int = 0
    flags: list[str] = field(default_factory=list)


def read_all(
    paths: Sequence[Path], *, images: Sequence[Path] = (), given_nm: float | None = None, size: Size | None = None,
    connectivity: int = 8, read_bar: bool = True,
) -> Reading:  # fmt: skip
    """Outlines of files and folders. images: their micrographs. given_nm: the pixel size that the user states.

    size: (H, W) of micrographs whose size neither the files nor the micrographs tell. read_bar: see
    :func:`tem_seg.data.pixel_size.read_with_pixel_size`. Raises UserError for what is not understood.
    """
    gathered = gather(paths)
    micrographs = Micrographs(list(images) or gathered.pictures, stated=bool(images))
    done = Reading(notes=list(gathered.skipped), skipped=len(gathered.skipped))
    if gathered.pictures and not images:
        done.notes.append(f"{len(gathered.pictures)} pictures beside the outlines are taken as their micrographs")
    for path in gathered.files:
        source = Source(path, lambda name, path=path: _size_of(micrographs, name, path, size), connectivity)  # type: ignore[misc]
        found = table.read(source)
        done.notes += found.notes
        for one in found.images:
            placed = _placed(one, micrographs, given_nm, read_bar)
            done.placed.append(placed)
            done.flags += [f"{one.title}: {warning}" for warning in placed.pixel_size.warnings]
    if not done.placed:
        raise UserError(f"{', '.join(map(str, paths))} names no micrograph: the files are empty")
    return done


def _size_of(micrographs: Micrographs, name: str, path: Path, size: Size | None) -> Size | None:
    micrograph = micrographs.of(name, path)
    if micrograph is None:
        return size
    frame = 0 if count_frames(micrograph) > 1 else None
    height, width = pixels_of(micrograph, frame, None, False)[0].pixels.shape
    return height, width


def _placed(one: Annotated, micrographs: Micrographs, given_nm: float | None, read_bar: bool) -> Placed:
    micrograph = micrographs.for_particles(one)
    known: list[PixelSize] = [] if given_nm is None else [PixelSize(given_nm, GIVEN)]
    if one.pixel_size_nm is not None:
        known.append(PixelSize(one.pixel_size_nm, one.pixel_size_source or "stated with the outlines"))
    if micrograph is not None:
        found, size = pixels_of(micrograph, frame_of(one, micrograph), given_nm, read_bar)
        if found.pixels.shape != tuple(one.size):
            raise UserError(
                f"{one.title} of {one.path} is {one.size[1]} × {one.size[0]} px, its micrograph {micrograph} "
                f"{found.pixels.shape[1]} × {found.pixels.shape[0]}: give the micrograph that was drawn on"
            )
        known.append(size)
    return Placed(one, micrograph, _resolved(known))


def _resolved(known: list[PixelSize]) -> PixelSize:
    """The first that is a length; the others are compared with it."""
    sized = [size for size in known if size.value_nm is not None]
    if not sized:
        return (
            known[-1]
            if known
            else PixelSize(None, "no micrograph, and none stated; give --pixel-size for lengths in nm")
        )
    best = sized[0]
    told = [
        text for other in sized[1:] if other.source != best.source and (text := disagreement(best, other)) is not None
    ]
    warnings = dict.fromkeys([*told, *(warning for size in sized for warning in size.warnings)])
    return PixelSize(best.value_nm, best.source, best.relative_error, tuple(warnings))


def frame_of(one: Annotated, micrograph: Path) -> int | None:
    """The frame of a micrograph that outlines belong to; None where it has one only."""
    return one.frame if one.frame is not None and count_frames(micrograph) > 1 else None


@lru_cache(maxsize=1)
def pixels_of(
    path: Path, frame: int | None, given_nm: float | None, read_bar: bool
) -> tuple[Micrograph, PixelSize]:  # fmt: skip
    """A micrograph with its pixel size; the last one is kept."""
    return read_with_pixel_size(path, frame=frame, given_nm=given_nm, read_bar=read_bar)

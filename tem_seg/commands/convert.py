"""``tem-seg convert``: outlines from one format into another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tem_seg.commands.reading import Placed
    from tem_seg.data.formats import model


def convert(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Files or folders with outlines.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file, or a folder for one file a micrograph.")],
    to: Annotated[str, typer.Option(help="coco, labelme, via, via_csv, via3, qupath, imagej, labels or binary.")],
    image: Annotated[list[Path] | None, typer.Option(help="Micrographs, files or folders, found by name.")] = None,
    pixel_size: Annotated[str | None, typer.Option(help="With its unit: 0.5nm, 2.1Å. Else the files' own.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT px, where no file tells it.")] = None,
    connectivity: Annotated[int, typer.Option(help="Of binary masks: 8, or 4 (corners do not connect).")] = 8,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there.")] = False,
) -> None:  # fmt: skip
    """Converts outlines; what the new format cannot hold is counted and said (docs/formats.md)."""
    from tem_seg.commands.options import frame_size, number_of, pixel_size_nm
    from tem_seg.commands.reading import read_all
    from tem_seg.core.errors import UserError
    from tem_seg.data.formats import table

    if to not in table.WRITABLE:
        raise UserError(f"--to {to!r} is no format that can be written: there are {', '.join(table.WRITABLE)}")
    found = read_all(
        inputs, images=image or [], given_nm=pixel_size_nm(pixel_size), size=frame_size(size),
        connectivity=connectivity, read_bar=False,
    )  # fmt: skip
    targets = targets_of(found.placed, out, to)
    _refuse(targets, found.placed, overwrite)
    notes = [note for target, ones in targets for note in table.write(to, ones, target)]
    for line in [*found.notes, *(f"RED FLAG {flag}" for flag in found.flags), *notes]:
        typer.echo(line)
    skipped = f" ({number_of(found.skipped, 'file')} skipped)" if found.skipped else ""
    count = sum(len(each.one) for each in found.placed)
    made = f"{len(targets)} × {table.FORMATS[to].title}"
    read = f"{number_of(count, 'particle')} in {number_of(len(found.placed), 'micrograph')}{skipped}"
    typer.echo(f"{read} → {made}: {out}")
    if found.flags:
        raise typer.Exit(3)


def targets_of(placed: list[Placed], out: Path, to: str) -> list[tuple[Path, list[model.Annotated]]]:
    """Which particles go into which file; no two files, and no two micrographs in one file, are called the same."""
    from tem_seg.data.formats.names import stems, unique_files
    from tem_seg.data.formats.table import FORMATS

    chosen = FORMATS[to]
    named = [(each.one, each.micrograph) for each in placed]
    is_file = out.suffix.lower() in (chosen.suffix, {".tif": ".tiff"}.get(chosen.suffix))
    ones = [_stating(each, name) for each, name in zip(placed, unique_files(named), strict=True)]
    if chosen.holds_many:
        target = out if is_file else out / f"annotations{chosen.suffix}"
        return [
            (
                target,
                [_linked(one, each, target) for one, each in zip(ones, placed, strict=True)] if to == "coco" else ones,
            )
        ]
    if is_file and len(ones) == 1:
        return [(out, ones)]
    names = stems([Path(one.name) for one in ones])
    return [(out / f"{name}{chosen.suffix}", [one]) for name, one in zip(names, ones, strict=True)]


def _stating(each: Placed, name: str) -> model.Annotated:
    from dataclasses import replace

    size = each.pixel_size
    source = None if size.value_nm is None else size.source
    return replace(each.one, name=name, pixel_size_nm=size.value_nm, pixel_size_source=source)


def _linked(one: model.Annotated, each: Placed, target: Path) -> model.Annotated:
    """COCO names its pictures from where it lies."""
    import os
    from dataclasses import replace

    if each.micrograph is None:
        return one
    return replace(one, name=Path(os.path.relpath(each.micrograph.resolve(), target.resolve().parent)).as_posix())


def _refuse(targets: list[tuple[Path, list[model.Annotated]]], placed: list[Placed], overwrite: bool) -> None:
    """Nothing that was read is ever written over; anything else only where that was asked for."""
    from tem_seg.core.errors import UserError

    read = {path.resolve() for each in placed for path in (each.one.path, each.micrograph) if path is not None}
    for target, _ in targets:
        if target.resolve() in read:
            raise UserError(f"{target} is one of the files that are read: choose another place for the result")
        if target.exists() and not overwrite:
            raise UserError(f"{target} is there already: choose another place, or give --overwrite")

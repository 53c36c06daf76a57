"""``tem-seg info``: what a file is, and its pixel size with where that comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def info(
    micrographs: Annotated[list[Path], typer.Argument(help="Files, folders, or patterns in quotes.")],
    pixel_size: Annotated[str | None, typer.Option(help="To compare with the files' own: 0.5nm.")] = None,
) -> None:  # fmt: skip
    """Says what micrographs are: size, grey levels, frames, pixel size and its source."""
    from tem_seg.analysis.inputs import find
    from tem_seg.commands.options import pixel_size_nm
    from tem_seg.core.errors import UserError

    given = pixel_size_nm(pixel_size)
    found = find(micrographs)
    flags = list(found.flags)
    for item in found.items:
        try:
            lines, warnings = _described(item.path, item.frame, given)
        except UserError as error:
            flags.append(str(error))
            continue
        title = str(item.path) if item.frame is None else f"{item.path}, frame {item.frame + 1}"
        typer.echo("\n  ".join([title, *lines]))
        flags += [f"{title}: {warning}" for warning in warnings]
    for line in [*found.notes, *(f"RED FLAG {flag}" for flag in flags)]:
        typer.echo(line)
    if flags:
        raise typer.Exit(3)


def _described(path: Path, frame: int | None, given_nm: float | None) -> tuple[list[str], tuple[str, ...]]:
    from tem_seg.data.images import stored_type
    from tem_seg.data.pixel_size import read_with_pixel_size
    from tem_seg.data.strip import strip_px

    read, size = read_with_pixel_size(path, frame=frame, given_nm=given_nm)
    height, width = read.pixels.shape
    low, high = float(read.pixels.min()), float(read.pixels.max())
    lines = [
        f"{path.suffix[1:] or 'no ending'}, {path.stat().st_size / 1e6:.2f} MB",
        f"{width} × {height} px, {stored_type(path, frame)}, grey levels {low:g} to {high:g}",
        f"pixel size {size}",
    ]
    if strip := strip_px(read.pixels):
        lines.append(f"a strip of writing below, {strip} px, is no part of the field")
    if size.value_nm is not None:
        field = f"{width * size.value_nm:.4g} × {(height - strip) * size.value_nm:.4g} nm"
        error = "" if size.relative_error is None else f", ± {size.relative_error:.2%}"
        lines.append(f"field of view {field}{error}")
    return lines, size.warnings

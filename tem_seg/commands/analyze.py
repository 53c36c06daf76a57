"""``tem-seg analyze``: from micrographs to a size distribution and a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tem_seg.core.collector import without_collector

if TYPE_CHECKING:
    from tem_seg.analysis.analyse import Outcome, Progress


def analyze(
    micrographs: Annotated[list[Path], typer.Argument(help="Files, folders, or patterns in quotes ('run*/*.dm4').")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; goes on where it was interrupted.")],
    checkpoint: Annotated[str, typer.Option(help="The folder of a run, a checkpoint file, or starter.")] = "starter",
    pixel_size: Annotated[str | None, typer.Option(help="With its unit: 0.5nm, 2.1Å. Else the files' own.")] = None,
    pixel_size_error: Annotated[float | None, typer.Option(help="Its standard uncertainty as a share: 0.01.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Less sure particles do not count. Else the model's.")] = None,
    magnification: Annotated[float | None, typer.Option(help="Shown so many times their size. Else found.")] = None,
    border: Annotated[str, typer.Option(help="Particles at the border: keep, exclude or weight.")] = "weight",
    min_size: Annotated[float, typer.Option(help="Equivalent diameter, px, below which nothing is measured.")] = 5.0,
    touching: Annotated[str, typer.Option(help="Particles that touch others: count or exclude.")] = "count",
    overlapping: Annotated[str, typer.Option(help="Particles that overlap others: count or exclude.")] = "count",
    aggregated: Annotated[str, typer.Option(help="Outlines of several grown together: count or exclude.")] = "count",
    strip: Annotated[bool, typer.Option(help="Leave out the strip that microscopes write below.")] = True,
    weights: Annotated[str, typer.Option(help="The distribution is by number, area or volume.")] = "number",
    colours: Annotated[str, typer.Option(help="Outlines' colours: flag (counts or why not) or size.")] = "flag",
) -> None:  # fmt: skip
    """Segments and measures micrographs; writes tables, pictures, the size distribution and a report into DIR."""
    from tem_seg.commands.options import pixel_size_nm

    given_nm = pixel_size_nm(pixel_size)  # a slip of the pen is told before seconds of imports
    with without_collector():
        from tem_seg.analysis.analyse import analyse
        from tem_seg.analysis.settings import Settings

    settings = Settings(
        checkpoint, given_nm, pixel_size_error, min_score, magnification, border, min_size, touching, overlapping,
        aggregated, weights, colours, strip,
    )  # fmt: skip
    with _progress() as progress:
        outcome = analyse(micrographs, out, settings, progress=progress)
    from tem_seg.analysis.report import write_reports  # matplotlib: the first micrograph need not wait for it

    write_reports(outcome)
    _tell(outcome)
    if outcome.record["red_flags"]:
        raise typer.Exit(3)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal; nothing where the output goes to a file."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None)

        def progress(done: int, total: int, name: str) -> None:
            shown.update(task, completed=done, total=total, description=escape(name[:60]))

        yield progress


def _tell(outcome: Outcome) -> None:
    from tem_seg.analysis.report import headlines
    from tem_seg.commands.options import number_of

    record, told = outcome.record, outcome.distribution
    effects = [f"rule {effect}" for effect in outcome.effects]
    for line in [*record["notes"], *effects, *(f"RED FLAG {flag}" for flag in record["red_flags"])]:
        typer.echo(line)
    again = sum(each.again for each in outcome.done)
    kept = f" ({again} of them were done already)" if again else ""
    typer.echo(
        f"{number_of(len(outcome.particles), 'particle')} of {len(outcome.measured)} measured count in "
        f"{number_of(len(outcome.done), 'micrograph')}{kept}; score ≥ {record['min_score']:.3g} "
        f"({record['min_score_source']})"
    )
    for name, value, note in headlines(told):
        typer.echo(f"{name}: {value} ({note})")
    typer.echo(f"report: {outcome.out / 'report.html'}")

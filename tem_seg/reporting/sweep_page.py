"""summary.html of a sweep: for each experiment its trials, what they reached, and which parameters it goes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tem_seg.reporting import sweep_plots
from tem_seg.reporting.page import page
from tem_seg.reporting.sweep_plots import Point
from tem_seg.reporting.tables import Cell, Table, cell

KINDS = {"grid": "Grid", "random": "Random search", "tpe": "TPE (tree-structured Parzen estimator)"}
STATES = {
    "complete": "finished",
    "pruned": "ended early",
    "failed": "failed",
    "running": "running",
    "waiting": "waiting",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A job. wall_s, run_dir, error: None where not known."""

    job: int
    point: Point
    wall_s: float | None
    run_dir: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """An experiment of the sweep. importance: share by parameter, {} where nothing can be said; best: how to run it."""

    name: str
    kind: str
    metric: str
    wanted: int
    rows: Sequence[Row]
    importance: dict[str, float]
    best: str | None


def render(title: str, command: str, parts: Sequence[Part], began: str | None) -> str:
    """The page's text."""
    states = [row.point.state for part in parts for row in part.rows]
    head = [("jobs", f"{len(states)}"), *((text, f"{states.count(s)}") for s, text in STATES.items() if s in states)]
    return page(
        "sweep.html.j2",
        title=title,
        command=command,
        head=[*head, ("begun", began or "not recorded")],
        flags=[f"Job {row.job}: {row.error}" for part in parts for row in part.rows if row.point.state == "failed"],
        parts=[_section(part) for part in parts],
    )


def _section(part: Part) -> dict[str, Any]:
    points = [row.point for row in part.rows]
    figures = [point for point in points if point.figure is not None]
    names = varied(points, part.importance)
    best = best_of(part.rows)
    plots: list[Markup] = []
    if figures:
        plots.append(sweep_plots.history(points, part.metric))
    if part.importance:
        plots.append(sweep_plots.importances(part.importance))
    wide = sweep_plots.parallel_coordinates(points, names, part.metric) if len(figures) > 1 and names else None
    return {
        "name": part.name, "kind": KINDS[part.kind], "metric": part.metric, "wanted": part.wanted,
        "table": table(part), "plots": plots, "parallel": wide, "best": best, "best_command": part.best,
        "best_figure": cell(best.point.figure, 3).text if best else "", "searched": bool(part.importance),
    }  # fmt: skip


def varied(points: Sequence[Point], importance: dict[str, float]) -> list[str]:
    """Parameters of which there are two values or more, the most important first."""
    names = dict.fromkeys(name for point in points for name in point.parameters)
    several = [n for n in names if len({str(p.parameters[n]) for p in points if n in p.parameters}) > 1]
    return sorted(several, key=lambda name: -importance.get(name, 0.0))


def best_of(rows: Sequence[Row]) -> Row | None:
    """The job of the best trial; None where none has a figure."""
    best = sweep_plots.best_of([row.point for row in rows])
    return next((row for row in rows if row.point is best), None)


def table(part: Part) -> Table:
    """One row a job."""
    names = list(dict.fromkeys(name for row in part.rows for name in row.point.parameters))
    columns = ("job", "state", f"{part.metric} on validation", *names, "wall time (s)", "run, or error")
    rows = tuple(
        (
            cell(row.job), cell(STATES[row.point.state]), cell(row.point.figure, 4),
            *(_value(row.point.parameters.get(name)) for name in names), cell(row.wall_s, 1),
            cell(row.error or row.run_dir or "–"),
        )
        for row in part.rows
    )  # fmt: skip
    return Table(f"{len(part.rows)} of {part.wanted} jobs; click a heading to sort.", columns, rows)


def _value(value: Any) -> Cell:
    """A grid's numbers are texts, sorted as numbers all the same."""
    try:
        return Cell(str(value), float(value)) if isinstance(value, str) else cell(value)
    except ValueError:
        return cell(value)

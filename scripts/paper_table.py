"""The papers' figures beside those of finished runs, as a Markdown table for docs/results.

    python scripts/paper_table.py RUN_DIR… > docs/results/<date>-papers.md

One row for each figure that a paper reports (``paper.reports`` of the experiment). Runs of one experiment, arm, profile
and dataset are taken together: mean ± standard deviation. Where the paper compares two figures, the last column says
whether ours differ in the same direction; give the runs of both. Only run.json and metrics.json are read.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tem_seg.core.errors import UserError, user_errors_exit
from tem_seg.data import atomic
from tem_seg.reporting.paper import Held, held, label
from tem_seg.reporting.tables import UNDEFINED

COLUMNS = (
    "experiment", "command", "data", "figure", "held against", "the paper (n)", "ours (n)", "effect in the paper",
    "effect here",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its records."""

    path: Path
    record: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The composed configuration."""
        return dict(self.record.get("config") or {})

    @property
    def key(self) -> tuple[str, str | None, str, str]:
        """What runs that are taken together share: experiment, arm, profile, dataset."""
        config = self.config
        return self.record["experiment"], config.get("arm"), self.record["profile"], config["dataset"]["name"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a paper and those of all runs of a kind. held: of the first of them, the others differ in ours."""

    run: Run
    held: Held
    ours: list[float]

    @property
    def mean(self) -> float | None:
        """Of ours; None without any."""
        return statistics.fmean(self.ours) if self.ours else None


def read(folder: Path) -> Run:
    """Raises UserError for a folder without a finished, evaluated run."""
    for name in ("run.json", "metrics.json"):
        if not (folder / name).is_file():
            raise UserError(f"{folder} has no {name}: give folders of evaluated runs, outputs/runs/<experiment>/<run>")
    record = atomic.read_json(folder / "run.json")
    if not record.get("finished"):
        raise UserError(f"{folder} is not finished: the command that began it goes on with it")
    return Run(folder, record, atomic.read_json(folder / "metrics.json"))


def rows(runs: Iterable[Run]) -> list[Row]:
    """In the order of the runs; runs of experiments without a figure of a paper give none."""
    found: dict[tuple[Any, ...], Row] = {}
    for run in runs:
        for one in held(run.record, run.metrics):
            row = found.setdefault((*run.key, one.what, one.of), Row(run, one, []))
            if one.ours is not None:
                row.ours.append(one.ours)
    return list(found.values())


def partner(row: Row, everything: Sequence[Row]) -> Row | None:
    """The row that the paper compares this one with: another arm, another experiment or another figure of the runs."""
    experiment, _, profile, data = row.run.key
    wanted = row.held.against
    for other in everything:
        same_figure = other.held.of == row.held.of
        if other.run.key == (experiment, wanted, profile, data) and same_figure:
            return other
        if other.run.key == (wanted, None, profile, data) and same_figure:
            return other
        if other.run.key == row.run.key and other.held.what == wanted:
            return other
    return None


def effect(row: Row, everything: Sequence[Row]) -> tuple[str, str]:
    """(the paper's difference, ours and whether it has the same sign)."""
    if row.held.against is None:
        return UNDEFINED, UNDEFINED
    other = partner(row, everything)
    if other is None:
        return f"against {row.held.against}", f"no run of {row.held.against} given"
    ours = None if row.mean is None or other.mean is None else row.mean - other.mean
    if row.held.theirs is None or other.held.theirs is None:
        return f"none reported against {row.held.against}", UNDEFINED if ours is None else f"{ours:+.3f}"
    theirs = row.held.theirs - other.held.theirs
    told = f"{theirs:+.2f} against {row.held.against}"
    if ours is None:
        return told, UNDEFINED
    return told, f"{ours:+.3f}, {'' if ours * theirs > 0 else 'not '}reproduced"


def table(runs: Iterable[Run]) -> Iterator[str]:
    """Lines of Markdown."""
    everything = rows(runs)
    yield _line(COLUMNS)
    yield _line(["---"] * len(COLUMNS))
    for row in everything:
        yield _line([*_about(row), *_figures(row), *effect(row, everything)])


def _about(row: Row) -> list[str]:
    experiment, arm, profile, _ = row.run.key
    stand_in = (row.run.config.get("paper") or {}).get("stand_in")
    data = f"stand-in: {stand_in}" if stand_in else str(row.run.config["dataset"]["name"])
    name = f"{experiment}, {arm}" if arm else experiment
    command = row.run.record["command"]
    return [f"{name} ({profile})", f"`{command if isinstance(command, str) else shlex.join(command)}`", data]


def _figures(row: Row) -> list[str]:
    ours = UNDEFINED if row.mean is None else f"{row.mean:.3f}"
    if len(row.ours) > 1:
        ours += f" ± {statistics.stdev(row.ours):.3f} over {len(row.ours)} runs"
    what = label(row.held.of, row.run.metrics)
    theirs = UNDEFINED if row.held.theirs is None else f"{row.held.theirs:.4g} ({row.held.their_n})"
    return [row.held.what, what, theirs, f"{ours} ({row.held.our_n})"]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table. Exit code 2: a folder that is no finished run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="folders of finished runs")
    with user_errors_exit("paper_table"):
        lines = list(table([read(folder) for folder in parser.parse_args(arguments).runs]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()

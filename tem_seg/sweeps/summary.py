"""What a sweep leaves for people: summary.html, summary.csv, and the best settings as a config that runs."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tem_seg.config import check
from tem_seg.data import atomic
from tem_seg.reporting import sweep_page
from tem_seg.reporting.sweep_page import Part, Row
from tem_seg.reporting.sweep_plots import Point
from tem_seg.stages import rundir
from tem_seg.stages.sweep_job import Job
from tem_seg.sweeps import folder as folders
from tem_seg.sweeps.study import Study

NOT_IN_BEST = ("paths", "run_dir", "sweep")
"""Parts of a run's config that belong to the machine or to the sweep."""


def page(folder: Path) -> Path:
    """Where the summary lies."""
    return folder / "summary.html"


def write(folder: Path, arguments: list[str], studies: Sequence[Study]) -> None:
    """Writes all of them anew, from the jobs' records."""
    several = len(studies) > 1
    parts = [_part(folder, study, f"best_{study.name}" if several else "best") for study in studies]
    command = "python -m tem_seg.run -m " + shlex.join(arguments)
    title = ", ".join(study.name for study in studies)
    atomic.write_text(page(folder), sweep_page.render(title, command, parts, folders.began(folder)))
    atomic.write_text(folder / "summary.csv", _table(studies))


def _part(folder: Path, study: Study, best: str) -> Part:
    settings, rows = study.settings, [_row(job) for job in study.jobs]
    chosen = sweep_page.best_of(rows)
    runs = chosen is not None and _write_best(folder / f"{best}.yaml", chosen)
    return Part(
        study.name, settings.kind.value, settings.metric.value, study.wanted, rows, _importance(study.jobs),
        _command(folder / best) if runs else None,
    )  # fmt: skip


def _command(best: Path) -> str:
    return f"python -m tem_seg.run --config-dir {shlex.quote(str(best.parent))} --config-name {best.stem}"


def _row(job: Job) -> Row:
    return Row(job.number, Point(job.trial, job.state, job.parameters, job.figure), job.wall_s, job.run_dir, job.error)


def _importance(jobs: Sequence[Job]) -> dict[str, float]:
    try:
        from tem_seg.sweeps import search
    except ImportError:  # a grid does without Optuna; its summary then has one plot less
        return {}
    return search.importance(jobs)


def _write_best(path: Path, best: Row) -> bool:
    """A config of its own, all values in it: whatever changes in conf/ later, it stays what was found."""
    run = rundir.read(Path(best.run_dir)) if best.run_dir else {}
    if not run.get("config"):
        return False
    main = yaml.safe_load((check.config_folder() / "config.yaml").read_text(encoding="utf-8"))
    of_hydra = [entry for entry in main["defaults"] if "override hydra/" in str(entry)]
    defaults = ["schema", {"paths": "default"}, "_self_", *of_hydra]
    values = {key: value for key, value in run["config"].items() if key not in NOT_IN_BEST}
    content: dict[str, Any] = {"defaults": defaults, "hydra": main["hydra"], **values}
    head = f"# Job {best.job} of this sweep. To run it: {_command(path)}\n"
    atomic.write_text(path, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    return True


def _table(studies: Sequence[Study]) -> str:
    names = list(dict.fromkeys(key for study in studies for job in study.jobs for key in job.parameters))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["job", "experiment", "trial", "state", *names, "metric", "figure", "wall_s", "run_dir", "error"])
    for job in sorted((job for study in studies for job in study.jobs), key=lambda job: job.number):
        values = [job.parameters.get(name) for name in names]
        rows.writerow([job.number, job.experiment, job.trial, job.state, *values, job.metric, job.figure, job.wall_s,
                       job.run_dir, job.error])  # fmt: skip
    return text.getvalue()

"""Tables of a comparison beside its figures: the settings that differ, and the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tem_seg.reporting import tables
from tem_seg.reporting.compared import MISSING, Group, RunFiles, differing, value_text
from tem_seg.reporting.made import backend

HEADLINES = {"ap": "AP", "f1": "F1", "balanced_accuracy": "balanced accuracy"}
"""Key of metrics.json: what it is called."""


def settings_table(groups: Sequence[Group]) -> tables.Table | None:
    """What differs between the groups, seeds apart; None where nothing does."""
    settings = [_facts(group.runs[0]) | group.runs[0].settings for group in groups]
    keys = [key for key in differing(settings) if key != "name" and key.rsplit(".", 1)[-1] != "seed"]
    if not keys:
        return None
    rows = tuple((tables.cell(key), *(_setting(some.get(key)) for some in settings)) for key in keys)
    return tables.Table(
        f"{len(keys)} settings and circumstances differ. Where a part is of another class (_target_), its own settings "
        "are not listed.", ("setting", *(group.letter for group in groups)), rows,
    )  # fmt: skip


def _setting(value: str | None) -> tables.Cell:
    text = value_text(value)
    return tables.Cell(text, text)


def _facts(run: RunFiles) -> dict[str, str]:
    """What is no setting, and yet may change a figure."""
    git = run.run.get("git") or {}
    train = (run.run.get("stages") or {}).get("train") or {}
    facts = {
        "back end": backend(run.run), "precision": train.get("precision"), "commit": (git.get("commit") or "")[:10],
        "uncommitted changes": "yes" if git.get("diff") else "no", "trained on": train.get("micrographs"),
        "processor": (run.run.get("hardware") or {}).get("processor"),
    }  # fmt: skip
    return {key: str(value) for key, value in facts.items() if value}


def run_table(groups: Sequence[Group]) -> tables.Table:
    """One row a run: where it is, how far it came, its seed and headline figures."""
    scored = [run.metrics for group in groups for run in group.runs]
    figures_of = {key: name for key, name in HEADLINES.items() if key in ("ap", "f1") or any(key in m for m in scored)}
    columns = ("run", "experiment and settings", "seed", "state", *figures_of.values(), "micrographs", "particles",
               "started", "folder")  # fmt: skip
    rows = []
    for group in groups:
        for place, run in enumerate(group.runs):
            figures = [tables.cell(run.metrics.get(key), 3) for key in figures_of]
            counts = [tables.cell(run.metrics.get(key)) for key in ("n_images", "n_truths")]
            words = (group.label(place), group.name, run.seed, state(run))
            ends = (str(run.run.get("started") or MISSING)[:16], str(run.folder))
            rows.append((*map(_word, words), *figures, *counts, *map(_word, ends)))
    return tables.Table("The runs. Figures are of what each was tested on.", columns, tuple(rows))


def _word(text: str) -> tables.Cell:
    return tables.Cell(text, text)


def state(run: RunFiles) -> str:
    """Finished, or how far it came.

    Stages that run.json lists are done; the curves say how far a training is.
    """
    if run.run.get("finished"):
        return "finished"
    done = list(run.run.get("stages") or {})
    wanted = ((run.run.get("config") or {}).get("train") or {}).get("steps")
    step = run.curves["step"].max() if len(run.curves) else None
    if "train" not in done and step is not None and np.isfinite(step):
        return f"unfinished: training, step {int(step) + 1:,}" + (f" of {wanted:,}" if wanted else "")
    return "unfinished: " + (f"{done[-1]} is done" if done else "nothing is done")

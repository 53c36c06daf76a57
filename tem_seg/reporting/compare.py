"""compare.html: one file that opens offline and sets runs side by side, drawn from their files without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from tem_seg.data.atomic import write_text
from tem_seg.reporting import compare_figures, compare_plots, compare_tables, tables
from tem_seg.reporting.classification import confusion_matrix
from tem_seg.reporting.compare_views import side_by_side
from tem_seg.reporting.compared import Group, RunFiles, comparability, groups, reference
from tem_seg.reporting.page import page

MICROGRAPHS = 4
CLASSES = "classes, without outlines"


def build_comparison(path: Path, runs: Sequence[RunFiles], micrographs: int = MICROGRAPHS) -> list[str]:
    """Writes the page (atomically) and returns what makes its figures not comparable, a sentence each.

    Differences are against the first of ``runs``. micrographs: how many are shown under each model.
    Raises UserError where a micrograph does not fit its dataset, ValueError without runs.
    """
    if not runs:
        raise ValueError("there are no runs to compare")
    grouped = groups(runs)
    alarms = _alarms(grouped)
    shown = side_by_side(grouped, micrographs)
    same = _same(grouped)
    text = page(
        "compare.html.j2",
        styles=("report.css", "compare.css"),
        title=_title(grouped),
        n_runs=len(runs),
        groups=[(group, compare_plots.style(place)) for place, group in enumerate(grouped)],
        seeds=any(len(group.runs) > 1 for group in grouped),
        reference=reference(grouped).letter,
        flags=alarms,
        notes=_notes(grouped),
        figures=compare_figures.figure_tables(grouped),
        settings=compare_tables.settings_table(grouped),
        shown=shown,
        matrices=_matrices(grouped),
        segments=not all(run.classifies for run in runs),
        sizes=compare_plots.size_plots(grouped, same),
        precision_recall=compare_plots.precision_recall(grouped),
        curves=compare_plots.curve_plots(grouped),
        runs=compare_tables.run_table(grouped),
    )
    write_text(path, text)
    return alarms


def _matrices(grouped: Sequence[Group]) -> list[tuple[str, Markup]]:
    """Of every classifier that was scored, the first seed: shares of each true class."""
    return [
        (f"{group.label(0)} {group.name}", confusion_matrix(confusion, normalised=True))
        for group in grouped
        if (confusion := group.runs[0].metrics.get("confusion"))
    ]


def _title(grouped: Sequence[Group]) -> str:
    names = list(dict.fromkeys(group.runs[0].experiment for group in grouped))
    return " · ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _same(grouped: Sequence[Group]) -> bool:
    """Whether all that were tested saw the same micrographs."""
    return all(comparability(reference(grouped), group) in ("same", "none") for group in grouped)


def _alarms(grouped: Sequence[Group]) -> list[str]:
    """What makes figures not comparable: shown first."""
    first = reference(grouped)
    elsewhere: dict[str, list[str]] = {}
    for group in grouped:
        if comparability(first, group) == "other":
            elsewhere.setdefault(_tested(group), []).append(group.letter)
    alarms = [
        f"{', '.join(letters)} {'was' if len(letters) == 1 else 'were'} tested on other micrographs ({where}) than "
        f"{first.letter} ({_tested(first)}): the figures are not comparable with {first.letter}'s, and no "
        "difference is shown."
        for where, letters in elsewhere.items()
    ]
    return alarms + _unlike(grouped)


def _tested(group: Group) -> str:
    """How many micrographs of which dataset: its folder's name, which holds its hash."""
    run = next((run for run in group.runs if run.tested), group.runs[0])
    path = Path(str(run.info.get("dataset") or "unknown dataset"))
    name = path.parent.parent.name if path.parent.name == "test" else str(path)
    return f"{run.metrics.get('n_images') or len(run.info.get('image_ids') or []):,} of {name}"


def _unlike(grouped: Sequence[Group]) -> list[str]:
    """Figures of one name that mean different things."""
    scored = [(group, run.metrics) for group in grouped for run in group.runs[:1] if run.metrics]
    alarms = []
    kinds = {
        group.letter: CLASSES if group.runs[0].classifies else tables.KINDS[tables.headline(metrics)]
        for group, metrics in scored
    }
    if len(set(kinds.values())) > 1:
        by_kind = {kind: [letter for letter, its in kinds.items() if its == kind] for kind in kinds.values()}
        told = "; ".join(f"{kind}: {', '.join(letters)}" for kind, letters in by_kind.items())
        alarms.append(f"Figures are of different things ({told}): compare those of the same kind, and no F1.")
    agnostic = {group.letter: bool(metrics.get("class_agnostic")) for group, metrics in scored}
    if len(set(agnostic.values())) > 1:
        told = ", ".join(letter for letter, ignored in agnostic.items() if ignored)
        alarms.append(f"Classes are ignored in the figures of {told} only: they are not comparable with the others.")
    return alarms


def _notes(grouped: Sequence[Group]) -> list[str]:
    """What a reader should know, without a figure being wrong."""
    notes = []
    if _same(grouped) and any(run.tested for group in grouped for run in group.runs):
        notes.append("All runs that were tested saw the same micrographs.")
    if any(comparability(reference(grouped), group) == "redrawn" for group in grouped):
        notes.append(
            "Each seed drew its own test micrographs from the same recipe: spreads and differences include that."
        )
    for group in grouped:
        for place, run in enumerate(group.runs):
            label, state = group.label(place), compare_tables.state(run)
            if state != "finished":
                notes.append(f"{label} is {state}.")
            notes += [f"{label}: {fault}" for fault in run.faults]
            notes += [f"{label}, red flag: {flag}" for flag in run.metrics.get("red_flags") or []]
    return notes

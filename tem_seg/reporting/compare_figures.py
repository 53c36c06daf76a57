"""Figures of a comparison: one row a figure, with its spread over seeds and its difference to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tem_seg.reporting.compare_rows import COST, Figure, classes, detection, sizes
from tem_seg.reporting.compared import MISSING, Group, comparability, reference


@dataclass(frozen=True, slots=True)
class FigureCell:
    """text: the mean, and its spread over seeds. delta: against the first column, "" where there is none.

    best: the best mean of the row. clear: the difference is larger than seeds explain. note: shown on hover.
    """

    text: str
    delta: str = ""
    best: bool = False
    clear: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class FigureTable:
    """Rows under a title, one cell a group."""

    title: str
    rows: tuple[tuple[str, tuple[FigureCell, ...]], ...]


def figure_tables(groups: Sequence[Group]) -> list[FigureTable]:
    """Detection, sizes, classes and cost; rows and tables without a single value are left out."""
    runs = [run for group in groups for run in group.runs]
    parts = [("Detection", detection(runs)), ("Sizes", sizes(runs)), ("Classes", classes(runs)), ("Cost", COST)]
    found = []
    for title, figures in parts:
        rows = [(figure.label, _row(figure, groups)) for figure in figures]
        kept = tuple((label, cells) for label, cells in rows if any(cell.text != MISSING for cell in cells))
        if kept:
            found.append(FigureTable(title, kept))
    return found


# ------------------------------------------------------------------------------------------------- one row


def _row(figure: Figure, groups: Sequence[Group]) -> tuple[FigureCell, ...]:
    held = reference(groups)
    samples = [_sample(figure, group) for group in groups]
    first = _sample(figure, held)
    fair = [not figure.tested or comparability(held, group) in ("same", "redrawn") for group in groups]
    means = [float(sample.mean()) if len(sample) else np.nan for sample in samples]
    ranked = [mean * figure.better for mean, same in zip(means, fair, strict=True) if same and np.isfinite(mean)]
    top = max(ranked) if figure.better and len(ranked) > 1 and max(ranked) > min(ranked) else None
    return tuple(
        _cell(figure, first, sample, differs=same and group is not held, best=same and top == mean * figure.better)
        for group, sample, mean, same in zip(groups, samples, means, fair, strict=True)
    )


def _sample(figure: Figure, group: Group) -> np.ndarray:
    """The finite values (n,) of a group's runs."""
    values = [figure.value(run) for run in group.runs]
    return np.array([value for value in values if value is not None and np.isfinite(value)], np.float64)


def _cell(figure: Figure, first: np.ndarray, sample: np.ndarray, *, differs: bool, best: bool) -> FigureCell:
    if not len(sample):
        return FigureCell(MISSING)
    text, note = _text(figure, float(sample.mean())), "one run"
    if len(sample) > 1:
        text += f" ± {_text(figure, float(sample.std(ddof=1)))}"
        note = f"mean ± SD of {len(sample)} seeds: " + ", ".join(_text(figure, value) for value in sample)
    if not differs or not len(first):
        return FigureCell(text, best=best, note=note)
    difference = float(sample.mean() - first.mean())
    delta = _text(figure, difference, sign="+") if difference else "same"
    return FigureCell(text, delta, best, beyond_chance(first, sample), note)


def _text(figure: Figure, value: float, sign: str = "") -> str:
    text = f"{value:{sign}.{figure.decimals}f}" if figure.decimals is not None else f"{value:{sign},.4g}"
    return text.replace("-", "−")


def beyond_chance(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the 95 % interval of the difference of means (Welch 1947) excludes zero; False with a single value."""
    if min(len(one), len(other)) < 2 or not (one.std() or other.std()):
        return False
    return bool(stats.ttest_ind(one, other, equal_var=False).pvalue < 0.05)

"""Figures of a comparison: one row a figure, with its spread over seeds and its difference to the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from tem_seg.reporting import tables
from tem_seg.reporting.compared import MISSING, Group, RunFiles, comparability, reference
from tem_seg.reporting.material import matched_sizes

Value = Callable[[RunFiles], float | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. better: 1 more is better, -1 less is, 0 neither. decimals None: 4 digits. tested: depends on the
    micrographs that were tested."""

    label: str
    value: Value
    better: int = 0
    decimals: int | None = 3
    tested: bool = True


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
    """Detection, sizes and cost; rows and tables without a single value are left out."""
    runs = [run for group in groups for run in group.runs]
    parts = [("Detection", _detection(runs)), ("Sizes", _sizes(runs)), ("Cost", _COST)]
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


# ------------------------------------------------------------------------------------------------- which rows


def _at(*path: str) -> Value:
    """A number of metrics.json by its place; None where it is missing or undefined."""

    def value(run: RunFiles) -> float | None:
        found: Any = run.metrics
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return float(found) if isinstance(found, (int, float)) else None

    return value


def _detection(runs: Sequence[RunFiles]) -> list[Figure]:
    headlines = list(dict.fromkeys(tables.headline(run.metrics) for run in runs if run.metrics))
    figures = [
        Figure(f"{name}, {tables.KINDS[kind]}", _at(kind, key), 1)
        for kind in headlines for key, name in tables.AP_COLUMNS.items()
    ]  # fmt: skip
    figures += [
        Figure(f"AP, {name}", _at(kind, "ap"), 1) for kind, name in tables.KINDS.items() if kind not in headlines
    ]
    for key, name in (("f1", "F1"), ("precision", "Precision"), ("recall", "Recall")):
        figures.append(Figure(f"{name}, score chosen on validation", _at("at_iou50", "best", key), 1))
    return [
        *figures,
        Figure("that score", _at("at_iou50", "best", "score")),
        Figure("F1, the papers' score", _at("at_iou50", "fixed", "f1"), 1),
        Figure("False positives per empty micrograph", _at("false_positives_per_empty_image", "best"), -1),
        Figure("Boundary IoU of particles found", _at("boundary", "iou"), 1),
        Figure("Outlines too large by, px", _at("boundary", "bias_px"), 0),
        Figure("Calibration error of scores", _at("calibration", "ece_after"), -1),
    ]


def _sizes(runs: Sequence[RunFiles]) -> list[Figure]:
    figures = [
        Figure("Particles measured", lambda run: float(len(run.particles)) if len(run.particles) else None, 0, None)
    ]
    for unit in tables.size_units(*(run.particles for run in runs), *(run.truth_particles for run in runs)):
        known = [run.particles for run in runs if len(tables.size_units(run.particles))]
        size = tables.size_of(known[0], unit) if known else "equivalent_diameter"
        name = {"equivalent_diameter": "diameter", "max_feret": "length"}[size]
        column = f"{size}_{unit}"
        figures += [
            Figure(f"Median {name}, {unit}", _quantile("particles", column, np.median), 0, None),
            Figure(f"Median {name} as annotated, {unit}", _quantile("truth_particles", column, np.median), 0, None),
            Figure(f"SD of the {name}, {unit}", _quantile("particles", column, _sd), 0, None),
            Figure(f"SD as annotated, {unit}", _quantile("truth_particles", column, _sd), 0, None),
            Figure(f"Predicted {name} too large by, % (median of matched, {unit})", _error(unit, np.median), 0, 1),
            Figure(f"Scatter of it, % (SD, {unit})", _error(unit, _sd), -1, 1),
        ]
    return figures


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _quantile(table: str, column: str, of: Callable[[np.ndarray], Any]) -> Value:
    """A statistic of a column of particles.csv, border particles left out."""

    def value(run: RunFiles) -> float | None:
        sample = tables.values(getattr(run, table), column)
        return float(of(sample)) if len(sample) else None

    return value


def _error(unit: str, of: Callable[[np.ndarray], Any]) -> Value:
    """A statistic of predicted over annotated size, % off."""

    def value(run: RunFiles) -> float | None:
        pairs = matched_sizes(run.material, calibrated=unit == "nm") if run.material else np.zeros((0, 2))
        return float(of(100.0 * (pairs[:, 1] / pairs[:, 0] - 1.0))) if len(pairs) else None

    return value


def _stage(name: str, key: str, scale: float = 1.0) -> Value:
    def value(run: RunFiles) -> float | None:
        found = ((run.run.get("stages") or {}).get(name) or {}).get(key)
        return None if found is None else float(found) * scale

    return value


def _pace(run: RunFiles) -> float | None:
    found = run.info.get("seconds_per_image")
    return None if found is None else float(found)


_COST = [
    Figure("Training, minutes", _stage("train", "wall_s", 1 / 60), -1, 1, tested=False),
    Figure("Parameters that train, millions", _stage("train", "trainable_m"), 0, 2, tested=False),
    Figure("Parameters, millions", _stage("train", "parameters_m"), 0, 2, tested=False),
    Figure("Peak memory of training, GB", _stage("train", "peak_memory_gb"), -1, 2, tested=False),
    Figure("Prediction, seconds a micrograph", _pace, -1, 2),
]

"""The figures that a comparison holds side by side, and where each of them stands in a run's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tem_seg.reporting import tables
from tem_seg.reporting.compared import RunFiles
from tem_seg.reporting.material import matched_sizes

Value = Callable[[RunFiles], float | None]
D50_PARTICLES = 10
"""Whole annotated particles that a micrograph needs for a median of its own."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. better: 1 more is better, -1 less is, 0 neither. decimals None: 4 digits. tested: depends on the
    micrographs that were tested."""

    label: str
    value: Value
    better: int = 0
    decimals: int | None = 3
    tested: bool = True


def _at(*path: str) -> Value:
    """A number of metrics.json by its place; None where it is missing or undefined."""

    def value(run: RunFiles) -> float | None:
        found: Any = run.metrics
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return float(found) if isinstance(found, (int, float)) else None

    return value


def detection(runs: Sequence[RunFiles]) -> list[Figure]:
    """What was found, of what the headline is of; and of other kinds their AP."""
    headlines = list(dict.fromkeys(tables.headline(run.metrics) for run in runs if run.metrics and not run.classifies))
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
        Figure("F1, the papers' score, where any reaches it", _f1_at_the_papers_score, 0),
        Figure("Count of particles off by, %", _at("counts", "error_percent"), 0, 1),
        Figure("Count of a micrograph's particles off by, % (mean)", _at("counts", "image_error_percent"), -1, 1),
        Figure("False positives per empty micrograph", _at("false_positives_per_empty_image", "best"), -1),
        Figure("Boundary IoU of particles found", _at("boundary", "iou"), 1),
        Figure("Boundary F1 of particles found", _at("boundary", "f1"), 1),
        Figure("Outlines too large by, px", _at("boundary", "bias_px"), 0),
        Figure("Calibration error of scores", _at("calibration", "ece_after"), -1),
    ]


def classes(runs: Sequence[RunFiles]) -> list[Figure]:
    """What a classifier said of micrographs or particles, and of each class how many it knew."""
    scored = [run.metrics for run in runs if run.classifies]
    names = dict.fromkeys(name for metrics in scored for name in metrics.get("per_class") or {})
    return [
        Figure("Balanced accuracy", _at("balanced_accuracy"), 1),
        Figure("Accuracy", _at("accuracy"), 1),
        Figure("Accuracy of always the commonest", _at("majority", "accuracy")),
        Figure("Log loss, nat", _at("log_loss"), -1),
        *(Figure(f"Recall of {name}", _at("per_class", name, "recall"), 1) for name in names),
    ]


def _f1_at_the_papers_score(run: RunFiles) -> float | None:
    """None where no prediction reaches that score: what is no probability near 1 says nothing there."""
    kind = run.metrics.get("headline")
    return _at("at_iou50", "fixed", "f1")(run) if _at(f"{kind}_at_score", "n_predictions")(run) else None


def sizes(runs: Sequence[RunFiles]) -> list[Figure]:
    """What was measured, in each unit that there is."""
    figures = [
        Figure("Particles measured", lambda run: float(len(run.particles)) if len(run.particles) else None, 0, None)
    ]
    for unit in tables.size_units(*(run.particles for run in runs), *(run.truth_particles for run in runs)):
        known = [run.particles for run in runs if len(tables.size_units(run.particles))]
        size = tables.size_of(known[0], unit) if known else "equivalent_diameter"
        name = {"equivalent_diameter": "diameter", "max_feret": "length"}[size]
        column = f"{size}_{unit}"
        figures += [
            Figure(f"D50 error, % ({name}, by number, {unit})", _d50_error(column), 0, 1),
            Figure(f"D50 error of a micrograph, % (median, {unit})", _image_d50_error(column), -1, 1),
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


def _d50_error(column: str) -> Value:
    """Median of all measured particles over that of all annotated ones, % off, border particles left out."""

    def value(run: RunFiles) -> float | None:
        found, true = (tables.values(table, column) for table in (run.particles, run.truth_particles))
        return float(100.0 * (np.median(found) / np.median(true) - 1.0)) if len(found) and len(true) else None

    return value


def _image_d50_error(column: str) -> Value:
    """Median over micrographs of how far their D50 is off, %, whatever the sign.

    Of those with at least D50_PARTICLES annotated; one in which nothing was found is off by 100 %.
    """

    def value(run: RunFiles) -> float | None:
        found, true = (_by_image(table, column) for table in (run.particles, run.truth_particles))
        off = [
            abs(np.median(found[image]) / np.median(sample) - 1.0) if len(found.get(image, ())) else 1.0
            for image, sample in true.items()
            if len(sample) >= D50_PARTICLES
        ]
        return float(100.0 * np.median(off)) if off else None

    return value


def _by_image(table: pd.DataFrame | None, column: str) -> dict[Any, np.ndarray]:
    """The values of a column that each micrograph has."""
    if table is None or "image_id" not in table:
        return {}
    return {image: tables.values(some, column) for image, some in table.groupby("image_id")}


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


def _parameters(run: RunFiles) -> float | None:
    trained = _stage("train", "parameters_m")(run)
    return _stage("predict", "parameters_m")(run) if trained is None else trained


COST = [
    Figure("Training, minutes", _stage("train", "wall_s", 1 / 60), -1, 1, tested=False),
    Figure("Parameters that train, millions", _stage("train", "trainable_m"), 0, 2, tested=False),
    Figure("Parameters, millions", _parameters, 0, 2, tested=False),
    Figure("Weights on disk, MB", _stage("predict", "weights_mb"), -1, 1, tested=False),
    Figure("Peak memory of training, GB", _stage("train", "peak_memory_gb"), -1, 2, tested=False),
    Figure("Peak memory of prediction, GB", _stage("predict", "peak_memory_gb"), -1, 2, tested=False),
    Figure("Prediction, seconds a micrograph", _pace, -1, 2),
]

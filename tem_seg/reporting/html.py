"""report.html: one file that opens offline, drawn from the run's files without a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from tem_seg.data import results as results_file
from tem_seg.data.atomic import write_text
from tem_seg.data.coco import CocoDataset
from tem_seg.reporting import plots, tables
from tem_seg.reporting.against_truth import size_tables
from tem_seg.reporting.classification import named_shapes
from tem_seg.reporting.made import backend, made
from tem_seg.reporting.material import Matches, Material, matched_sizes
from tem_seg.reporting.page import KeyFigure, page
from tem_seg.reporting.paper import paper
from tem_seg.reporting.reliability import reliability
from tem_seg.reporting.views import views

THRESHOLDS = {"fixed": "papers", "best": "best on validation"}
LABELS = {"equivalent_diameter": "Equivalent diameter", "max_feret": "Length"}


@dataclass(frozen=True, slots=True)
class SizeSection:
    """All about sizes in one unit. against: annotated and predicted sizes side by side. bias: sentence on predicted
    minus annotated diameter, or "".
    """

    unit: str
    statistics: tables.Table
    against: list[tables.Table]
    plots: list[Markup]
    bias: str


def build_report(
    run_dir: Path,
    *,
    test: CocoDataset,
    results: list[dict[str, Any]],
    particles: pd.DataFrame,
    truth_particles: pd.DataFrame | None,
    metrics: dict[str, Any],
    curves: pd.DataFrame,
    run: dict[str, Any],
    matches: Matches | None,
    score: float,
    n_overlays: int = 6,
    measurement: dict[str, Any] | None = None,
) -> Path:
    """Writes ``run_dir/report.html`` (atomically) and returns its path. Formats: docs/results-format.md.

    test, results: the test split and predictions.json. particles, truth_particles: particles.csv and
    particles_truth.csv (None without annotation). metrics: metrics.json, {} where nothing was scored. curves:
    metrics.csv with a column ``step``, may be empty. run: run.json. measurement: measurement.json, {} or None where
    nothing was measured. matches: which annotation each prediction found (see ``Matches``), None without annotation.
    score: threshold in [0, 1]; predictions below it are neither drawn nor counted.
    Raises UserError where an image does not fit the dataset, ValueError where the arguments contradict each other.
    """
    rows = results_file.by_image(results, [image.id for image in test.images])
    material = Material(test, rows, matches, particles, truth_particles, metrics, curves, run, score, measurement or {})
    path = run_dir / "report.html"
    write_text(path, _render(material, n_overlays))
    return path


def _render(material: Material, n_overlays: int) -> str:
    return page(
        "report.html.j2",
        title=str(material.run.get("experiment") or "tem_seg run"),
        head=_head(material),
        flags=_flags(material),
        notes=_notes(material),
        key_figures=_key_figures(material),
        views=views(material, n_overlays),
        total=material.total() if material.matches is not None else None,
        score=material.score,
        n_images=len(material.test),
        sizes=[
            _size_section(material, unit) for unit in tables.size_units(material.particles, material.truth_particles)
        ],
        training=plots.training_curves(material.curves),
        detection=_detection(material),
        metric_tables=tables.metric_tables(material.metrics),
        shapes=named_shapes(material.metrics),
        paper=paper(material.run, material.metrics),
        particle_table=tables.particle_table(material.particles) if len(material.particles) else None,
        made=made(material.run),
        dataset=str(material.test.path),
    )


def _head(material: Material) -> list[tuple[str, str]]:
    run = material.run
    facts = {"back end": backend(run), "profile": run.get("profile"), "started": run.get("started")}
    known = [(name, str(value or "not recorded")) for name, value in facts.items()]
    return [*known, ("micrographs", f"{len(material.test):,}")]


def _flags(material: Material) -> list[str]:
    """What makes the figures below doubtful: shown first."""
    flags = [str(flag)[:1].upper() + str(flag)[1:] for flag in material.metrics.get("red_flags") or []]
    kept = sum(len(material.kept(image.id)) for image in material.test.images)
    if not kept and not flags:  # evaluation says so itself
        flags.append(f"No prediction reaches score {material.score:.3g} in any of {len(material.test)} micrographs.")
    return flags


def _notes(material: Material) -> list[str]:
    """What a reader should know, without it being wrong."""
    uncalibrated = sum(image.pixel_size_nm is None for image in material.test.images)
    notes = []
    if material.matches is None:
        notes.append("These micrographs are not annotated: predictions are shown and measured, but cannot be scored.")
    if uncalibrated:
        notes.append(f"{uncalibrated:,} of {len(material.test):,} micrographs carry no pixel size: measured in px.")
    found = [row for rows in material.rows.values() for row in rows]
    if found and all("rotated_box" in row and "segmentation" not in row for row in found):
        notes.append("The predictions hold rotated boxes without masks: these are drawn, and their sides measured.")
    elif not any("segmentation" in row for row in found):
        notes.append("The predictions hold no masks: boxes are drawn.")
    calibration = material.metrics.get("calibration") or {}
    notes += [
        f"{note[:1].upper()}{note[1:]}." for note in (calibration.get("note"), calibration.get("edge_note")) if note
    ]
    return notes


def _key_figures(material: Material) -> list[KeyFigure]:
    metrics = material.metrics
    figures = []
    if metrics.get("n_truths") is not None:
        kind = tables.KINDS[tables.headline(metrics)]
        n = f"n = {metrics['n_truths']:,} particles"
        for key, name, iou in (("ap", "AP", "0.50:0.95"), ("ap50", "AP50", "0.50"), ("ap75", "AP75", "0.75")):
            figures.append(KeyFigure(name, tables.cell(metrics.get(key), 3).text, f"{kind}, IoU {iou}; {n}"))
        figures += _threshold_figures(metrics, n)
    figures.append(_count_figure(material))
    return figures + [_size_figure(material, unit) for unit in tables.size_units(material.particles)]


def _threshold_figures(metrics: dict[str, Any], n: str) -> list[KeyFigure]:
    scored = metrics.get("at_iou50") or {}
    best = scored.get("best") or scored.get("fixed")
    if not best:
        return []
    chosen = "chosen on validation" if scored.get("best") else "the papers' threshold"
    note = f"IoU 0.5, score ≥ {tables.cell(best['score'], 2).text} ({chosen}); {n}"
    names = (("f1", "F1"), ("precision", "Precision"), ("recall", "Recall"))
    return [KeyFigure(name, tables.cell(best.get(key), 3).text, note) for key, name in names]


def _count_figure(material: Material) -> KeyFigure:
    cut = tables.on_border(material.particles)
    return KeyFigure(
        "Particles measured",
        f"{len(material.particles):,}",
        f"in {len(material.test):,} micrographs; {cut:,} cut by the border",
    )


def _size_figure(material: Material, unit: str) -> KeyFigure:
    size = tables.size_of(material.particles, unit)
    sample = tables.sample(material.particles, f"{size}_{unit}")
    middle, spread = (
        f"{value:.3g}" if np.isfinite(value) else tables.UNDEFINED
        for value in (sample.quantiles([0.5])[0], sample.mean_and_sd()[1])
    )
    weighted = ", weighted" if sample.weighted else ""
    return KeyFigure(LABELS[size], f"{middle} ± {spread} {unit}",
                     f"median ± SD of n = {len(sample.values):,} whole particles{weighted}")  # fmt: skip


def _size_section(material: Material, unit: str) -> SizeSection:
    truth = material.truth_particles
    size = tables.size_of(material.particles, unit)
    diameter = f"{size}_{unit}"
    columns = {diameter: f"{LABELS[size].lower()} ({unit})", f"min_feret_{unit}": f"min Feret ({unit})",
               "aspect_ratio": "aspect ratio"}  # fmt: skip
    of_unit = [tables.measured_in(frame, unit) for frame in (material.particles, truth)]
    drawn = []
    for column, label in columns.items():
        measured, annotated = (tables.sample(frame, column) for frame in of_unit)
        if len(measured.values) or len(annotated.values):
            drawn.append(plots.size_histogram(measured, annotated if truth is not None else None, label))
    samples = [("predicted", tables.sample(material.particles, diameter))]
    if truth is not None:
        samples.append(("annotated", tables.sample(truth, diameter)))
    pairs = matched_sizes(material, calibrated=unit == "nm")
    if len(pairs):
        drawn.append(plots.scatter(pairs, unit, LABELS[size].lower()))
    compared = size_tables(material.measurement, unit)
    return SizeSection(unit, tables.size_table(samples, unit, size), compared, drawn, _bias(pairs, size))


def _bias(pairs: NDArray[np.float64], size: str) -> str:
    if len(pairs) < 2:
        return ""
    percent = 100.0 * (pairs[:, 1] / pairs[:, 0] - 1.0)
    return (
        f"Of {len(pairs):,} matched whole particles, the predicted {LABELS[size].split()[-1].lower()} is off by "
        f"{float(np.median(percent)):+.1f} % (median), with a scatter of {percent.std(ddof=1):.1f} % (SD); from "
        f"{'areas' if size == 'equivalent_diameter' else 'the long sides of rotated boxes'}."
    )


def _detection(material: Material) -> list[Markup]:
    curves = material.metrics.get("curves")
    if not curves or not material.metrics.get("n_truths"):
        return []
    scored = material.metrics.get("at_iou50") or {}
    thresholds = {name: scored[key] for key, name in THRESHOLDS.items() if scored.get(key)}
    diagram = reliability(material.metrics.get("calibration") or {})
    drawn = [plots.precision_recall(curves["pr"], thresholds), plots.f1_over_score(curves["f1"], thresholds)]
    return drawn if diagram is None else [*drawn, diagram]

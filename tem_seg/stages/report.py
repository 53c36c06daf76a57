"""report: report.html, drawn from the run's files alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.data import results as results_file
from tem_seg.data.results import classifies
from tem_seg.evaluation.inputs import headline_of
from tem_seg.evaluation.matching import Matching, match_dataset
from tem_seg.measurement.particles import read_table
from tem_seg.reporting.classification import build_classification_report
from tem_seg.reporting.html import build_report
from tem_seg.stages import common, rundir
from tem_seg.stages.measure import chosen_score


def matches_of(matchings: dict[int, Matching], results: list[dict[str, Any]]) -> dict[int, list[int]]:
    """One entry for every prediction of an image: the annotation it found, or -1."""
    counts = Counter(row["image_id"] for row in results)
    found = {image: [-1] * counts[image] for image in matchings}
    for image, matching in matchings.items():
        for position, truth in zip(matching.positions, matching.matched, strict=True):
            found[image][int(position)] = int(truth)
    return found


def run(cfg: DictConfig, run_dir: Path) -> None:
    """Gathers the run's files and writes the report; what is missing is left out there, and said."""
    dataset = common.needed(cfg, run_dir, "test")
    results, info = results_file.read(run_dir / "predictions.json")
    if classifies(info):
        return _classification(run_dir)
    metrics, curves = run_dir / "metrics.json", run_dir / "metrics.csv"
    measurement = run_dir / "measurement.json"
    particles, truths = run_dir / "particles.csv", run_dir / "particles_truth.csv"
    kind = headline_of(dataset, results)
    matchings = match_dataset(dataset, results, iou_type=kind, class_agnostic=cfg.evaluation.class_agnostic)
    build_report(
        run_dir,
        test=dataset,
        results=results,
        particles=read_table(particles) if particles.is_file() else pd.DataFrame(),
        truth_particles=read_table(truths) if truths.is_file() else None,
        metrics=atomic.read_json(metrics) if metrics.is_file() else {},
        curves=pd.read_csv(curves) if curves.is_file() else pd.DataFrame({"step": []}),
        run=rundir.read(run_dir),
        matches=matches_of(matchings, results) if dataset.count else None,
        score=chosen_score(cfg, run_dir),
        n_overlays=cfg.report.n_overlays,
        measurement=atomic.read_json(measurement) if measurement.is_file() else {},
    )


def _classification(run_dir: Path) -> None:
    """The report of a classifier, from its metrics.json."""
    curves = run_dir / "metrics.csv"
    if not (run_dir / "metrics.json").is_file():
        raise UserError(f"{run_dir} has no metrics.json: run the 'evaluate' stage before the report of a classifier")
    build_classification_report(
        run_dir,
        metrics=atomic.read_json(run_dir / "metrics.json"),
        curves=pd.read_csv(curves) if curves.is_file() else pd.DataFrame({"step": []}),
        run=rundir.read(run_dir),
    )

"""measure: particles.csv from the predictions of the test split, particles_truth.csv from its annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.data import results as results_file
from tem_seg.data.annotations import has_rotated_boxes
from tem_seg.data.coco import CocoDataset
from tem_seg.evaluation.calibration import applied
from tem_seg.measurement.particles import particle_table, write_table
from tem_seg.stages import common


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Particles of at least the chosen score, from masks or rotated boxes, in nm where the micrograph is calibrated."""
    dataset = common.needed(cfg, run_dir, "test")
    results, _ = results_file.read(run_dir / "predictions.json")
    score = chosen_score(cfg, run_dir)
    results = applied(results, _metrics(run_dir).get("calibration"))
    particles = particle_table(dataset, _measurable(dataset, results), min_score=score)
    write_table(run_dir / "particles.csv", particles)
    if dataset.count and dataset.has_rotated_boxes:  # upright boxes say nothing of sizes
        write_table(run_dir / "particles_truth.csv", particle_table(dataset, dataset.annotations))
    return {"min_score": score, "particles": len(particles)}


def chosen_score(cfg: DictConfig, run_dir: Path) -> float:
    """measurement.min_score, else the score chosen on the validation split, else the papers' threshold."""
    if cfg.measurement.min_score is not None:
        return float(cfg.measurement.min_score)
    best = (_metrics(run_dir).get("at_iou50") or {}).get("best")
    return float(best["score"]) if best else float(cfg.evaluation.score)


def _metrics(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "metrics.json"
    found: dict[str, Any] = atomic.read_json(path) if path.is_file() else {}
    return found


def _measurable(dataset: CocoDataset, results: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    if not has_rotated_boxes(results):
        raise UserError(
            "the predictions hold upright boxes: sizes are measured on masks or rotated boxes, leave out the 'measure' "
            "stage"
        )
    return results_file.by_image(results, [image.id for image in dataset.images])

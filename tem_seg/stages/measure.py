"""measure: particles.csv from the predictions of the test split, particles_truth.csv from its annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.data import results as results_file
from tem_seg.data.coco import CocoDataset
from tem_seg.measurement.particles import particle_table, write_table
from tem_seg.stages import common


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Particles of at least the chosen score, in nm where the micrograph is calibrated."""
    dataset = common.needed(cfg, run_dir, "test")
    results, _ = results_file.read(run_dir / "predictions.json")
    score = chosen_score(cfg, run_dir)
    particles = particle_table(dataset, _with_masks(dataset, results), min_score=score)
    write_table(run_dir / "particles.csv", particles)
    truths = particle_table(dataset, dataset.annotations)
    if len(truths):
        write_table(run_dir / "particles_truth.csv", truths)
    return {"min_score": score, "particles": len(particles)}


def chosen_score(cfg: DictConfig, run_dir: Path) -> float:
    """measurement.min_score, else the F1-best score of the validation split, else the papers' threshold."""
    if cfg.measurement.min_score is not None:
        return float(cfg.measurement.min_score)
    path = run_dir / "metrics.json"
    best = (atomic.read_json(path).get("at_iou50") or {}).get("best") if path.is_file() else None
    return float(best["score"]) if best else float(cfg.evaluation.score)


def _with_masks(dataset: CocoDataset, results: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    if results and "segmentation" not in results[0]:
        raise UserError(
            "the predictions hold boxes without masks: sizes are measured on masks, leave out the 'measure' stage"
        )
    return results_file.by_image(results, [image.id for image in dataset.images])

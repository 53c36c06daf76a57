"""measure: particles.csv from the predictions of the test split, particles_truth.csv from its annotations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tem_seg.core import seeds
from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.data import results as results_file
from tem_seg.data.annotations import has_rotated_boxes
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.data.images import read_micrograph
from tem_seg.evaluation.calibration import applied
from tem_seg.measurement.against_truth import against_truth
from tem_seg.measurement.arrangement import agglomerate_table, arrangement
from tem_seg.measurement.counting import Rules
from tem_seg.measurement.particles import Counted, counted, covered_px, write_table
from tem_seg.stages import common

Rows = Mapping[int, list[dict[str, Any]]]


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Particles of at least the chosen score, from masks or rotated boxes, in nm where the micrograph is calibrated.

    Beside the tables: agglomerates.csv, and measurement.json with what each counting rule did and how particles lie.
    """
    dataset = common.needed(cfg, run_dir, "test")
    results, _ = results_file.read(run_dir / "predictions.json")
    score = chosen_score(cfg, run_dir)
    rows = _measurable(dataset, applied(results, _known(run_dir).get("calibration")))
    found, about = _measure(cfg, dataset, rows, score)
    write_table(run_dir / "particles.csv", found.particles)
    write_table(run_dir / "agglomerates.csv", agglomerate_table(found.measured))
    truths, against = None, None
    if dataset.count and dataset.has_rotated_boxes:  # upright boxes say nothing of sizes
        annotated, truths = _measure(cfg, dataset, dataset.annotations, 0.0)
        write_table(run_dir / "particles_truth.csv", annotated.particles)
        against = against_truth(found.particles, annotated.particles, seeds.child_rng(cfg.seed, "against truth"))
    notes = {"min_score": score, "rules": _rules(cfg), "particles": about, "particles_truth": truths}
    notes |= {"against_truth": against}
    atomic.write_json(run_dir / "measurement.json", notes)
    for effect in found.effects:
        print(f"  {effect}", flush=True)
    return {"min_score": score, "particles": len(found.particles)}


def _measure(cfg: DictConfig, dataset: CocoDataset, rows: Rows, score: float) -> tuple[Counted, dict[str, Any]]:
    """The particles, and what measurement.json says of them."""
    pixels = _pixels if cfg.measurement.grey_levels else None
    rules = Rules(**_rules(cfg))
    found = counted(dataset, rows, rules, min_score=score, subpixel=cfg.measurement.subpixel, pixels=pixels)
    lie = arrangement(
        found.measured, dataset.images, covered_px(dataset, rows, score), seeds.child_rng(cfg.seed, "arrangement")
    )
    effects = [effect.to_json() for effect in found.effects]
    counts = {"measured": len(found.measured), "counted": len(found.particles)}
    return found, counts | {"effects": effects, "arrangement": lie}


def _rules(cfg: DictConfig) -> dict[str, Any]:
    names = ("border", "touching", "overlapping", "aggregated")
    chosen = {name: cfg.measurement[name].value for name in names}
    return chosen | {"neck": cfg.measurement.neck, "min_size_px": cfg.measurement.min_size_px}


def _pixels(image: ImageRecord) -> Any:
    return read_micrograph(image.path).pixels


def chosen_score(cfg: DictConfig, run_dir: Path) -> float:
    """measurement.min_score, else the score chosen on a validation split (the run's, or that of the weights), else the
    papers' threshold."""
    if cfg.measurement.min_score is not None:
        return float(cfg.measurement.min_score)
    known = _known(run_dir)
    best = (known.get("at_iou50") or {}).get("best")
    carried = known.get("counting_score")
    return float(best["score"] if best else cfg.evaluation.score if carried is None else carried)


def _known(run_dir: Path) -> dict[str, Any]:
    """metrics.json; of predictions that have not been evaluated what they say themselves: their weights may be
    calibrated."""
    path = run_dir / "metrics.json"
    found: dict[str, Any] = atomic.read_json(path) if path.is_file() else {}
    return found or results_file.read(run_dir / "predictions.json")[1]


def _measurable(dataset: CocoDataset, results: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    if not has_rotated_boxes(results):
        raise UserError(
            "the predictions hold upright boxes: sizes are measured on masks or rotated boxes, leave out the 'measure' "
            "stage"
        )
    return results_file.by_image(results, [image.id for image in dataset.images])

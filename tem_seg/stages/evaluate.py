"""evaluate: predictions*.json against the datasets → metrics.json. Anybody's predictions will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tem_seg.data import atomic
from tem_seg.data import results as results_file
from tem_seg.data.coco import CocoDataset
from tem_seg.evaluation.inputs import has_masks
from tem_seg.evaluation.matching import best_f1_score, match_dataset
from tem_seg.evaluation.metrics import compute_metrics
from tem_seg.stages import common
from tem_seg.stages.common import PREDICTION_FILES as FILES


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Chooses the F1-best score on validation, scores the test split with it, and the other splits for comparison."""
    loaded = {split: _load(cfg, run_dir, split) for split in FILES if (run_dir / FILES[split]).is_file()}
    best = _best_score(cfg, loaded.get("val"))

    def figures(split: str) -> dict[str, Any]:
        dataset, results, info = loaded[split]
        return compute_metrics(
            dataset, results, info, max_instances=cfg.max_instances, score=cfg.evaluation.score, best_score=best,
            class_agnostic=cfg.evaluation.class_agnostic,
        )  # fmt: skip

    splits = {split: figures(split) for split in loaded}
    others = {s: {k: m[k] for k in ("ap", "ap50", "ap75", "f1", "n_images", "n_truths")}
              for s, m in splits.items() if s != "test"}  # fmt: skip
    atomic.write_json(run_dir / "metrics.json", {**splits["test"], "splits": others}, indent=1)
    return {"best_score": best}


def _load(cfg: DictConfig, run_dir: Path, split: str) -> tuple[CocoDataset, list[dict[str, Any]], dict[str, Any]]:
    """The predictions of a split, and exactly the images that were predicted."""
    results, info = results_file.read(run_dir / FILES[split])
    dataset = common.needed(cfg, run_dir, split)
    return dataset.only(info.get("image_ids")), results, info


def _best_score(
    cfg: DictConfig, validation: tuple[CocoDataset, list[dict[str, Any]], dict[str, Any]] | None
) -> float | None:
    if validation is None:
        return None
    dataset, results, _ = validation
    kind = "segm" if has_masks(results) else "bbox"
    matchings = match_dataset(dataset, results, iou_type=kind, class_agnostic=cfg.evaluation.class_agnostic)  # type: ignore[arg-type]
    return best_f1_score(matchings.values())

"""evaluate: predictions*.json against the datasets → metrics.json. Anybody's predictions will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from tem_seg.data import atomic
from tem_seg.data import results as results_file
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import classifies
from tem_seg.evaluation.calibration import counting_score, score_figures
from tem_seg.evaluation.classification import classification_metrics, named_metrics
from tem_seg.evaluation.edge_spread import edge_figures
from tem_seg.evaluation.inputs import headline_of
from tem_seg.evaluation.matching import Matching, match_dataset
from tem_seg.evaluation.metrics import compute_metrics
from tem_seg.stages import common
from tem_seg.stages.common import PREDICTION_FILES as FILES


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Chooses on validation the score from which predictions count, scores the test split with it, and the others."""
    if classifies(results_file.read(run_dir / FILES["test"])[1]):
        return _classification(cfg, run_dir)
    loaded = {split: _load(cfg, run_dir, split) for split in FILES if (run_dir / FILES[split]).is_file()}
    matched: dict[str, dict[int, Matching]] = {
        split: _matched(cfg, *loaded[split][:2]) for split in ("val", "test") if split in loaded
    }
    carried = loaded["test"][2]
    best = _counting_score(matched.get("val"), carried.get("counting_score"))

    def figures(split: str) -> dict[str, Any]:
        dataset, results, info = loaded[split]
        return compute_metrics(
            dataset, results, info, max_instances=cfg.max_instances, score=cfg.evaluation.score, best_score=best,
            class_agnostic=cfg.evaluation.class_agnostic, boundary_px=cfg.evaluation.boundary_px,
            whole_image=cfg.evaluation.whole_image,
        )  # fmt: skip

    splits = {split: figures(split) for split in loaded}
    others = {s: {k: m[k] for k in ("ap", "ap50", "ap75", "f1", "n_images", "n_truths")}
              for s, m in splits.items() if s != "test"}  # fmt: skip
    shapes = named_metrics(*loaded["test"][:2], min_score=_counts_from(best))
    if shapes is not None:
        splits["test"] |= {"shapes": shapes | {"labels_note": cfg.dataset.labels_note}}
    atomic.write_json(
        run_dir / "metrics.json",
        {**splits["test"], "calibration": _calibration(loaded, matched, best, carried), "splits": others},
        indent=1,
    )
    return {"best_score": best}


def _classification(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """metrics.json of a classifier."""
    splits: dict[str, dict[str, Any]] = {}
    test: dict[str, Any] = {}
    for split in (name for name in FILES if (run_dir / FILES[name]).is_file()):
        dataset, results, info = _load(cfg, run_dir, split)
        splits[split] = classification_metrics(dataset, results)
        test = info if split == "test" else test
    kept = ("accuracy", "balanced_accuracy", "log_loss", "n", "n_images")
    others = {s: {key: found[key] for key in kept} for s, found in splits.items() if s != "test"}
    note = {"labels_note": cfg.dataset.labels_note}
    about = {"start": test.get("start"), "backbone": test.get("backbone"), **note}
    if "micrographs" in splits["test"]:
        about["micrographs"] = splits["test"]["micrographs"] | note
    atomic.write_json(run_dir / "metrics.json", {**splits["test"], **about, "splits": others}, indent=1)
    return {"balanced_accuracy": splits["test"]["balanced_accuracy"]}


def _counting_score(validation: dict[int, Matching] | None, carried: float | None) -> float | None:
    """Chosen on validation; where there is none, the score that the weights come with, or None."""
    return carried if validation is None else counting_score(validation.values(), carried)


def _counts_from(best: float | None) -> float:
    """The counting score, or all predictions where none could be chosen."""
    return best if best is not None and np.isfinite(best) else 0.0


def _load(cfg: DictConfig, run_dir: Path, split: str) -> tuple[CocoDataset, list[dict[str, Any]], dict[str, Any]]:
    """The predictions of a split, and exactly the images that were predicted."""
    results, info = results_file.read(run_dir / FILES[split])
    dataset = common.needed(cfg, run_dir, split)
    return dataset.only(info.get("image_ids")), results, info


def _matched(cfg: DictConfig, dataset: CocoDataset, results: list[dict[str, Any]]) -> dict[int, Matching]:
    kind = headline_of(dataset, results)
    return match_dataset(dataset, results, iou_type=kind, class_agnostic=cfg.evaluation.class_agnostic)


def _calibration(
    loaded: dict[str, tuple[CocoDataset, list[dict[str, Any]], dict[str, Any]]],
    matched: dict[str, dict[int, Matching]], best: float | None, info: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Scores and edges, fitted on validation; edges on the particles that count as found there. What cannot be fitted
    is as the weights come with it, if they do (``info`` of the predictions)."""
    carried = info.get("calibration")
    figures = score_figures(matched["val"].values() if "val" in matched else None, matched["test"].values(), carried)
    if "val" in loaded:
        dataset, results, _ = loaded["val"]
        edges = edge_figures(dataset, results, matched["val"], min_score=_counts_from(best))
    else:
        edges = {"edge_sd_factor": None, "edge_n": 0, "edge_note": "there are no validation predictions"}
    if edges["edge_sd_factor"] is None and carried is not None:
        edges = {key: carried[key] for key in edges}
    return figures | edges | {"look": info.get("look")}

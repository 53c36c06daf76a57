"""A finished run's folder → its weights, and what its validation said of how to use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tem_seg.core.errors import UserError
from tem_seg.data import results
from tem_seg.data.results import classifies
from tem_seg.evaluation.calibration import CARRIED
from tem_seg.models import restore

AGAIN = "run its stages predict and evaluate again (run_dir=… 'stages=[predict,evaluate]')"


def of_run(folder: Path) -> tuple[Path, dict[str, Any]]:
    """folder: of a run that was evaluated → its checkpoint, and what that says of itself; ``counting_score`` and
    ``calibration`` (with its ``look``) are those of the run.

    Raises UserError for a folder that is none, and for runs without one checkpoint that finds particles.
    """
    for name in ("predictions.json", "metrics.json"):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is no run that was evaluated, it has no {name}: {AGAIN}, or give a checkpoint file"
            )
    info = results.read(folder / "predictions.json")[1]
    path = _checkpoint(folder, info)
    metrics = json.loads((folder / "metrics.json").read_text())
    calibration = metrics["calibration"]
    if calibration.get("look") is None:
        raise UserError(f"{folder} does not say how it looked at micrographs, as runs do now: {AGAIN}")
    best = metrics["at_iou50"]["best"]
    carried = {"counting_score": best and best["score"], "calibration": {key: calibration[key] for key in CARRIED}}
    return path, restore.about_of(path) | carried


def _checkpoint(folder: Path, info: dict[str, Any]) -> Path:
    """What predicted: in the folder, which may have been moved, or where the predictions say."""
    if classifies(info):
        raise UserError(f"{folder} is the run of a classifier, which finds no particles")
    if info.get("ensemble"):
        raise UserError(f"{folder} is the run of an ensemble, of {info['ensemble'][0]} and others: give the run of one")
    if not info.get("checkpoint"):
        raise UserError(f"{folder} is the run of a model without weights: give the folder of one that was trained")
    named = Path(info["checkpoint"])
    inside = folder / "checkpoints" / named.name
    return inside if inside.is_file() else named

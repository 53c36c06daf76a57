"""What scripts/known_truth.py says of a few small micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_truth import figures

from tem_seg.data import coco


def test_masks_given_have_the_sizes_that_were_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("known_truth.SIZE_PX", 320)
    diameter, feret = figures("polylatex_silica", 3, tmp_path, None)
    assert diameter["true_particles"] >= diameter["pairs"] == diameter["measured_particles"] > 20
    assert abs(diameter["bias_px"]) < 0.03
    assert abs(diameter["d50_percent"]) < 1
    assert -0.5 < feret["bias_px"] < 0


class Perfect:
    """A segmenter that finds what was drawn, each with another score, in images as they come."""

    min_score = 0.5

    def __init__(self, dataset: Path) -> None:
        self.dataset, self.asked = dataset, 0

    def __call__(self, pixels: np.ndarray) -> tuple[list[dict[str, Any]], bool]:
        self.asked += 1
        entries = coco.read(self.dataset).annotations[self.asked]
        scores = np.linspace(0.9, 0.6, len(entries)).tolist()
        rows = [{"category_id": 1, "bbox": e["bbox"], "segmentation": e["segmentation"]} for e in reversed(entries)]
        missed = rows[0] | {"score": 0.4}
        return [*(row | {"score": score} for row, score in zip(rows, scores, strict=True)), missed], False


def test_predictions_are_held_against_their_own_particles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in the opposite order, each is still measured against itself; what lies below the score does not count."""
    monkeypatch.setattr("known_truth.SIZE_PX", 320)
    perfect: Any = Perfect(tmp_path / "set" / "test" / "dataset.json")
    given, _, predicted, _ = figures("polylatex_silica", 3, tmp_path, perfect)
    same = ("pairs", "bias_px", "sd_px", "measured_particles", "all_d50_percent")
    assert {key: given[key] for key in same} == {key: predicted[key] for key in same}

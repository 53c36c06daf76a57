"""From which score particles count, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_scenes import Bright
from torch import Tensor

from tem_seg.analysis import SETTINGS, settle
from tem_seg.analysis.segment import WHOLE, Segmenter, counting_score, load
from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction
from tem_seg.inference.predict import Predictor
from tem_seg.models import checkpoint
from tem_seg.models.contract import SegmentationModel


def test_where_the_counting_score_comes_from() -> None:
    known = {"counting_score": 0.37, "calibration": {"temperature": 2.0, "bias": 0.0}}
    assert counting_score(known, 0.9) == (0.9, "given (--min-score)")
    assert counting_score(known) == (0.37, "calibrated on validation")
    # confidence = sigmoid(logit(score) / 2 + 1) is 0.5 where logit(score) = -2
    score, source = counting_score({"calibration": {"temperature": 2.0, "bias": 1.0}})
    assert score == pytest.approx(0.1192, abs=1e-4) and source == "confidence 0.5, calibrated"
    assert counting_score({})[0] == 0.5 and "no calibration" in counting_score({})[1]


def test_files_that_are_no_checkpoint_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at .*nothing.ckpt: give the folder of a run, a checkpoint file"):
        load(str(tmp_path / "nothing.ckpt"))
    checkpoint.write(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="does not say which classes it knows"):
        load(str(tmp_path / "a.safetensors"))
    checkpoint.write(tmp_path / "b.safetensors", {"x": torch.zeros(1)}, {"categories": ["a"], "masks": False})
    with pytest.raises(UserError, match="upright boxes, which have no size"):
        load(str(tmp_path / "b.safetensors"))


def crowded(visible: int, capped_from: float = 1.0) -> Segmenter:
    """Finds as many of ``visible`` particles as its cap allows; says that it is capped where the cap is smaller than
    ``capped_from`` times what is visible."""
    asked: list[int] = []

    def model(cap: int) -> SegmentationModel:
        asked.append(cap)
        return OfCap(cap, visible, capped_from).eval()

    segmenter = Segmenter(model, Predictor(max_instances=WHOLE), ["particle"], {}, 0.5, "", {"asked": asked})
    return segmenter


class OfCap(Bright):
    def __init__(self, cap: int, visible: int, capped_from: float) -> None:
        super().__init__()
        self.cap, self.visible, self.capped_from = cap, visible, capped_from

    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        count = min(self.cap, self.visible)
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1)) + np.arange(count, dtype=np.float32)[:, None]
        scores = np.full(count, 0.9, np.float32)
        capped = self.cap <= self.capped_from * self.visible
        return [Prediction(boxes, np.zeros(count, np.int64), scores, capped=capped)]


@pytest.mark.parametrize(
    ("visible", "capped_from", "caps", "capped"),
    [
        (300, 1.0, [1000], False),
        (1500, 1.0, [1000, 2000], False),  # the second look finds all
        (300, 9.0, [1000, 2000], False),  # places were capped, no particle: twice as many find no more
        (9000, 1.0, [1000, 2000, 4000, 8000], True),
    ],
)
def test_a_cap_is_told_only_if_it_cost_particles(
    visible: int, capped_from: float, caps: list[int], capped: bool
) -> None:
    segmenter = crowded(visible, capped_from)
    rows, told = segmenter(np.zeros((40, 40), np.float32))
    assert (len(rows), told) == (min(visible, 8000), capped)
    assert segmenter.identity["asked"] == caps


def test_nothing_below_the_counting_score_is_segmented() -> None:
    segmenter = load("starter", 0.7)
    model = segmenter.model(1000)
    assert model.spec.min_score == segmenter.predictor.min_score == 0.7  # type: ignore[union-attr]
    assert segmenter.model(1000) is model and segmenter.predictor.scales == (1.0,)
    assert load("starter", 0.9).predictor.min_score == 0.7, "sure particles choose the magnification"
    given = load("starter", 0.7, 2.0)
    assert given.identity != segmenter.identity
    assert segmenter.predictor.find_scale and not given.predictor.find_scale and given.predictor.scales == (2.0,)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("own", [None, "7"])
def test_settings_of_the_environment_are_made_unless_the_user_made_them(
    own: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, own or "")
    if own is None:
        monkeypatch.delenv(name)
    settle()
    assert os.environ[name] == (own or SETTINGS[name])

"""From which score particles count, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tem_seg.analysis.segment import counting_score, load
from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint


def test_where_the_counting_score_comes_from() -> None:
    known = {"counting_score": 0.37, "calibration": {"temperature": 2.0, "bias": 0.0}}
    assert counting_score(known, 0.9) == (0.9, "given (--min-score)")
    assert counting_score(known) == (0.37, "calibrated on validation, in the checkpoint")
    # confidence = sigmoid(logit(score) / 2 + 1) is 0.5 where logit(score) = -2
    score, source = counting_score({"calibration": {"temperature": 2.0, "bias": 1.0}})
    assert score == pytest.approx(0.1192, abs=1e-4) and source == "confidence 0.5, calibrated"
    assert counting_score({})[0] == 0.5 and "no calibration" in counting_score({})[1]


def test_files_that_are_no_checkpoint_of_ours(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="does not say which classes it knows"):
        load(str(tmp_path / "a.safetensors"))
    checkpoint.write(tmp_path / "b.safetensors", {"x": torch.zeros(1)}, {"categories": ["a"], "masks": False})
    with pytest.raises(UserError, match="upright boxes, which have no size"):
        load(str(tmp_path / "b.safetensors"))

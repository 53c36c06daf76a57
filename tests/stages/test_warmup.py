"""A warm-up that is longer than half of the training is cut, and said."""

from __future__ import annotations

import pytest

from tem_seg.stages.train import warmup_taken


@pytest.mark.parametrize(
    ("steps", "asked", "taken"), [(100, 50, 50), (100, 0, 0), (100, 51, 50), (5, 200, 3), (1, 1, 1)]
)
def test_at_most_half_of_the_training(steps: int, asked: int, taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert warmup_taken(steps, asked) == taken
    said = f"  warm-up takes {taken} steps, half of the training, and not train.warmup_steps={asked}\n"
    assert capsys.readouterr().out == (said if taken < asked else "")

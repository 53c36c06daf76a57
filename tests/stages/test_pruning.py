"""Trainings that are ended early: the median rule counted by hand, and what becomes of the job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig
from sweep_jobs import CFG, job

from tem_seg.stages import pruning, sweep_job
from tem_seg.stages.sweep_job import Job, Prune


def finished(number: int, at_200: float, experiment: str = "gold") -> Job:
    whole = job(number, state="complete", figure=0.5, validations=[[200, at_200], [400, 0.9]])
    return replace(whole, experiment=experiment)


@pytest.mark.parametrize(
    ("mine", "after", "from_step", "ends"),
    [
        (0.15, 3, 0, True),
        (0.25, 3, 0, False),
        (0.15, 4, 0, False),
        (0.15, 3, 200, True),
        (0.15, 3, 201, False),
        (0.2, 3, 0, False),
    ],
)  # fmt: skip
def test_the_median_of_the_finished_ones_decides(mine: float, after: int, from_step: int, ends: bool) -> None:
    others = [finished(0, 0.1), finished(1, 0.2), finished(2, 0.3)]  # median 0.2
    noise = [finished(5, 0.9, "another experiment"), job(6, state="failed"), job(7, validations=[[200, 0.9]])]
    young = job(9, validations=[[200, mine]])
    assert pruning.below_median(young, Prune(after, from_step), [*others, *noise]) is ends


def test_a_training_that_falls_behind_is_ended_and_kept_out_of_the_other_stages(folder: Path) -> None:
    for number, value in enumerate((0.4, 0.5, 0.6)):
        sweep_job.write(folder.parent / str(number), finished(number, value))
    sweep_job.write(folder, job(3, prune=Prune(after_trials=2, from_step=0)))

    def run(cfg: DictConfig) -> float:
        judge = pruning.judge()
        assert judge is not None
        assert not judge(100, {"val/ap50": 0.1}, False), "another figure"
        assert not judge(200, {"val/ap": 0.55}, False)
        assert not judge(400, {"val/ap": 0.1}, True), "at the last step nothing is left to save"
        pruning.check_not_ended()
        assert judge(200, {"val/ap": 0.3}, False), "a resumed training validates again"
        pruning.check_not_ended()
        raise AssertionError("it went on")

    assert sweep_job.kept(run, CFG) == 0.3
    found = sweep_job.read(folder)
    assert found and found.state == "pruned" and found.figure == 0.3 and found.validations == [[200, 0.3]]
    assert found.error == (
        "ended at step 200: ap 0.300 on validation, below the median of the finished trainings (at least 2)"
    )

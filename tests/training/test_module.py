"""Learning rate, weight decay, divergence: what the loop does around a model."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_scenes import TinyModel

from tem_seg.core.errors import UserError
from tem_seg.models.contract import Target
from tem_seg.training.module import TrainingModule, learning_rate_factor, parameter_groups


@pytest.mark.parametrize(("steps", "warmup"), [(1000, 200), (900, 100), (10, 5), (4, 1)])
def test_learning_rate_in_closed_form(steps: int, warmup: int) -> None:
    factor = learning_rate_factor(steps, warmup)
    for step in range(steps):
        if step < warmup:
            expected = 0.01 + 0.99 * step / warmup
        else:
            expected = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        assert factor(step) == pytest.approx(expected, abs=1e-9)
    assert factor(steps) == pytest.approx(0.0, abs=1e-6)


def test_a_run_s_length_only_stretches_the_schedule() -> None:
    short, long = learning_rate_factor(100, 20), learning_rate_factor(1000, 200)
    assert [short(k) for k in range(100)] == pytest.approx([long(10 * k) for k in range(100)], abs=1e-9)


def test_warm_up_is_at_most_half_of_the_training_and_may_be_none() -> None:
    assert learning_rate_factor(10, 500)(5) == pytest.approx(1.0)
    assert learning_rate_factor(10, 0)(1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 10)), abs=1e-5)


def test_biases_and_norms_are_not_decayed() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    model[0].weight.requires_grad_(False)
    decayed, plain = parameter_groups(model)
    assert [p.shape for p in decayed["params"]] == [(3, 8)] and "weight_decay" not in decayed
    assert len(plain["params"]) == 4 and plain["weight_decay"] == 0.0


class Broken(TinyModel):
    """Its loss is what it is told."""

    value = float("nan")

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        return {"loss_box": torch.tensor(1.5), "loss_mask": torch.tensor(self.value)}


def module_of(model: TinyModel, **changes: Any) -> TrainingModule:
    options = {"optimizer": partial(torch.optim.SGD, lr=0.1), "steps": 4, "warmup_steps": 1, "clip_norm": 1.0,
               "seed": 0, "scorers": {}, "about": {"family": "tiny"}}  # fmt: skip
    return TrainingModule(model, **(options | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_is_an_error_with_a_cure(value: float) -> None:
    model = Broken()
    model.value = value
    with pytest.raises(UserError, match=r"training diverged at step 0 \(loss_box 1.5, loss_mask (nan|inf)\)") as error:
        module_of(model).training_step(([], []), 0)
    for cure in ("optimizer.lr", "train.warmup_steps", "trainer.precision=32-true"):
        assert cure in str(error.value)


def test_gradients_are_scaled_down_to_the_norm() -> None:
    model = TinyModel()
    module = module_of(model, clip_norm=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    module.on_before_optimizer_step(SimpleNamespace())  # type: ignore[arg-type]
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(0.5, rel=1e-4)


def test_a_checkpoint_says_what_its_weights_are() -> None:
    checkpoint: dict[str, Any] = {}
    module_of(TinyModel()).on_save_checkpoint(checkpoint)
    assert checkpoint == {"tem_seg": {"family": "tiny"}}


def test_the_optimizer_gets_the_schedule_by_step() -> None:
    made = module_of(TinyModel(), steps=100, warmup_steps=50).configure_optimizers()
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["optimizer"].param_groups[0]["lr"] == pytest.approx(0.1 * 0.01)

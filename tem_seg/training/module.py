"""The one training loop: a model that keeps the contract, as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from fvcore.common.param_scheduler import CompositeParamScheduler, CosineParamScheduler, LinearParamScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_seed
from tem_seg.models.contract import SegmentationModel, Target

Scores = dict[str, float]
Scorer = Callable[[SegmentationModel], Scores]


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weights in one group, biases and norm parameters in another without weight decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trainable if p.ndim > 1]
    plain = [p for p in trainable if p.ndim <= 1]
    return [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]


def most_warmup(steps: int) -> int:
    """Steps of warm-up that a training may have: half of it."""
    return -(-steps // 2)


def learning_rate_factor(steps: int, warmup_steps: int) -> Callable[[int], float]:
    """Step → factor of the base rate: linear warm-up from 1 %, then half a cosine to zero."""
    warmup = min(warmup_steps, most_warmup(steps)) / steps
    warmup = min(max(warmup, 1e-6), 1 - 1e-6)  # neither part may be empty
    schedule = CompositeParamScheduler(
        [LinearParamScheduler(0.01, 1.0), CosineParamScheduler(1.0, 0.0)],
        [warmup, 1 - warmup],
        ["rescaled", "rescaled"],
    )
    return lambda step: float(schedule(min(step / steps, 1 - 1e-9)))


class TrainingModule(L.LightningModule):
    """Trains ``model``; ``scorers`` give validation figures by prefix ("val", "train"), logged as ``val/ap`` …"""

    def __init__(
        self,
        model: SegmentationModel,
        *,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        steps: int,
        warmup_steps: int,
        clip_norm: float,
        seed: int,
        scorers: dict[str, Scorer],
        about: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self._make_optimizer = optimizer
        self._factor = learning_rate_factor(steps, warmup_steps)
        self._seed, self._clip_norm = seed, clip_norm
        self.scorers = scorers
        self._about = about

    def configure_optimizers(self) -> Any:
        """The optimizer over :func:`parameter_groups`, its rate set at every step."""
        optimizer = self._make_optimizer(parameter_groups(self.model))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: tuple[list[Tensor], list[Target]], batch_index: int) -> Tensor:
        """Sum of the model's losses. Its random choices (which proposals train) depend on (seed, step, rank) alone."""
        other = (self.global_rank,) if self.global_rank else ()
        torch.manual_seed(child_seed(self._seed, "step", self.global_step, *other))
        losses = self.model(*batch)
        total: Tensor = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            parts = ", ".join(f"{name} {value.item():.3g}" for name, value in losses.items())
            raise UserError(
                f"training diverged at step {self.global_step} ({parts}): lower optimizer.lr, raise "
                "train.warmup_steps, or set trainer.precision=32-true"
            )
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log_step(total, losses)
        return total

    def _log_step(self, total: Tensor, losses: dict[str, Tensor]) -> None:
        """At the steps that loggers keep: at any other, log() costs a per cent of a step and drops what it is given."""
        figures = {f"train/{name.removeprefix('loss_')}": value.detach() for name, value in losses.items()}
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict({"train/loss": total.detach(), "train/lr": torch.tensor(rate), **figures}, sync_dist=True)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips here: in mixed precision Lightning refuses to with a fused optimizer, though bfloat16 has no scaler."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if norm > self._clip_norm:  # clip_grad_norm_ would multiply all gradients in any case, by 1
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self._clip_norm, norm)

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Scores whole micrographs, in the first process; the loader behind it only sets the rhythm."""
        for prefix, scorer in self.scorers.items():
            scores = scorer(self.model) if self.trainer.is_global_zero else None
            shared: Scores = self.trainer.strategy.broadcast(scores)  # type: ignore[arg-type]
            for name, value in shared.items():
                self.log(f"{prefix}/{name}", value, prog_bar=name == "ap")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what the weights are: architecture and classes, so that a wrong use can be named."""
        checkpoint["tem_seg"] = self._about

"""Runs Lightning on a model and its data, resuming from the last checkpoint where there is one."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.strategies import DDPStrategy

from tem_seg.core.errors import UserError
from tem_seg.models.precision import fast_bfloat16
from tem_seg.training.callbacks import AtomicCheckpointIO, AveragedWeights, CurveLogger, Progress, ValidateAtEnd
from tem_seg.training.datamodule import TrainingData
from tem_seg.training.module import TrainingModule

EMA_EVERY = 4
"""Steps between updates of the averaged weights: the same average at a quarter of the cost."""
PATIENCE = timedelta(hours=2)
"""Processes wait so long for each other: while the first one scores a validation, the others do nothing."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How long and on what. precision: Lightning's name, or "auto".

    devices, nodes: of several, each is a process that was started before, with LOCAL_RANK, NODE_RANK, MASTER_ADDR and
    MASTER_PORT in its environment (stages/ranks.py).
    """

    steps: int
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "auto"
    accumulate: int = 1
    ema_decay: float = 0.998
    best_by: str = "ap"
    """The validation figure, higher is better, that best.ckpt has the highest of."""


def resolve_precision(name: str) -> str:
    """ "auto" → bf16-mixed where the hardware computes bfloat16 fast (models.precision), else 32-true."""
    if name != "auto":
        return name
    return "bf16-mixed" if fast_bfloat16() else "32-true"


def device(accelerator: str) -> torch.device:
    """Where Lightning trains with an accelerator of that name, and where predictions are made."""
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint from which a killed training goes on, if any."""
    path = folder / "last.ckpt"
    return path if path.is_file() else None


def fit(
    module: TrainingModule, data: TrainingData, options: FitOptions, run_dir: Path, *, logger: Logger | None = None,
    callbacks: list[L.Callback] | None = None,
) -> Path:  # fmt: skip
    """Trains to ``options.steps`` and returns the last checkpoint (run_dir/checkpoints/last.ckpt)."""
    for name in ("lightning.pytorch", "lightning.fabric"):  # we say in our own words what runs where
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # one process needs none
    curves = CurveLogger(run_dir / "metrics.csv")
    checkpoints = _checkpoints(run_dir / "checkpoints", options.best_by if "val" in module.scorers else None)
    chosen: list[L.Callback] = [ValidateAtEnd(), Progress(curves), *(callbacks or []), *checkpoints]
    if options.ema_decay:
        chosen.insert(0, AveragedWeights(options.ema_decay, EMA_EVERY))
    trainer = L.Trainer(
        accelerator=options.accelerator, devices=options.devices, num_nodes=options.nodes, **_shared(options),
        precision=resolve_precision(options.precision),  # type: ignore[arg-type]
        max_steps=options.steps, max_epochs=-1, check_val_every_n_epoch=1, num_sanity_val_steps=0,
        accumulate_grad_batches=options.accumulate,
        reload_dataloaders_every_n_epochs=0, use_distributed_sampler=False,
        log_every_n_steps=min(10, 1 + options.steps // 20),
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=run_dir,
        logger=[curves, *([logger] if logger else [])], callbacks=chosen,
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],  # never SLURM's own: submitit owns requeueing
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # norms that are frozen
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # what is validated is the same everywhere
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        warnings.filterwarnings("ignore", message=".*number of training batches.*")
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        try:
            trainer.fit(module, data, ckpt_path=last_checkpoint(run_dir / "checkpoints"), weights_only=True)
        except UserError as error:  # from a loader process it comes with that one's traceback as its text
            raise UserError(str(error).rsplit(f"{UserError.__name__}: ", 1)[-1].strip()) from error
    return run_dir / "checkpoints" / "last.ckpt"


def _checkpoints(folder: Path, best_by: str | None) -> list[L.Callback]:
    """last.ckpt at every validation, after best.ckpt where there is a figure to compare.

    Two callbacks: with ``save_last`` Lightning writes last.ckpt only when best.ckpt has improved.
    """
    same: dict[str, Any] = {
        "dirpath": folder, "enable_version_counter": False, "auto_insert_metric_name": False,
        "save_on_train_epoch_end": False,
    }  # fmt: skip
    best = [ModelCheckpoint(filename="best", monitor=f"val/{best_by}", mode="max", **same)] if best_by else []
    return [*best, ModelCheckpoint(filename="last", **same)]


def _shared(options: FitOptions) -> dict[str, Any]:
    """Of several processes: gradients are averaged, and batch norm is over the whole batch (torch: on GPUs only).

    Unused parameters are looked for: without a particle in its crops a process trains no mask refinement.
    """
    if options.devices * options.nodes == 1:
        return {}
    on_gpu = device(options.accelerator).type == "cuda"
    return {"strategy": DDPStrategy(timeout=PATIENCE, find_unused_parameters=True), "sync_batchnorm": on_gpu}

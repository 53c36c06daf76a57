"""One process of a training that several share: a function that a fresh process can import."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from training_scenes import TinyModel

from tem_seg.data import coco
from tem_seg.models.contract import Target
from tem_seg.training.augment import Tone
from tem_seg.training.datamodule import TrainingData
from tem_seg.training.dataset import CropPolicy, TrainingSet
from tem_seg.training.fit import FitOptions, fit
from tem_seg.training.module import TrainingModule

STEPS, INTERVAL = 8, 3
ABOUT = {"family": "tiny", "backend": "torchvision", "categories": ["rod", "cube"]}


class CalmModel(TinyModel):
    """Without noise, and normalised by groups: what it learns does not depend on how a batch is shared out."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.GroupNorm(2, 4), nn.ReLU())
        self.shape = nn.Linear(1, 1)

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """How far it is off, on average over the images; and a part that trains only where there are particles."""
        widths = [(t["boxes"][:1, 2] - t["boxes"][:1, 0]) / 32 for t in targets if len(t["boxes"])]
        lost = sum((self.shape(width) - 1).square().sum() for width in widths) / len(images)
        return {"loss_count": super().losses(images, targets)["loss_count"], "loss_shape": torch.as_tensor(lost)}


def samples_of(dataset: Path, batch: int) -> TrainingSet:
    """Those of the whole training."""
    return TrainingSet(coco.read(dataset), samples=STEPS * batch, seed=1, crop=CropPolicy(32, (0.5, 1.5)), tone=Tone())


def train_as(rank: int, ranks: int, port: int, dataset: Path, folder: Path, **changes: Any) -> list[str]:
    """Trains as one of ``ranks`` processes; returns what was scored, in files of the folder's parent for the others."""
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} if ranks > 1 else {}
    torch.set_num_threads(1)
    options = {"batch_size": 4, "accumulate": 1, "precision": "32-true", "optimizer": torch.optim.SGD} | changes
    accumulate = options["accumulate"]
    samples = samples_of(dataset, options["batch_size"] * accumulate)
    data = TrainingData(samples, batch_size=options["batch_size"], interval_steps=INTERVAL * accumulate, workers=0)
    scored: list[str] = []

    def score(model: Any) -> dict[str, float]:
        scored.append(str(rank))
        total = float(sum(p.detach().abs().sum() for p in model.parameters()))
        return {"ap": total / 100, "ap50": total / 50}

    module = TrainingModule(
        CalmModel(), optimizer=partial(options["optimizer"], lr=0.05), steps=STEPS, warmup_steps=2, clip_norm=1.0,
        seed=1, scorers={"val": score}, about=ABOUT,
    )  # fmt: skip
    fit(module, data, FitOptions(STEPS, "cpu", devices=ranks, precision=options["precision"], accumulate=accumulate,
                                 ema_decay=0.9), folder)  # fmt: skip
    (folder / f"scored_{rank}").write_text("".join(scored))
    torch.save(module.model.state_dict(), folder / f"weights_{rank}.pt")
    return scored

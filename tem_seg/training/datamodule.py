"""Loaders. One Lightning epoch is one validation interval, so that a checkpoint always lies at an epoch's end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler

from tem_seg.training.dataset import TrainingSet, collate


class IntervalSampler(Sampler[int]):
    """Epoch e gives samples e·n … (e+1)·n − 1 (the last epoch what is left); Lightning calls set_epoch."""

    def __init__(self, samples: int, interval: int) -> None:
        self.samples, self.interval, self.epoch = samples, interval, 0

    def set_epoch(self, epoch: int) -> None:
        """Which validation interval comes next."""
        self.epoch = epoch

    def _range(self) -> range:
        first = self.epoch * self.interval
        return range(first, min(first + self.interval, self.samples))

    def __iter__(self) -> Iterator[int]:
        return iter(self._range())

    def __len__(self) -> int:
        return len(self._range())


class TrainingData(L.LightningDataModule):
    """Batches of training crops; validation is one tick, since scorers read whole micrographs by themselves."""

    def __init__(self, training: TrainingSet, *, batch_size: int, interval_steps: int, workers: int) -> None:
        super().__init__()
        self.training, self.batch_size, self.workers = training, batch_size, workers
        self.interval_samples = interval_steps * batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        """Loader of one interval after the other; workers live on with the micrographs they hold."""
        return DataLoader(
            self.training,
            batch_size=self.batch_size,
            sampler=IntervalSampler(len(self.training), self.interval_samples),
            num_workers=self.workers,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_one_thread,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """One tick."""
        return DataLoader([0], batch_size=1)  # type: ignore[arg-type]


def _one_thread(worker: int) -> None:
    """Loader processes share the cores with training: OpenCV and torch would each start a thread a core."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)

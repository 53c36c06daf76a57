"""Loaders. One Lightning epoch is one validation interval, so that a checkpoint always lies at an epoch's end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler

from tem_seg.training.dataset import TrainingSet, collate


class IntervalSampler(Sampler[int]):
    """Epoch e gives samples e·n … (e+1)·n − 1 (the last epoch what is left); Lightning calls set_epoch.

    Of ``ranks`` processes, each takes an equal part of every ``batch`` samples: together they see those of one process.
    """

    def __init__(self, samples: int, interval: int, *, batch: int = 1, rank: int = 0, ranks: int = 1) -> None:
        if batch % ranks:
            raise ValueError(f"a batch of {batch} cannot be shared out among {ranks} processes")
        self.samples, self.interval, self.epoch = samples, interval, 0
        self._batch, self._part, self._first = batch, batch // ranks, rank * (batch // ranks)

    def set_epoch(self, epoch: int) -> None:
        """Which validation interval comes next."""
        self.epoch = epoch

    def _range(self) -> range:
        first = self.epoch * self.interval
        return range(first, min(first + self.interval, self.samples))

    def __iter__(self) -> Iterator[int]:
        whole = self._range()
        for start in range(0, len(whole), self._batch):
            yield from whole[start + self._first : min(start + self._first + self._part, start + self._batch)]

    def __len__(self) -> int:
        return len(self._range()) * self._part // self._batch


class TrainingData(L.LightningDataModule):
    """Batches of training crops, shared out among the processes that train.

    Validation is one tick, since scorers read whole micrographs by themselves.
    """

    def __init__(self, training: TrainingSet, *, batch_size: int, interval_steps: int, workers: int) -> None:
        super().__init__()
        self.training, self.batch_size, self.workers = training, batch_size, workers
        self.interval_samples = interval_steps * batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        """Loader of one interval after the other; workers live on with the micrographs they hold."""
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = IntervalSampler(
            len(self.training), self.interval_samples, batch=self.batch_size, rank=rank, ranks=ranks
        )
        return DataLoader(
            self.training,
            batch_size=self.batch_size // ranks,
            sampler=sampler,
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

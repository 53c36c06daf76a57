"""Training: what the loop adds to a bare step, and whether the loader keeps up."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bench_common
import lightning as L
import torch
from bench_common import config, ellipse_dataset, over
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from tem_seg.models.contract import SegmentationModel
from tem_seg.training.augment import Tone
from tem_seg.training.datamodule import TrainingData
from tem_seg.training.dataset import CropPolicy, TrainingSet, collate
from tem_seg.training.fit import FitOptions, fit, resolve_precision
from tem_seg.training.module import TrainingModule, parameter_groups


def _training_set(cfg: DictConfig, folder: Path, particles: int, size_px: int, samples: int) -> TrainingSet:
    dataset = ellipse_dataset(folder, images=4, particles=particles, size_px=size_px)
    crop = cfg.train.crop
    policy = CropPolicy(crop.crop_px, tuple(crop.scale_range), tuple(crop.particle_px_range))
    tone = Tone(**OmegaConf.to_container(cfg.train.tone))
    return TrainingSet(dataset, samples=samples, seed=0, crop=policy, tone=tone)


def _model(cfg: DictConfig) -> SegmentationModel:
    model: SegmentationModel = instantiate(cfg.model, num_classes=1, max_instances=cfg.max_instances).build()
    return model


def _bare_step(cfg: DictConfig, model: SegmentationModel) -> Callable[[Any], None]:
    """Forward, backward and step, as one writes them without a framework."""
    optimizer = instantiate(cfg.optimizer, _partial_=True)(parameter_groups(model))
    mixed = resolve_precision("auto").startswith("bf16")
    model.train()

    def step(batch: Any) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = torch.stack(list(model(*batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


class _Blocks(L.Callback):
    """Times blocks of the loop's steps, and between them blocks of bare steps."""

    def __init__(self, bare_step: Callable[[], None], steps: int) -> None:
        self.bare_step, self.steps = bare_step, steps
        self.loop: list[float] = []
        self.bare: list[float] = []
        self._start: float | None = None

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        """A block ends here: whatever the loop does after a step falls into the next one."""
        if trainer.global_step % self.steps:
            return
        if self._start is not None:
            self.loop.append((bench_common.clock() - self._start) / self.steps)
        start = bench_common.clock()
        for _ in range(self.steps):
            self.bare_step()
        self._start = bench_common.clock()
        self.bare.append((self._start - start) / self.steps)


class _Preloaded(L.LightningDataModule):
    """The same batch again and again: no loading is measured."""

    def __init__(self, batch: Any, steps: int) -> None:
        super().__init__()
        self.batches = [batch] * steps

    def train_dataloader(self) -> Any:
        """Batches as they are."""
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self) -> Any:
        """One tick, at the end."""
        return DataLoader([0])


def loop(quick: bool) -> Iterator[str]:
    """Lightning with all callbacks and the averaged weights, over a bare step of the same model and batch."""
    cfg = config(profile="smoke" if quick else "laptop")
    blocks, steps = (2, 1) if quick else (12, 8)
    total = steps * (blocks + 2)  # the first block warms up
    with TemporaryDirectory() as folder:
        samples = _training_set(cfg, Path(folder), 40, 512, cfg.train.batch_size)
        batch = collate([samples[k] for k in range(len(samples))])
        model = _model(cfg)
        callback = _Blocks(partial(_bare_step(cfg, deepcopy(model)), batch), steps)
        module = TrainingModule(
            model, optimizer=instantiate(cfg.optimizer, _partial_=True), steps=total,
            warmup_steps=cfg.train.warmup_steps, clip_norm=cfg.train.clip_norm, seed=0,
            scorers={"val": lambda model: {"ap": 0.0}}, about={},
        )  # fmt: skip
        options = FitOptions(total, accelerator="cpu", ema_decay=cfg.train.ema_decay)
        with redirect_stdout(StringIO()):  # its progress
            fit(module, _Preloaded(batch, total), options, Path(folder), callbacks=[callback])
    ours, bare = statistics.median(callback.loop[1:]), statistics.median(callback.bare[1:])
    yield f"bare step: {1000 * bare:.1f} ms"
    yield f"training loop: {1000 * ours:.1f} ms"
    yield f"training loop over bare step: {over(ours, bare)}"


class _Eater(threading.Thread):
    """Trains without a pause in the background; ``ends`` holds the time at which each step ended."""

    def __init__(self, step: Callable[[Any], None], batches: list[Any]) -> None:
        super().__init__(daemon=True)
        self.step, self.batches = step, batches
        self.ends: list[float] = []
        self.stop = threading.Event()
        self.threads = torch.get_num_threads()

    def run(self) -> None:
        """Steps until told to stop."""
        torch.set_num_threads(self.threads)  # it counts for the calling thread alone
        while not self.stop.is_set():
            self.step(self.batches[len(self.ends) % len(self.batches)])
            self.ends.append(time.perf_counter())


def loader(quick: bool) -> Iterator[str]:
    """One worker process that cuts crops of 1024² micrographs with 300 particles, beside a training that goes on."""
    cfg = config(profile="smoke" if quick else "laptop")
    batch, blocks, block_s = cfg.train.batch_size, *((1, 1.0) if quick else (4, 10.0))
    particles, size_px = (20, 256) if quick else (300, 1024)
    with TemporaryDirectory() as folder:
        samples = _training_set(cfg, Path(folder), particles, size_px, 10**6)
        data = TrainingData(samples, batch_size=batch, interval_steps=10**6 // batch, workers=1)
        batches = iter(data.train_dataloader())
        eater = _Eater(_bare_step(cfg, _model(cfg)), [next(batches) for _ in range(4)])
        eater.start()
        rates = [_rates(eater, batches, batch, block_s) for _ in range(blocks + 1)][1:]  # the first warms up
        eater.stop.set()
        eater.join()
        del batches  # ends the worker
    eaten, loaded = (statistics.median(values) for values in zip(*rates, strict=True))
    yield f"training eats: {eaten:.1f} samples/s"
    yield f"loader beside training: {loaded:.1f} samples/s"
    yield f"loader over training: {loaded / eaten:.2f} x"


def _rates(eater: _Eater, batches: Iterator[Any], batch: int, block_s: float) -> tuple[float, float]:
    """Samples a second that training eats alone, and that the loader makes while training goes on."""
    done, start = len(eater.ends), time.perf_counter()
    while time.perf_counter() - start < block_s or len(eater.ends) < done + 2:
        time.sleep(0.05)
    ends = eater.ends[done:]
    eaten = batch * (len(ends) - 1) / (ends[-1] - ends[0])
    for _ in range(5):  # what had been loaded ahead
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < block_s:
        next(batches)
        count += 1
    return eaten, batch * count / (time.perf_counter() - start)

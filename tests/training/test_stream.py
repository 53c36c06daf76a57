"""Training from a source that makes micrographs: what comes out is what comes out of files with the same content."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from training_scenes import KillAt, Killed, TinyModel, equal_states

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.data.coco import CocoDataset
from tem_seg.models import checkpoint
from tem_seg.training.augment import Tone
from tem_seg.training.datamodule import TrainingData
from tem_seg.training.dataset import CropPolicy, Files, TrainingSet, read_normalised
from tem_seg.training.fit import FitOptions, fit
from tem_seg.training.module import TrainingModule

CROP = CropPolicy(64, (0.5, 1.5), (4.0, 100.0))


@dataclass(frozen=True)
class Made:
    """Draws, of any sample's micrograph, what the files would give: here by looking into them."""

    dataset: CocoDataset
    seed: int = 3
    headroom: float = 0.0

    def __call__(self, k: int) -> tuple[Any, list[dict[str, Any]]]:
        image = self.dataset.images[Files(self.dataset, self.seed, None).image_index(k)]  # type: ignore[arg-type]
        return read_normalised(image.path, self.headroom).astype(np.float32), self.dataset.annotations[image.id]


@dataclass(frozen=True)
class Fresh:
    """A new micrograph for each sample, of noise with one square particle."""

    annotation: dict[str, Any]
    fails_at: int = -1

    def __call__(self, k: int) -> tuple[Any, list[dict[str, Any]]]:
        if k == self.fails_at:
            raise UserError(f"micrograph {k} cannot be drawn")
        return child_rng(0, "fresh", k).random((90, 120), np.float32), [self.annotation] if k % 3 else []


def same(a: Any, b: Any) -> bool:
    (image_a, target_a), (image_b, target_b) = a, b
    return torch.equal(image_a, image_b) and all(torch.equal(target_a[key], target_b[key]) for key in target_b)


def samples_of(source: Any, samples: int = 40, headroom: float = 0.0) -> TrainingSet:
    return TrainingSet(source, samples=samples, seed=3, crop=CROP, tone=Tone(), headroom=headroom)


@pytest.fixture
def fresh(discs: CocoDataset) -> Fresh:
    return Fresh(discs.annotations[1][0])


@pytest.mark.parametrize("headroom", [0.0, 0.75])
def test_files_and_source_give_the_same_samples(discs: CocoDataset, headroom: float) -> None:
    files, made = samples_of(discs, headroom=headroom), samples_of(Made(discs, headroom=headroom), headroom=headroom)
    assert all(same(files[k], made[k]) for k in range(20))
    most = max(float(files[k][0].max()) for k in range(20))
    assert most > 1 if headroom else most == 1


def test_sample_k_is_the_same_in_any_order(fresh: Fresh) -> None:
    forward, backward = samples_of(fresh), samples_of(fresh)
    ahead = [forward[k] for k in range(8)]
    behind = [backward[k] for k in reversed(range(8))][::-1]
    assert all(same(a, b) for a, b in zip(ahead, behind, strict=True))
    assert len({image.numpy().tobytes() for image, _ in ahead}) == 8


def test_loader_processes_draw_the_same(fresh: Fresh) -> None:
    here = samples_of(fresh, 6)
    data = TrainingData(samples_of(fresh, 6), batch_size=2, interval_steps=3, workers=2)
    found = [s for images, targets in data.train_dataloader() for s in zip(images, targets, strict=True)]
    assert len(found) == 6 and all(same(here[k], sample) for k, sample in enumerate(found))


def test_it_can_be_handed_to_another_process(fresh: Fresh) -> None:
    there = pickle.loads(pickle.dumps(samples_of(fresh)))
    assert same(there[5], samples_of(fresh)[5])


def test_micrographs_without_particles_are_negative_examples(fresh: Fresh) -> None:
    image, target = samples_of(fresh)[3]
    assert image.shape == (1, 64, 64) and len(target["boxes"]) == 0


# ------------------------------------------------------------------------------------------------- the whole loop


def trained(source: Any, folder: Path, workers: int, *callbacks: L.Callback) -> dict[str, Any]:
    """Twelve steps of two samples, validated and kept every three."""
    data = TrainingData(samples_of(source, 24), batch_size=2, interval_steps=3, workers=workers)
    module = TrainingModule(
        TinyModel(seed=0), optimizer=partial(torch.optim.AdamW, lr=0.05), steps=12, warmup_steps=2, clip_norm=1.0,
        seed=1, scorers={}, about={"family": "tiny", "backend": "torchvision", "categories": ["rod", "cube"]},
    )  # fmt: skip
    options = FitOptions(12, accelerator="cpu", precision="32-true", ema_decay=0.9)
    return checkpoint.read(fit(module, data, options, folder, callbacks=list(callbacks)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_training_goes_on_to_the_same_weights(fresh: Fresh, tmp_path: Path, workers: int) -> None:
    whole = trained(fresh, tmp_path / "whole", workers)
    for step in (5, 10):
        with pytest.raises(Killed):
            trained(fresh, tmp_path / "broken", workers, KillAt(step))
    found = trained(fresh, tmp_path / "broken", workers)
    for part in ("state_dict", "current_model_state"):
        assert equal_states(found[part], whole[part])


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_source_complains_about_is_said_in_one_line(fresh: Fresh, tmp_path: Path, workers: int) -> None:
    with pytest.raises(UserError, match="^micrograph 4 cannot be drawn$"):
        trained(Fresh(fresh.annotation, fails_at=4), tmp_path, workers)

"""One Lightning epoch is one validation interval."""

from __future__ import annotations

import pytest
from training_scenes import write_discs

from tem_seg.data.coco import CocoDataset
from tem_seg.training.augment import Tone
from tem_seg.training.datamodule import IntervalSampler, TrainingData
from tem_seg.training.dataset import CropPolicy, TrainingSet


def test_epochs_walk_through_the_samples_once() -> None:
    sampler, seen = IntervalSampler(22, 8), []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert len(sampler) == len(list(sampler))
        seen += list(sampler)
    assert seen == list(range(22))


def test_an_epoch_is_the_same_whoever_came_before() -> None:
    """A resumed training starts at epoch 2 without having walked through the first two."""
    sampler = IntervalSampler(22, 8)
    sampler.set_epoch(2)
    assert list(sampler) == [16, 17, 18, 19, 20, 21]


def test_beyond_the_end_there_is_nothing() -> None:
    sampler = IntervalSampler(22, 8)
    sampler.set_epoch(3)
    assert list(sampler) == [] and len(sampler) == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_two_intervals(discs: CocoDataset, workers: int) -> None:
    samples = TrainingSet(discs, samples=12, seed=0, crop=CropPolicy(48, (1.0, 1.0)), tone=Tone())
    data = TrainingData(samples, batch_size=2, interval_steps=3, workers=workers)
    loader = data.train_dataloader()
    first = [images for images, _ in loader]
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    second = [images for images, _ in loader]
    assert len(first) == len(second) == 3 and all(len(images) == 2 for images in first + second)
    expected = [samples[k][0] for k in range(12)]
    found = [image for images in first + second for image in images]
    assert all(bool((a == b).all()) for a, b in zip(found, expected, strict=True))


def test_validation_is_one_tick(tmp_path_factory: pytest.TempPathFactory) -> None:
    dataset = write_discs(tmp_path_factory.mktemp("one"), [1])
    samples = TrainingSet(dataset, samples=4, seed=0, crop=CropPolicy(48), tone=Tone())
    assert len(TrainingData(samples, batch_size=2, interval_steps=1, workers=0).val_dataloader()) == 1

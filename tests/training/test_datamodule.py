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


# ------------------------------------------------------------------------------------------- several processes


@pytest.mark.parametrize(("batch", "ranks"), [(4, 1), (4, 2), (4, 4), (6, 3)])
def test_together_processes_see_the_samples_of_one(batch: int, ranks: int) -> None:
    """In every step the same ones: sample k is of step k // batch, whoever draws it."""
    for epoch, expected in ((0, range(0, 24)), (1, range(24, 36)), (2, range(0))):
        parts = []
        for rank in range(ranks):
            sampler = IntervalSampler(36, 24, batch=batch, rank=rank, ranks=ranks)
            sampler.set_epoch(epoch)
            parts.append(list(sampler))
            assert len(sampler) == len(parts[-1])
        share = batch // ranks
        steps = [[k for part in parts for k in part[s : s + share]] for s in range(0, len(parts[0]), share)]
        assert [k for step in steps for k in step] == list(expected)


def test_one_process_sees_what_it_always_did() -> None:
    """Also where samples and batches do not fit."""
    assert list(IntervalSampler(22, 8, batch=3)) == list(IntervalSampler(22, 8)) == list(range(8))
    assert len(IntervalSampler(22, 8, batch=3)) == 8


def test_a_batch_that_cannot_be_shared_out() -> None:
    with pytest.raises(ValueError, match="a batch of 4 cannot be shared out among 3 processes"):
        IntervalSampler(8, 8, batch=4, ranks=3)

"""Sample k depends on (seed, k) alone, and is what models take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_scenes import write_discs

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset
from tem_seg.training import augment
from tem_seg.training.augment import Tone
from tem_seg.training.datamodule import TrainingData
from tem_seg.training.dataset import PADDING, CropPolicy, PixelCache, TrainingSet, collate, read_normalised

CROP = CropPolicy(64, (0.5, 1.5), (4.0, 100.0))


def samples_of(dataset: CocoDataset, seed: int = 3, samples: int = 40, **changes: Any) -> TrainingSet:
    return TrainingSet(dataset, samples=samples, seed=seed, **({"crop": CROP, "tone": Tone()} | changes))


def same(a: Any, b: Any) -> bool:
    (image_a, target_a), (image_b, target_b) = a, b
    return torch.equal(image_a, image_b) and all(torch.equal(target_a[key], target_b[key]) for key in target_b)


def test_sample_k_is_the_same_in_any_order_and_instance(discs: CocoDataset) -> None:
    forward, backward = samples_of(discs), samples_of(discs)
    ahead = [forward[k] for k in range(12)]
    behind = [backward[k] for k in reversed(range(12))][::-1]
    assert all(same(a, b) for a, b in zip(ahead, behind, strict=True))
    assert same(forward[5], ahead[5])


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_the_same_samples(discs: CocoDataset, workers: int) -> None:
    here, there = samples_of(discs, samples=6), samples_of(discs, samples=6)
    data = TrainingData(there, batch_size=2, interval_steps=3, workers=workers)
    batches = list(data.train_dataloader())
    found = [sample for images, targets in batches for sample in zip(images, targets, strict=True)]
    assert len(found) == 6 and all(same(here[k], sample) for k, sample in enumerate(found))


def test_length_of_the_training_plays_no_part(discs: CocoDataset) -> None:
    assert same(samples_of(discs, samples=10)[7], samples_of(discs, samples=4000)[7])


def test_a_cache_changes_nothing(discs: CocoDataset) -> None:
    kept, none = samples_of(discs), samples_of(discs, cache_bytes=0)
    assert all(same(kept[k], none[k]) for k in (0, 3, 11, 3))


def test_another_seed_or_index_gives_another_sample(discs: CocoDataset) -> None:
    images = [samples_of(discs, seed)[k][0] for seed in (3, 4) for k in (1, 2)]
    assert not any(torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])


def test_every_micrograph_once_in_each_round(discs: CocoDataset) -> None:
    order = [samples_of(discs).source.image_index(k) for k in range(50)]  # type: ignore[attr-defined]
    rounds = [tuple(order[k : k + 5]) for k in range(0, 50, 5)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds)
    assert len(set(rounds)) > 5  # in an order drawn for each


def test_a_sample_is_what_models_take(discs: CocoDataset) -> None:
    samples, particles = samples_of(discs), 0
    for k in range(25):
        image, target = samples[k]
        count = len(target["boxes"])
        particles += count
        assert image.shape == (1, 64, 64) and image.dtype == torch.float32 and 0 <= image.min() <= image.max() <= 1
        assert target["boxes"].shape == (count, 4) and target["boxes"].dtype == torch.float32
        assert target["labels"].shape == (count,) and target["labels"].dtype == torch.int64
        assert target["masks"].shape == (count, 64, 64) and target["masks"].dtype == torch.uint8
        assert set(target["labels"].tolist()) <= {0, 1}
        for box, mask in zip(target["boxes"].int().tolist(), target["masks"], strict=True):
            x1, y1, x2, y2 = box
            assert mask.sum() == mask[y1:y2, x1:x2].sum() >= 8
            assert mask[y1:y2, x1:x2].any(dim=0).all() or mask[y1:y2, x1:x2].any()
    assert particles > 50


def test_masks_lie_on_their_particles(discs: CocoDataset) -> None:
    """The discs are dark: inside its mask the crop is darker than outside of all masks."""
    plain = Tone(contrast_chance=0, gamma_chance=0, noise_chance=0, blur_chance=0, invert_chance=0)
    samples, seen = samples_of(discs, tone=plain), 0
    for k in range(25):
        image, target = samples[k]
        ground = image[0][(target["masks"].sum(dim=0) == 0) & (image[0] != PADDING)]
        for mask in target["masks"].bool():
            if mask.sum() > 60:
                seen += 1
                assert image[0][mask].mean() < ground.mean() - 0.3
    assert seen > 20


def test_a_micrograph_without_particles_is_a_negative_example(tmp_path: Path) -> None:
    samples = samples_of(write_discs(tmp_path, [0]))
    image, target = samples[0]
    assert image.shape == (1, 64, 64) and torch.isfinite(image).all()
    assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"]) == 0


def test_a_micrograph_smaller_than_the_crop_is_padded_with_grey(tmp_path: Path) -> None:
    dataset = write_discs(tmp_path, [2], size=(20, 30))
    policy = CropPolicy(64, (1.0, 1.0), (1.0, 1000.0))
    image, target = samples_of(dataset, crop=policy)[0]
    inside = (image[0] != np.float32(PADDING)).nonzero()
    assert sorted((inside.max(dim=0).values + 1).tolist()) == [20, 30]
    assert target["masks"].shape[1:] == (64, 64)


def test_a_crowd_region_is_no_particle(discs: CocoDataset) -> None:
    marked = {i: [a | {"iscrowd": 1} for a in found] for i, found in discs.annotations.items()}
    crowded = CocoDataset(discs.path, discs.images, discs.categories, discs.category_ids, marked)
    assert all(len(samples_of(crowded)[k][1]["boxes"]) == 0 for k in range(5))


def test_only_particles_near_the_window_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cost law: 300 particles in 1000 × 1000 px, crops of 64 px: a handful are decoded for each."""
    dataset = write_discs(tmp_path, [300], size=(1000, 1000))
    decoded: list[int] = []

    def count(segmentation: Any) -> Any:
        decoded.append(1)
        return rle.decode_crop(segmentation)

    monkeypatch.setattr(augment, "decode_crop", count)
    samples = samples_of(dataset, crop=CropPolicy(64, (1.0, 1.0), (1.0, 1000.0)))
    for k in range(20):
        samples[k]
    assert len(decoded) <= 20 * 12


def test_the_cache_keeps_to_its_budget() -> None:
    reads: list[str] = []

    def read(path: Path) -> Any:
        reads.append(path.name)
        return np.zeros((10, 10), np.float16)

    cache = PixelCache(450, read)
    for name in ("a", "b", "c", "a", "b", "c"):
        cache(Path(name))
    assert reads == ["a", "b", "c", "c"]  # 200 bytes each: the third does not fit


def test_a_truncated_micrograph_is_named(discs: CocoDataset) -> None:
    path = discs.images[3].path
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="3.png is truncated or damaged"):
        read_normalised(path)
    with pytest.raises(UserError, match="3.png is truncated or damaged"):
        [samples_of(discs)[k] for k in range(5)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((31,), "train.crop.crop_px must be at least 32, got 31"),
        ((64, (0.0, 1.0)), r"train.crop.scale_range must be 0 < min <= max, got \[0.0, 1.0\]"),
        ((64, (0.5, 1.0), (9.0, 3.0)), r"train.crop.particle_px_range must be 0 < min <= max, got \[9.0, 3.0\]"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CropPolicy(*arguments)


def test_collate_keeps_samples_apart() -> None:
    one, other = (
        (torch.zeros(1, 4, 4), {"boxes": torch.zeros(0, 4)}),
        (torch.ones(1, 6, 5), {"boxes": torch.ones(2, 4)}),
    )
    images, targets = collate([one, other])  # type: ignore[list-item]
    assert [tuple(i.shape) for i in images] == [(1, 4, 4), (1, 6, 5)] and [len(t["boxes"]) for t in targets] == [0, 2]

"""Pixels → particles by watershed; and losses that fall to zero on the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_scenes import disc, target_of
from numpy.typing import NDArray
from torch import Tensor, nn

from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.models.contract import Target
from tem_seg.models.dense.base import Trunk
from tem_seg.models.dense.watershed import WatershedModel, encode, seeds_of, separated

SIZE = (64, 64)


class Painted(WatershedModel):
    """Says what it is given: logits (outputs, H, W), for any image."""

    def __init__(self, logits: Tensor, **options: object) -> None:
        settings = {"num_classes": len(logits) - 1, "seed_level": 0.5, "min_area_px": 4.0, "max_instances": 100}
        super().__init__(Trunk(nn.Identity(), (1,), stride=16), **settings | options)  # type: ignore[arg-type]
        self.logits = logits

    def said(self, images: list[Tensor]) -> Tensor:
        height, width = (-(-images[0].shape[axis] // 16) * 16 for axis in (1, 2))
        batch = torch.full((len(images), len(self.logits), height, width), -9.0)
        batch[:, :, : self.logits.shape[1], : self.logits.shape[2]] = self.logits
        return batch


def truth_of(target: Target, classes: int = 1, sure: float = 6.0) -> Tensor:
    """Logits of a network that knows the target's maps."""
    kinds, core = encode(target)["maps"]
    pixels = torch.stack([torch.where(kinds == index + 1, sure, -sure) for index in range(classes)])
    return torch.cat([pixels, torch.logit(core, 1e-4)[None]])


def seen(logits: Tensor, frame: tuple[int, int] = SIZE, **options: object) -> Prediction:
    model = Painted(logits, **options).eval()
    return model([torch.zeros(1, *SIZE)], frames=[frame])[0]  # type: ignore[index, return-value]


def test_particles_that_touch_come_out_one_by_one() -> None:
    masks = [disc(SIZE, 20, 30, 10), disc(SIZE, 40, 30, 9.9), disc(SIZE, 50, 55, 6)]
    found = seen(truth_of(target_of(masks)))
    assert len(found) == 3 and found.masks is not None and not found.capped
    for mask in masks:
        shares = [np.logical_and(rle.decode(m), mask).sum() / np.logical_or(rle.decode(m), mask).sum()
                  for m in found.masks]  # fmt: skip
        assert max(shares) > 0.93
    assert found.scores.min() > 0.98 and found.contours is not None and found.edge_sd_px is not None


def test_the_outline_lies_between_pixels_and_its_spread_is_that_of_the_soft_edge() -> None:
    rows, columns = np.mgrid[:64, :64] + 0.5
    outside = torch.from_numpy(np.hypot(columns - 32, rows - 32) - 15).float()
    soft = 0.5 * (1 + torch.erf(-outside / (1.5 * 2**0.5)))
    logits = torch.stack([torch.logit(soft, 1e-4), torch.where(outside < -5, 4.0, -4.0)])
    found = seen(logits)
    assert found.contours is not None and found.edge_sd_px is not None
    radii = np.hypot(*(found.contours[0] - 32).T)
    assert abs(radii.mean() - 15) < 0.05 and radii.std() < 0.1
    assert abs(found.edge_sd_px[0] - 1.5) < 0.2  # the soft map is cut 3 px beyond the region: two deviations


def test_an_empty_micrograph_stays_empty() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(-2, 0.4, (2, 64, 64))).float()
    found = seen(noise)
    assert len(found) == 0 and found.boxes.shape == (0, 4) and found.masks == [] and not found.capped


def cones(*tops: tuple[float, float, float, float], base: float = 0.0) -> NDArray[np.float32]:
    """Core that falls evenly from each top (x, y, height, radius), where the higher one counts."""
    rows, columns = np.mgrid[:64, :64] + 0.5
    core = np.full((64, 64), base)
    for x, y, height, radius in tops:
        core = np.maximum(core, height * (1 - np.hypot(columns - x, rows - y) / radius))
    return core.astype(np.float32)


def test_a_seed_with_a_neck_falls_into_its_parts_at_the_level_that_parts_them() -> None:
    """By hand: three cones of height 1, 18 px apart, meet at 1 - 9 / 20 = 0.55; the top of a fourth is at 0.65."""
    row = cones((14, 20, 1.0, 20.0), (32, 20, 1.0, 20.0), (50, 20, 1.0, 20.0))
    count, seeds = seeds_of(row, 0.5)
    assert count == 4 and {int(seeds[19, x]) for x in (13, 31, 49)} == {1, 2, 3}
    assert seeds_of(row, 0.65)[0] == 4  # apart from the start
    assert seeds_of(np.maximum(row, cones((32, 50, 0.65, 12.0))), 0.5)[0] == 5  # a low top, but nothing higher is near


def test_a_convex_seed_stays_one_whatever_its_texture() -> None:
    rows, columns = np.mgrid[:64, :64] + 0.5
    disc_ = np.hypot(columns - 32, rows - 32) < 25
    ripples = np.where(disc_, 0.75 + 0.2 * np.sin(columns / 2) * np.sin(rows / 2), 0).astype(np.float32)
    assert seeds_of(ripples, 0.5)[0] == 2
    neck = ripples.copy()
    neck[20:44, 31:33] = np.minimum(neck[20:44, 31:33], 0.55)  # a furrow, but the whole is convex yet
    assert seeds_of(neck, 0.5)[0] == 2


def test_specks_are_no_parts() -> None:
    """Of a dumbbell with a speck each of three pixels at one end and one of many at the other."""
    core = np.zeros((64, 64), np.float32)
    core[20:30, 10:20] = core[20:30, 44:54] = 0.55
    core[24:26, 20:44] = 0.55
    core[24, 12:15] = 0.95
    core[22:28, 46:52] = 0.95
    assert seeds_of(core, 0.5)[0] == 2
    core[22:28, 12:18] = 0.95
    assert seeds_of(core, 0.5)[0] == 3
    assert seeds_of(np.zeros((8, 8), np.float32), 0.5)[0] == 1


def test_foreground_without_a_deep_place_is_no_particle() -> None:
    logits = torch.stack([torch.full(SIZE, 3.0), torch.full(SIZE, -1.0)])
    assert len(seen(logits)) == 0


def test_what_fills_the_image_is_one_particle() -> None:
    assert len(seen(torch.stack([torch.full(SIZE, 3.0), torch.full(SIZE, 3.0)]))) == 1


def test_masks_that_touch_everywhere() -> None:
    """A tiling of squares, as in an agglomerate that leaves no ground."""
    masks = []
    for y in range(0, 64, 16):
        for x in range(0, 64, 16):
            mask = np.zeros(SIZE, np.uint8)
            mask[y : y + 16, x : x + 16] = 1
            masks.append(mask)
    found = seen(truth_of(target_of(masks)))
    assert len(found) == 16 and found.masks is not None
    assert np.sum([rle.area_px(mask) for mask in found.masks]) == 64 * 64


@pytest.mark.parametrize("scale", [0.5, 2.0, 1.3])
def test_a_rescaled_look_comes_back_in_the_micrographs_frame(scale: float) -> None:
    masks = [disc(SIZE, 20, 30, 10), disc(SIZE, 46, 30, 9)]
    frame = (round(64 * scale), round(64 * scale))
    found = seen(truth_of(target_of(masks)), frame=frame)
    assert found.masks is not None and all(tuple(mask["size"]) == frame for mask in found.masks)
    for x, radius in ((20, 10), (46, 9)):
        wanted = disc(frame, x * scale, 30 * scale, radius * scale)
        shares = [np.logical_and(rle.decode(m), wanted).sum() / np.logical_or(rle.decode(m), wanted).sum()
                  for m in found.masks]  # fmt: skip
        assert max(shares) > 0.85


def test_each_particle_has_the_class_of_most_of_its_pixels() -> None:
    target = target_of([disc(SIZE, 20, 30, 10), disc(SIZE, 46, 30, 9)], [1, 0])
    found = seen(truth_of(target, classes=2))
    order = np.argsort(found.boxes[:, 0])
    assert found.labels[order].tolist() == [1, 0] and found.labels.dtype == np.int64


def test_a_cap_is_reported_and_small_regions_are_dropped() -> None:
    logits = truth_of(target_of([disc(SIZE, 20, 30, 10), disc(SIZE, 46, 30, 9), disc(SIZE, 50, 55, 2)]))
    assert len(seen(logits, min_area_px=30.0)) == 2
    few = seen(logits, max_instances=2)
    assert few.capped and len(few) == 2 and (np.diff(few.scores) <= 0).all()


def test_losses_are_low_on_the_truth_and_high_elsewhere() -> None:
    target = target_of([disc(SIZE, 20, 30, 10), disc(SIZE, 40, 30, 10)])
    model = Painted(truth_of(target)).train()
    good = model([torch.zeros(1, *SIZE)], [target])
    model.logits = -model.logits
    bad = model([torch.zeros(1, *SIZE)], [encode(target)])
    assert isinstance(good, dict) and isinstance(bad, dict)
    assert set(good) == {"loss_pixels", "loss_core", "loss_overlap"}
    assert good["loss_pixels"] < 0.01 < 2 < bad["loss_pixels"] and good["loss_core"] < bad["loss_core"]
    assert good["loss_overlap"] < 0.001 and bad["loss_overlap"] > 1.9


def test_a_crop_without_particles_is_a_lesson_too() -> None:
    losses = Painted(torch.full((2, 64, 64), -6.0)).train()([torch.zeros(1, *SIZE)], [target_of([])])
    assert isinstance(losses, dict) and all(0 <= losses[name] < 0.02 for name in ("loss_pixels", "loss_core"))
    assert 0 <= losses["loss_overlap"] < 0.05


def test_boxes_alone_are_refused() -> None:
    target = target_of([disc(SIZE, 20, 30, 10)])
    del target["masks"]
    with pytest.raises(ValueError, match="needs masks to train on, but these annotations are boxes alone"):
        encode(target)


def test_seeds_are_absolute_whatever_else_is_in_the_image() -> None:
    """A faint structure beside a clear particle is not stretched into one."""
    depth = np.zeros((1, 40, 80), np.float32)
    depth[0, 5:25, 5:25], depth[0, 5:25, 45:65] = 0.9, 0.3
    found = separated(np.full((1, 40, 80), 0.7, np.float32) * (depth > 0), depth[0], 0.5)
    assert len(found.scores) == 1 and found.scores[0] == pytest.approx(0.7 * 0.9)

"""Rotated RoIAlign against Detectron2's C++, against a ramp, and its gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tem_seg.models.detectron2 import INSTALL_HINT
from tem_seg.models.torchvision.rotated_roi_align import crop_masks, levels_of, pool_pyramid, rotated_roi_align


def regions(count: int, generator: torch.Generator, extent: float = 160.0) -> Tensor:
    """(K, 6), also across the border, tiny and large."""
    part = torch.rand(count, 6, generator=generator)
    low, high = torch.tensor([0, -20.0, -20, 0.5, 0.5, -200]), torch.tensor([2, extent, extent, 90, 90, 200.0])
    found = low + (high - low) * part
    found[:, 0] = found[:, 0].floor()
    return found


@pytest.mark.parametrize(("bins", "scale", "samples"), [(7, 0.25, 2), (14, 0.5, 2), (5, 1.0, 1), (3, 0.125, 3)])
def test_equals_detectron2s(bins: int, scale: float, samples: int) -> None:
    pytest.importorskip("detectron2", reason=f"detectron2 is not installed ({INSTALL_HINT})")
    from detectron2.layers import ROIAlignRotated

    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 6, 40, 52, generator=generator)
    ours, theirs = (features.clone().requires_grad_() for _ in range(2))
    rois = regions(60, generator)
    found = rotated_roi_align(ours, rois, bins, scale, samples)
    expected = ROIAlignRotated((bins, bins), scale, samples)(theirs, rois)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    weights = torch.randn(found.shape, generator=generator)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


def test_a_ramp_is_read_at_the_middle_of_every_bin() -> None:
    """Bilinear sampling is exact on a plane: rows of the result run along h, columns along w."""
    columns, rows = torch.arange(64.0) + 0.5, torch.arange(48.0)[:, None] + 0.5
    plane = (columns + 100 * rows)[None, None]
    angle = math.radians(30.0)
    pooled = rotated_roi_align(plane, torch.tensor([[0, 30.0, 24, 10, 20, 30]]), 5, 1.0)[0, 0]
    across, along = torch.arange(-4.0, 5, 2), torch.arange(-8.0, 9, 4)[:, None]
    x = 30 + across * math.cos(angle) + along * math.sin(angle)
    y = 24 - across * math.sin(angle) + along * math.cos(angle)
    torch.testing.assert_close(pooled, x + 100 * y, rtol=1e-5, atol=1e-2)


def test_turning_map_and_region_by_90_degrees_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, 3, 40, 40, generator=generator)
    upright = torch.tensor([[0, 15.0, 22, 9, 17, 12]])
    turned = torch.tensor([[0, 22.0, 25, 9, 17, 102]])  # rot90 is counter-clockwise as displayed: (x, y) → (y, 40 - x)
    torch.testing.assert_close(
        rotated_roi_align(features, upright, 7, 1.0), rotated_roi_align(features.rot90(1, (2, 3)), turned, 7, 1.0),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_at_angle_0_it_is_aligned_roi_align() -> None:
    from torchvision.ops import roi_align as oracle

    features = torch.randn(1, 3, 30, 30, generator=torch.Generator().manual_seed(3))
    rotated = rotated_roi_align(features, torch.tensor([[0, 12.0, 15, 8, 14, 0]]), 7, 1.0)
    expected = oracle(features, torch.tensor([[0, 8.0, 8, 16, 22]]), 7, 1.0, 2, aligned=True)
    torch.testing.assert_close(rotated, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(2, 2, 6, 7, generator=generator, dtype=torch.float64).requires_grad_()
    rois = regions(5, generator, extent=12.0).double() * torch.tensor([1, 1, 1, 0.1, 0.1, 1])
    assert torch.autograd.gradcheck(lambda values: rotated_roi_align(values, rois, 3, 0.5), (features,))


def test_mixed_precision_keeps_regions_exact() -> None:
    features = torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(5))
    rois = torch.tensor([[0, 300.6, 301.3, 40.2, 13.9, 33.0]])
    with torch.autocast("cpu", torch.bfloat16):
        pooled = rotated_roi_align(features.bfloat16(), rois, 7, 0.25)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, rotated_roi_align(features.bfloat16().float(), rois, 7, 0.25))


def test_no_regions() -> None:
    assert rotated_roi_align(torch.randn(1, 3, 8, 8), torch.zeros(0, 6), 7, 1.0).shape == (0, 3, 7, 7)
    assert crop_masks(torch.ones(2, 8, 8), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 5), 28).shape == (
        0,
        28,
        28,
    )
    assert crop_masks(torch.ones(0, 8, 8), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 5), 28).shape == (
        0,
        28,
        28,
    )


def test_mask_crops_are_those_of_the_masks_as_features() -> None:
    generator = torch.Generator().manual_seed(6)
    masks = (torch.rand(4, 30, 40, generator=generator) > 0.5).to(torch.uint8)
    owner = torch.tensor([3, 0, 0, 2, 1])
    boxes = torch.cat([torch.rand(5, 2, generator=generator) * 30, torch.rand(5, 2, generator=generator) * 20 + 1,
                       torch.rand(5, 1, generator=generator) * 180 - 90], dim=1)  # fmt: skip
    found = crop_masks(masks, owner, boxes, 28)
    rois = torch.cat([owner[:, None].float(), boxes], dim=1)
    torch.testing.assert_close(found, rotated_roi_align(masks[:, None].float(), rois, 28, 1.0)[:, 0])
    assert found.min() >= 0 and found.max() <= 1


def test_levels_follow_the_area_and_pooling_keeps_the_order() -> None:
    sides = torch.tensor([[20.0, 20], [5, 300], [112, 112], [224, 224], [2, 900], [448, 450], [9000, 9000], [0, 4]])
    boxes = torch.cat([torch.full((8, 2), 64.0), sides, torch.zeros(8, 1)], dim=1)
    assert levels_of(boxes, 4).tolist() == [0, 0, 1, 2, 0, 3, 3, 0]
    generator = torch.Generator().manual_seed(7)
    levels = [torch.randn(2, 3, 64 >> k, 64 >> k, generator=generator) for k in range(4)]
    mixed = [boxes[:5], boxes[2:]]
    pooled = pool_pyramid(levels, mixed, 7)
    for index, (image, box) in enumerate([(k, box) for k, own in enumerate(mixed) for box in own]):
        level = int(levels_of(box[None], 4))
        alone = rotated_roi_align(
            levels[level], torch.cat([torch.tensor([float(image)]), box])[None], 7, 0.25 / 2**level
        )
        torch.testing.assert_close(pooled[index], alone[0])
    np.testing.assert_array_equal(pool_pyramid(levels, [boxes[:0], boxes[:0]], 7).shape, (0, 3, 7, 7))

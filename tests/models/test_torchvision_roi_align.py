"""RoIAlign as a table look-up: equal to torchvision's operator, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops import roi_align as oracle

from tem_seg.models.torchvision.roi_align import PyramidRoIAlign, roi_align

NAMES = ["0", "1", "2", "3"]
STRIDES = (4, 8, 16, 32)


def random_rois(generator: torch.Generator, count: int, batch: int, extent: float) -> Tensor:
    """[image, x1, y1, x2, y2] with sides from 0.01 px to twice the image, corners inside and outside of it."""
    corner = torch.rand(count, 2, generator=generator) * 1.6 * extent - 0.3 * extent
    side = extent * 2 * 10 ** (-4 * torch.rand(count, 2, generator=generator))
    image = torch.randint(batch, (count, 1), generator=generator).float()
    return torch.cat([image, corner, corner + side], dim=1)


SPECIAL = torch.tensor([
    [0, 5.0, 5.0, 5.0, 5.0],            # a point
    [1, 0.0, 0.0, 96.0, 64.0],          # the whole image
    [0, -500.0, -500.0, 900.0, 900.0],  # far larger than it
    [1, 200.0, 200.0, 220.0, 230.0],    # wholly outside
    [0, -4.5, -4.5, -4.1, -4.1],        # just beyond the border, where torchvision still interpolates
    [1, 94.0, 62.0, 96.0, 64.0],        # the last pixels
    [0, 20.0, 30.0, 10.0, 10.0],        # x2 < x1: at least one pixel
])  # fmt: skip


@pytest.mark.parametrize(("bins", "scale", "samples"), [(7, 0.25, 2), (14, 1.0, 2), (3, 0.5, 1), (5, 0.125, 3)])
def test_equals_torchvision_forward_and_backward(bins: int, scale: float, samples: int) -> None:
    generator = torch.Generator().manual_seed(bins)
    height, width = round(64 * scale), round(96 * scale)
    ours = torch.randn(2, 5, height, width, generator=generator).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    rois = torch.cat([random_rois(generator, 60, 2, 96.0), SPECIAL])
    found, expected = roi_align(ours, rois, bins, scale, samples), oracle(theirs, rois, bins, scale, samples)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    weights = torch.randn(expected.shape, generator=generator)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_no_rois_give_no_features_and_a_zero_gradient() -> None:
    features = torch.randn(1, 4, 16, 16, requires_grad=True)
    pooled = roi_align(features, torch.zeros(0, 5), 7, 0.25, 2)
    assert pooled.shape == (0, 4, 7, 7)
    pooled.sum().backward()
    assert features.grad is not None and not features.grad.any()


def test_a_linear_ramp_is_read_at_the_bin_centres() -> None:
    """Bilinear interpolation of f(x, y) = x + 100 y is exact: bin (i, j) has the value at its own centre."""
    ramp = torch.arange(32.0) + 100 * torch.arange(32.0)[:, None]
    pooled = roi_align(ramp[None, None], torch.tensor([[0, 4.0, 8.0, 18.0, 22.0]]), 7, 1.0, 2)[0, 0]
    centre = 2.0 * torch.arange(7) + 1.0  # aligned=False: pixel i is at i, not at i + 0.5
    torch.testing.assert_close(pooled, (4 + centre) + 100 * (8 + centre)[:, None], rtol=1e-5, atol=1e-3)


def test_mixed_precision_keeps_boxes_exact() -> None:
    """In bfloat16 a box at 300.6 px would be one at 300 or 302."""
    features = torch.randn(1, 3, 100, 100)
    rois = torch.tensor([[0, 300.6, 301.3, 340.2, 333.9]])
    with torch.autocast("cpu", torch.bfloat16):
        pooled = roi_align(features.bfloat16(), rois, 7, 0.25, 2)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, oracle(features.bfloat16().float(), rois, 7, 0.25, 2), rtol=1e-4, atol=1e-5)


def pyramid(generator: torch.Generator) -> dict[str, Tensor]:
    """Strides 4 to 64 of a 256 × 192 px image, as the backbone gives them."""
    shapes = {"0": (48, 64), "1": (24, 32), "2": (12, 16), "3": (6, 8), "pool": (3, 4)}
    return {name: torch.randn(2, 6, *shape, generator=generator) for name, shape in shapes.items()}


def boxes_of_all_levels(generator: torch.Generator) -> list[Tensor]:
    """Sides of 4 to 1000 px: below, on and beyond every level's range."""
    found = []
    for _ in range(2):
        side = 4 * 250 ** torch.rand(40, 2, generator=generator)
        corner = torch.rand(40, 2, generator=generator) * 150
        found.append(torch.cat([corner, corner + side], dim=1))
    return found


@pytest.mark.parametrize("empty", ["none", "first", "both"])
def test_pyramid_equals_torchvision(empty: str) -> None:
    generator = torch.Generator().manual_seed(3)
    levels, boxes = pyramid(generator), boxes_of_all_levels(generator)
    for index in {"none": [], "first": [0], "both": [0, 1]}[empty]:
        boxes[index] = torch.zeros(0, 4)
    ours = {name: level.clone().requires_grad_() for name, level in levels.items()}
    theirs = {name: level.clone().requires_grad_() for name, level in levels.items()}
    sizes = [(192, 256), (192, 256)]
    found = PyramidRoIAlign(NAMES, 7, 2, STRIDES)(ours, boxes, sizes)
    expected = MultiScaleRoIAlign(NAMES, 7, 2)(theirs, boxes, sizes)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.square().sum().backward()
    expected.square().sum().backward()
    for name in NAMES:
        zero = torch.zeros_like(levels[name])
        grad, wanted = (zero if side[name].grad is None else side[name].grad for side in (ours, theirs))
        assert empty != "none" or grad.any(), f"no box of level {name} was tested"
        torch.testing.assert_close(grad, wanted, rtol=1e-3, atol=1e-3)


def test_padding_of_a_small_image_does_not_change_the_stride() -> None:
    """A map of stride 16 of a 66 px image, filled up to 96 px, is 6 cells wide: by the sizes, its stride were 8."""
    ramp = (torch.arange(6) + 0.5).mul(16).expand(1, 1, 6, 6)
    found = PyramidRoIAlign(["0"], 2, 2, [16])({"0": ramp}, [torch.tensor([[16.0, 16.0, 48.0, 48.0]])], [(66, 66)])
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([32.0, 48.0]))  # aligned=False: half a cell further

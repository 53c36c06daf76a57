"""Points near the edge, against closed forms and torch's own sampling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tem_seg.models.torchvision.refinement import (
    COARSE,
    TRAIN_POINTS,
    Coarse,
    Refinement,
    Samples,
    masks_on_boxes,
    sample_masks,
    undecided_points,
)  # fmt: skip

SIDE = 256
FIRST = torch.zeros(1, dtype=torch.int64)


def disc(x: float, y: float, radius: float, side: int = SIDE) -> Tensor:
    """A disc (side, side) uint8 of the pixels whose centres it covers."""
    at = torch.arange(side) + 0.5
    return (torch.hypot(at[None, :] - x, at[:, None] - y) <= radius).to(torch.uint8)


def test_sampling_equals_grid_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 5, 17, 23, generator=generator)
    points = torch.rand(4, 50, 2, generator=generator) * torch.tensor([25.0, 19.0]) - 1
    owner = torch.tensor([2, 0, 0, 1])
    grid = points / torch.tensor([23.0, 17.0]) * 2 - 1
    wanted = F.grid_sample(maps[owner], grid[:, None], padding_mode="border", align_corners=False)[:, :, 0]
    torch.testing.assert_close(Samples(maps).at(owner, points), wanted.transpose(1, 2), atol=1e-5, rtol=0)


def test_sampling_passes_gradients_to_the_maps() -> None:
    maps = torch.rand(1, 2, 6, 7, requires_grad=True)
    Samples(maps).at(FIRST, torch.full((1, 3, 2), 2.25)).sum().backward()
    assert maps.grad is not None
    assert float(maps.grad.sum()) == pytest.approx(6.0)


def test_masks_are_sampled_as_any_map() -> None:
    generator = torch.Generator().manual_seed(1)
    masks = (torch.rand(3, 20, 31, generator=generator) > 0.5).to(torch.uint8)
    points = torch.rand(5, 40, 2, generator=generator) * torch.tensor([33.0, 22.0]) - 1
    owner = torch.tensor([0, 2, 2, 1, 0])
    wanted = Samples(masks[:, None].float()).at(owner, points)[..., 0]
    torch.testing.assert_close(sample_masks(masks, owner, points), wanted)


def test_a_projected_mask_has_no_shift() -> None:
    """The centre of gravity of a disc in its box is the box's middle: torchvision's projection is half a pixel off."""
    boxes = torch.tensor([[14.0, 14.0, 26.0, 26.0]])
    found = masks_on_boxes(disc(20, 20, 6, 40)[None], FIRST, boxes, COARSE)[0]
    centres = torch.arange(COARSE) + 0.5
    assert float((found.sum(0) * centres).sum() / found.sum()) == pytest.approx(COARSE / 2, abs=1e-4)
    assert float((found.sum(1) * centres).sum() / found.sum()) == pytest.approx(COARSE / 2, abs=1e-4)


def test_points_are_drawn_where_the_mask_is_undecided() -> None:
    logits = torch.linspace(-8, 8, COARSE).expand(2, COARSE, COARSE)  # undecided along the vertical middle line
    points = undecided_points(logits)
    assert points.shape == (2, TRAIN_POINTS, 2)
    assert float(((points[..., 0] - 0.5).abs() < 0.2).float().mean()) > 0.7
    assert undecided_points(logits[:0]).shape == (0, TRAIN_POINTS, 2)


def coarse_of(x: float, y: float, radius: float, refinement: Refinement) -> tuple[Coarse, Tensor]:
    """What a mask head would know of a bright disc, with an edge that is 8 px off; and the true mask."""
    truth = disc(x, y, radius)
    reach = radius + 10
    box = torch.tensor([[x - reach, y - reach, x + reach, y + reach]])
    soft = masks_on_boxes(disc(x, y, radius + 8)[None], FIRST, box, COARSE)
    image = truth[None, None].float()
    finest = F.avg_pool2d(image, 4).expand(-1, 4, -1, -1)
    features = soft[:, None].expand(-1, 4, -1, -1)
    logits = F.avg_pool2d(8 * soft - 4, 5, 1, 2, count_include_pad=False)
    return Coarse(refinement.edges(image), finest, features, logits, box, FIRST), truth


def pasted(coarse: Coarse, refinement: Refinement) -> Tensor:
    """The refined mask (SIDE, SIDE) bool."""
    ((_, soft),) = list(refinement.masks(coarse))
    at = torch.arange(SIDE) + 0.5
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1).view(1, -1, 2)
    low, high = coarse.boxes[:, :2], coarse.boxes[:, 2:]
    place = (grid - low) / (high - low) * soft.shape[-1]
    inside = ((place > 0) & (place < soft.shape[-1])).all(dim=-1)
    return ((Samples(soft[:, None]).at(coarse.owner, place)[..., 0] >= 0.5) & inside).view(SIDE, SIDE)


def test_at_the_start_a_refined_mask_is_the_coarse_one() -> None:
    refinement = Refinement(4, 4)
    coarse, _ = coarse_of(128, 128, 90, refinement)
    ((chosen, soft),) = list(refinement.masks(coarse))
    assert chosen.tolist() == [0]
    assert soft.shape[-1] == COARSE * 8  # 200 px: cells of less than a pixel
    again = F.interpolate(soft[None], (COARSE, COARSE), mode="area")[0]
    assert ((again > 0.5) == (coarse.logits > 0)).float().mean() > 0.98


def test_learns_to_lay_the_edge_where_the_image_has_it() -> None:
    torch.manual_seed(0)
    refinement = Refinement(4, 4)
    optimizer = torch.optim.AdamW(refinement.parameters(), lr=3e-3)
    draws = torch.Generator().manual_seed(2)
    for _ in range(120):
        spread, least = torch.tensor([20.0, 20.0, 40.0]), torch.tensor([118.0, 118.0, 50.0])
        coarse, truth = coarse_of(*(torch.rand(3, generator=draws) * spread + least).tolist(), refinement)
        optimizer.zero_grad()
        refinement.loss(coarse, truth[None], coarse.owner).backward()
        optimizer.step()
    x, y, radius = 126.3, 131.8, 77.5
    coarse, truth = coarse_of(x, y, radius, refinement)
    wrong_before = disc(x, y, radius + 8).bool() ^ truth.bool()
    wrong = pasted(coarse, refinement) ^ truth.bool()
    length = 2 * torch.pi * radius
    assert wrong_before.sum() / length > 7.5
    assert wrong.sum() / length < 0.5  # mean distance of the two outlines, px


def test_small_particles_are_not_doubled_and_large_ones_are() -> None:
    refinement = Refinement(4, 4)
    boxes = torch.tensor([[0, 0, 20, 20], [0, 0, 200, 60], [0, 0, 40, 30], [0, 0, 5000, 4000]]).float()
    count = len(boxes)
    coarse = Coarse(
        torch.zeros(1, 32, 64, 64), torch.zeros(1, 4, 32, 32), torch.zeros(count, 4, 14, 14),
        torch.randn(count, COARSE, COARSE), boxes, torch.zeros(count, dtype=torch.int64),
    )  # fmt: skip
    cells = {int(index): soft.shape[-1] for chosen, soft in refinement.masks(coarse) for index in chosen}
    assert cells == {0: 28, 1: 224, 2: 56, 3: 448}


def test_no_particles() -> None:
    refinement = Refinement(4, 4)
    nothing = Coarse(
        refinement.edges(torch.zeros(1, 1, 64, 64)), torch.zeros(1, 4, 16, 16), torch.zeros(0, 4, 14, 14),
        torch.zeros(0, COARSE, COARSE, requires_grad=True), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64),
    )  # fmt: skip
    assert list(refinement.masks(nothing)) == []
    loss = refinement.loss(nothing, torch.zeros(0, 64, 64, dtype=torch.uint8), nothing.owner)
    assert float(loss.detach()) == 0
    loss.backward()  # every rank of a distributed training needs a gradient

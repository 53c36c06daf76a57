"""Overlap of rotated boxes against shapely, closed forms and Detectron2's C++; gradients; suppression."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import torch
from torch import Tensor

from tem_seg.core.geometry import rotated_boxes_corners
from tem_seg.models.detectron2 import INSTALL_HINT
from tem_seg.models.torchvision import rotated_ops
from tem_seg.models.torchvision.rotated_ops import (
    candidate_pairs,
    overlapping,
    paired_iou,
    pairwise_iou,
    rotated_nms,
)


def boxes(count: int, seed: int, *, extent: float = 100.0, longest: float = 80.0) -> Tensor:
    """Random boxes (N, 5) float64: slender and square, any angle (also beyond the canonical ones), any side longer."""
    draw = np.random.default_rng(seed)
    sides = longest ** draw.uniform(0, 1, (count, 2))
    return torch.tensor(np.column_stack([draw.uniform(0, extent, (count, 2)), sides, draw.uniform(-400, 400, count)]))


def oracle(a: Tensor, b: Tensor) -> np.ndarray:
    """IoU (N, M) by GEOS."""
    ours, theirs = (shapely.polygons(rotated_boxes_corners(part.double().numpy())) for part in (a, b))
    shared = shapely.area(shapely.intersection(ours[:, None], theirs[None]))
    return shared / (shapely.area(ours)[:, None] + shapely.area(theirs)[None] - shared)


def symmetries(box: list[float]) -> Tensor:
    """Descriptions of one and the same box."""
    x, y, w, h, angle = box
    return torch.tensor([
        box, [x, y, w, h, angle + 180], [x, y, w, h, angle - 180], [x, y, h, w, angle + 90], [x, y, h, w, angle - 90],
    ], dtype=torch.float64)  # fmt: skip


@pytest.mark.parametrize(("extent", "seed"), [(20.0, 0), (100.0, 1), (400.0, 2)])
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 3e-6)])
def test_iou_equals_shapely(extent: float, seed: int, kind: torch.dtype, tolerance: float) -> None:
    a, b = boxes(90, seed, extent=extent).to(kind), boxes(110, seed + 10, extent=extent).to(kind)
    found = pairwise_iou(a, b)
    assert found.dtype == kind and found.shape == (90, 110)
    np.testing.assert_allclose(found, oracle(a, b), atol=tolerance)
    np.testing.assert_allclose(paired_iou(a, b[:90]), oracle(a, b)[np.arange(90), np.arange(90)], atol=tolerance)


def test_closed_forms() -> None:
    """Squares of side 2: shifted by half, turned by 45° (a regular octagon), contained, touching, apart."""
    square = [0.0, 0.0, 2.0, 2.0, 0.0]
    others = [[1, 0, 2, 2, 0], [0, 0, 2, 2, 45], [0, 0, 1, 1, 30], [2, 0, 2, 2, 0], [9, 9, 2, 2, 10]]
    octagon = 8 * (math.sqrt(2) - 1)
    expected = [1 / 3, octagon / (8 - octagon), 1 / 4, 0, 0]
    found = pairwise_iou(torch.tensor([square]), torch.tensor(others, dtype=torch.float32))[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "box", [[50, 40, 4, 60, 30], [50, 40, 9, 9, -90], [0, 0, 1e6, 1e6, 12], [3000, 9, 1, 900, 89.9]]
)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_same_box_described_otherwise_overlaps_itself_wholly(box: list[float], kind: torch.dtype) -> None:
    """Edges on one line, where methods that collect vertices lose some."""
    same = symmetries(box).to(kind)
    np.testing.assert_allclose(pairwise_iou(same, same), 1.0, atol=2e-4 if kind == torch.float32 else 1e-9)


def test_laws() -> None:
    """Symmetric; unchanged by turning, moving and rescaling the plane; edges on one line with another."""
    a, b = boxes(60, 3), boxes(60, 4)
    found = pairwise_iou(a, b)
    torch.testing.assert_close(pairwise_iou(b, a).T, found)
    turn = math.radians(33.0)
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    turned = [torch.cat([2 * part[:, :2] @ rotation + 5, 2 * part[:, 2:4], part[:, 4:] + 33], dim=1) for part in (a, b)]
    torch.testing.assert_close(pairwise_iou(*turned), found)
    beside = torch.tensor([[0.0, 0, 4, 10, 20.0]])
    along = beside + torch.tensor([[10 * math.sin(math.radians(20)) / 2, 10 * math.cos(math.radians(20)) / 2, 0, 0, 0]])
    np.testing.assert_allclose(pairwise_iou(beside, along), 1 / 3, atol=1e-6)  # shifted by half along the long side


@pytest.mark.parametrize("sides", [(0.0, 10.0), (10.0, 0.0), (0.0, 0.0)])
def test_a_box_without_area_overlaps_nothing(sides: tuple[float, float]) -> None:
    flat = torch.tensor([[5.0, 5.0, *sides, 30.0]])
    both = torch.cat([flat, torch.tensor([[5.0, 5, 4, 8, 0]])]).requires_grad_()
    found = pairwise_iou(both, both)
    np.testing.assert_allclose(found.detach(), [[0, 0], [0, 1]], atol=1e-6)
    found.sum().backward()
    assert torch.isfinite(both.grad).all()


def test_huge_boxes_are_boxes() -> None:
    huge = torch.tensor([[0.0, 0, 1e6, 1e6, 17.0], [5.0, 5, 10, 20, 40.0], [0.0, 0, 1e6, 1.0, 0.0]])
    found = pairwise_iou(huge, huge)
    assert torch.isfinite(found).all()
    np.testing.assert_allclose(found.diagonal(), 1, atol=1e-4)
    assert found[0, 1] == pytest.approx(200 / 1e12, rel=0.1)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 0, math.nan, 5, 0], "nan"), ([0, 0, 5, -1, 0], "-1"), ([math.inf, 0, 5, 5, 0], "inf"),
        ([0, 0, 1e30, 5, 0], "1e\\+30"), ([0, 0, 5, 5, math.nan], "nan"),
    ],
)  # fmt: skip
def test_what_is_no_box_is_named(values: list[float], shown: str) -> None:
    wrong = torch.tensor([[0, 0, 5, 5, 0], values])
    for call in (
        lambda: pairwise_iou(wrong, wrong[:1]),
        lambda: pairwise_iou(wrong[:1], wrong),
        lambda: paired_iou(wrong, wrong),
        lambda: rotated_nms(wrong, torch.ones(2), None, 0.5),
    ):
        with pytest.raises(ValueError, match=f"\\[1\\] = .*{shown}.* is no box"):
            call()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="must be \\(N, 5\\).*got \\[3, 4\\]"):
        pairwise_iou(torch.rand(3, 4), torch.rand(3, 5))
    with pytest.raises(ValueError, match="as many boxes a as b, got 3 and 2"):
        paired_iou(torch.rand(3, 5), torch.rand(2, 5))


def test_empty() -> None:
    none, some = torch.zeros(0, 5), torch.rand(3, 5)
    assert pairwise_iou(none, some).shape == (0, 3) and pairwise_iou(some, none).shape == (3, 0)
    assert pairwise_iou(none, none).shape == (0, 0) and paired_iou(none, none).shape == (0,)
    assert rotated_nms(none, torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5).shape == (0,)
    apart = torch.tensor([[0.0, 0, 1, 1, 0], [99.0, 0, 1, 1, 0]])
    assert len(overlapping(apart[:1], apart[1:])[0]) == 0


def test_gradients_are_those_of_finite_differences() -> None:
    """In general position: no corner on an edge, no edges on one line."""
    a, b = boxes(12, 7, extent=30.0).requires_grad_(), boxes(12, 8, extent=30.0).requires_grad_()
    assert (paired_iou(a, b) > 0.01).sum() >= 4
    assert torch.autograd.gradcheck(paired_iou, (a, b))
    assert torch.autograd.gradcheck(pairwise_iou, (a[:4].detach().requires_grad_(), b[:5].detach().requires_grad_()))


def test_ascent_on_the_iou_finds_the_box() -> None:
    wanted = torch.tensor([[30.0, 30, 8, 40, 35]])
    box = torch.tensor([[34.0, 27, 12, 30, 20]], requires_grad=True)
    scale = torch.tensor([1.0, 1, 1, 1, 3])
    for _ in range(400):
        (gradient,) = torch.autograd.grad(paired_iou(box, wanted).sum(), box)
        box = (box + 4 * scale * gradient / (1e-9 + gradient.norm()) / 16).detach().requires_grad_()
    assert paired_iou(box, wanted).item() > 0.9


def test_candidates_leave_out_no_overlap() -> None:
    a, b = boxes(150, 11), boxes(130, 12)
    rows, columns = candidate_pairs(a, b)
    near = np.zeros((150, 130), bool)
    near[rows, columns] = True
    assert not (oracle(a, b)[~near] > 0).any()
    rows, columns = candidate_pairs(a, b, 0.4)
    near[:] = False
    near[rows, columns] = True
    assert not (oracle(a, b)[~near] >= 0.4).any()
    own_rows, own_columns = candidate_pairs(a, a)
    assert (own_columns > own_rows).all() and (torch.diff(own_rows) >= 0).all()
    near = np.eye(150, dtype=bool)
    near[own_rows, own_columns] = near[own_columns, own_rows] = True
    assert not (oracle(a, a)[~near] > 0).any()


def greedy(found: Tensor, scores: Tensor, groups: Tensor, iou: float) -> list[int]:
    """Suppression as one would write it down, on GEOS's numbers."""
    kept: list[int] = []
    overlap = oracle(found, found)
    for index in np.argsort(-scores.numpy(), kind="stable").tolist():
        if all(groups[index] != groups[other] or overlap[other, index] <= iou for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("iou", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("classes", [1, 3])
def test_nms_is_greedy_suppression(iou: float, classes: int) -> None:
    draw = torch.Generator().manual_seed(5)
    found = boxes(60, 5, extent=60.0, longest=40.0).repeat(5, 1)  # clusters, as proposals lie
    found = found * (1 + 0.1 * torch.rand(found.shape, generator=draw, dtype=torch.float64))
    scores = torch.rand(300, generator=draw, dtype=torch.float64)
    groups = torch.randint(classes, (300,), generator=draw)
    kept = rotated_nms(found, scores, groups, iou)
    assert kept.tolist() == greedy(found, scores, groups, iou)
    assert 5 < len(kept) < 300
    if classes == 1:
        assert torch.equal(rotated_nms(found, scores, None, iou), kept)
    for limit in (0, 1, 4, 1000):
        assert torch.equal(rotated_nms(found, scores, groups, iou, limit), kept[:limit])


def test_nms_in_blocks_is_nms(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(6)
    found, scores = boxes(300, 6, extent=50.0, longest=40.0), torch.rand(300, generator=draw)
    whole = rotated_nms(found, scores, None, 0.2)
    monkeypatch.setattr(rotated_ops, "NMS_BLOCK", 17)
    assert torch.equal(rotated_nms(found, scores, None, 0.2), whole)
    assert torch.equal(rotated_nms(found, scores, None, 0.2, 9), whole[:9])


def test_nms_chain_and_ties() -> None:
    """A box that is suppressed suppresses none; among equal scores the first one wins."""
    chain = torch.tensor([[0.0, 0, 10, 10, 0], [4.0, 0, 10, 10, 0], [8.0, 0, 10, 10, 0]])  # neighbours: IoU 3/7
    assert rotated_nms(chain, torch.tensor([0.9, 0.8, 0.7]), None, 0.3).tolist() == [0, 2]
    assert rotated_nms(chain, torch.ones(3), None, 0.3).tolist() == [0, 2]
    turned = symmetries([5, 5, 3, 30, 40]).float()
    assert rotated_nms(turned, torch.ones(5), None, 0.9).tolist() == [0]


def test_iou_and_nms_equal_detectron2s() -> None:
    pytest.importorskip("detectron2", reason=f"detectron2 is not installed ({INSTALL_HINT})")
    from detectron2.layers import batched_nms_rotated
    from detectron2.layers.rotated_boxes import pairwise_iou_rotated

    draw = torch.Generator().manual_seed(9)
    a, b = boxes(200, 21, extent=300.0).float(), boxes(180, 22, extent=300.0).float()
    theirs, ours = pairwise_iou_rotated(a, b), pairwise_iou(a, b)
    # its C++ now and then loses a vertex: shapely says who is right
    odd = (theirs - ours).abs() > 1e-4
    assert odd.float().mean() < 1e-3
    np.testing.assert_allclose(ours[odd], oracle(a, b)[odd], atol=3e-6)
    scores, groups = torch.rand(200, generator=draw), torch.randint(2, (200,), generator=draw)
    for iou in (0.2, 0.5):
        assert torch.equal(rotated_nms(a, scores, groups, iou), batched_nms_rotated(a, scores, groups, iou))

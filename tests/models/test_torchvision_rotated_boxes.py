"""Rotated boxes as tensors: symmetries, differences from anchors, and a loss without jumps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tem_seg.core import geometry
from tem_seg.models.torchvision.rotated_boxes import (
    RotatedCoder,
    canonical,
    enclosing,
    rescaled,
    wrap_deg,
)
from tem_seg.models.torchvision.rotated_ops import paired_iou

CODER = RotatedCoder((10.0, 10.0, 5.0, 5.0, 5.0))


def boxes(count: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([0.0, 0, 3, 3, -90]), torch.tensor([100.0, 100, 60, 60, 90])
    return (low + (high - low) * torch.rand(count, 5, generator=draw)).double()


def loss_of(prediction: Tensor, source: Tensor, truth: Tensor) -> float:
    """Of a predicted box, from one source."""
    return float(CODER.loss(CODER.encode(prediction, source), source, truth))


def test_angles_are_wrapped_as_in_core() -> None:
    angles = [-450.0, -90.0, -90 - 1e-12, 89.999, 90.0, 91.0, 270.0, 1e4, -1e-9, 0.0]
    found = wrap_deg(torch.tensor(angles, dtype=torch.float64))
    np.testing.assert_allclose(found, [geometry.wrap_half_turn(angle) for angle in angles], atol=1e-9)
    assert ((found >= -90) & (found < 90)).all()
    single = wrap_deg(torch.tensor(angles))
    assert ((single >= -90) & (single < 90)).all()


def test_canonical_boxes_are_the_same_boxes() -> None:
    found = boxes(200, 0) * torch.tensor([1, 1, 1, 1, 5.0])
    canon = canonical(found)
    assert (canon[:, 2] <= canon[:, 3]).all() and (canon[:, 4] >= -90).all() and (canon[:, 4] < 90).all()
    np.testing.assert_allclose(paired_iou(found, canon), 1, atol=1e-9)
    np.testing.assert_allclose(canon, geometry.canonical_rotated_boxes(found.numpy()), atol=1e-9)


def test_enclosing_boxes_and_rescaling_follow_the_corners() -> None:
    found = boxes(100, 1)
    corners = geometry.rotated_boxes_corners(found.numpy())
    np.testing.assert_allclose(
        enclosing(found), np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1), atol=1e-9
    )
    twice = geometry.rotated_boxes_corners(rescaled(found, 2.0, 2.0).numpy())
    for ours, expected in zip(twice, 2 * corners, strict=True):
        assert np.abs(ours[:, None] - expected[None]).sum(axis=2).min(axis=1).max() < 1e-9  # in any order
    upright = torch.tensor([[10.0, 20, 4, 8, 0]])
    np.testing.assert_allclose(rescaled(upright, 3, 0.5), [[30, 10, 4, 12, -90]], atol=1e-5)


def test_decoding_undoes_encoding() -> None:
    found, sources = canonical(boxes(300, 2)), canonical(boxes(300, 3))
    again = CODER.decode(CODER.encode(found, sources), sources)
    np.testing.assert_allclose(paired_iou(found, again), 1, atol=1e-9)
    per_class = CODER.decode(CODER.encode(found, sources)[:, None].repeat(1, 3, 1), sources)
    torch.testing.assert_close(per_class[:, 2], again)
    assert CODER.encode(found, sources)[:, 4].abs().max() <= 5 * math.pi / 2


def test_differences_turn_with_the_plane() -> None:
    """Shifts count along the source's own sides, so that what a network learns is the same in every direction."""
    found, sources = boxes(50, 4), boxes(50, 5)
    turn = math.radians(40.0)
    rotation = torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    turned = [torch.cat([part[:, :2] @ rotation.T, part[:, 2:4], part[:, 4:] + 40], dim=1) for part in (found, sources)]
    torch.testing.assert_close(CODER.encode(*turned), CODER.encode(found, sources))


def test_loss_of_a_box_described_otherwise_is_the_same() -> None:
    predictions, sources, truths = boxes(40, 6), boxes(40, 7), boxes(40, 8)
    shifts = CODER.encode(predictions, sources)
    expected = CODER.loss(shifts, sources, truths)
    assert expected > 1
    for turn in (180.0, -180.0, 540.0):
        torch.testing.assert_close(CODER.loss(shifts, sources, truths + torch.tensor([0, 0, 0, 0, turn])), expected)
    exchanged = torch.cat([truths[:, :2], truths[:, [3, 2]], truths[:, 4:] + 90], dim=1)
    torch.testing.assert_close(CODER.loss(shifts, sources, exchanged), expected)
    turned = torch.cat([predictions[:, :4], predictions[:, 4:] + 180], dim=1)
    torch.testing.assert_close(CODER.loss(CODER.encode(turned, sources), sources, truths), expected)


def test_loss_is_zero_for_the_box_itself() -> None:
    truths, sources = boxes(40, 9), boxes(40, 10)
    assert CODER.loss(CODER.encode(truths, sources), sources, truths) < 1e-18
    exchanged = torch.cat([truths[:, :2], truths[:, [3, 2]], truths[:, 4:] + 90], dim=1)
    assert CODER.loss(CODER.encode(exchanged, sources), sources, truths) < 1e-18


@pytest.mark.parametrize("at", [-90.0, -89.0, 0.0, 45.0, 89.0])
def test_loss_does_not_jump_where_an_angle_wraps(at: float) -> None:
    """A truth that turns through any angle, -90 and 90 among them, in canonical form as datasets hold it."""
    source = torch.tensor([[20.0, 20, 8, 30, 60]], dtype=torch.float64)
    prediction = torch.tensor([[22.0, 19, 7, 33, 75]], dtype=torch.float64)
    steps = torch.linspace(-3, 3, 601, dtype=torch.float64)
    losses = [
        loss_of(prediction, source, canonical(torch.tensor([[21.0, 21, 8, 31, at + step]], dtype=torch.float64)))
        for step in steps.tolist()
    ]
    assert np.abs(np.diff(losses)).max() < 5 * math.radians(0.01) * 1.5  # the slope of the loss, no more


def test_loss_does_not_jump_where_a_square_becomes_longer_the_other_way() -> None:
    """There the canonical angle flips by 90°: the loss follows the box, not its description."""
    source = torch.tensor([[20.0, 20, 20, 22, 5]], dtype=torch.float64)
    prediction = torch.tensor([[20.5, 20, 20, 21, 8]], dtype=torch.float64)
    widths = torch.linspace(19, 21, 401, dtype=torch.float64)
    truths = [canonical(torch.tensor([[20.0, 20, float(width), 20, 7.0]], dtype=torch.float64)) for width in widths]
    assert {round(float(truth[0, 4])) for truth in truths} == {7, -83}
    losses = [loss_of(prediction, source, truth) for truth in truths]
    assert np.abs(np.diff(losses)).max() < 0.01


def test_gradients_of_the_loss() -> None:
    sources, truths = boxes(10, 11), boxes(10, 12)
    shifts = CODER.encode(boxes(10, 13), sources).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: CODER.loss(values, sources, truths), (shifts,))


def test_descent_turns_the_short_way_round() -> None:
    """From 80° to a truth at -85°: 15° through the wrap, never 165° back."""
    source = torch.tensor([[0.0, 0, 5, 40, 80]])
    truth = torch.tensor([[0.0, 0, 5, 40, -85]])
    shifts = torch.zeros(1, 5, requires_grad=True)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(CODER.loss(shifts, source, truth), shifts)
        shifts = (shifts - 0.02 * gradient).detach().requires_grad_()
    np.testing.assert_allclose(CODER.decode(shifts.detach(), source), truth, atol=0.5)
    assert 0 < shifts[0, 4] < 5 * math.radians(20)


def test_wild_differences_stay_finite() -> None:
    source = torch.tensor([[0.0, 0, 10, 20, 0]])
    wild = torch.tensor([[1e4, -1e4, 1e3, 1e3, 1e3]])
    found = CODER.decode(wild, source)
    assert torch.isfinite(found).all() and found[0, 2] == pytest.approx(10 * 1000 / 16)
    assert CODER.loss(torch.zeros(0, 5), torch.zeros(0, 5), torch.zeros(0, 5)) == 0

"""Soft masks in rotated boxes, laid into a frame: against a dense oracle and against upright boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from tem_seg.core.geometry import rotated_boxes_corners
from tem_seg.data import rle
from tem_seg.models.postprocess import soft_crops, to_rles
from tem_seg.models.rotated_masks import rotated_soft_crops
from tem_seg.models.torchvision.rotated_boxes import rescaled
from tem_seg.models.torchvision.rotated_roi_align import crop_masks

FRAME = (80, 100)


def dense(soft: np.ndarray, box: list[float], scale: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """The whole frame in float64: every pixel centre mapped into the box, read with SciPy."""
    cx, cy, w, h, angle = box
    y, x = np.mgrid[: FRAME[0], : FRAME[1]] + 0.5
    x, y, turn = x / scale[0] - cx, y / scale[1] - cy, np.deg2rad(angle)
    across, along = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    rows, columns = (along / h + 0.5) * len(soft) - 0.5, (across / w + 0.5) * soft.shape[1] - 0.5
    return map_coordinates(np.pad(soft.astype(float), 1), [rows + 1, columns + 1], order=1, mode="constant")


@pytest.mark.parametrize("scale", [(1.0, 1.0), (1.03, 0.97), (2.0, 2.0)])
def test_equals_the_dense_oracle(scale: tuple[float, float]) -> None:
    draw = np.random.default_rng(0)
    soft = draw.random((6, 28, 28)).astype(np.float32)
    boxes = [[40, 30, 6, 50, 33], [10, 10, 20, 30, -75], [95, 75, 9, 60, 88], [50, 40, 300, 400, 12],
             [30.5, 20.25, 3, 3, 45], [20, 60, 2, 90, -90]]  # fmt: skip
    found = rotated_soft_crops(torch.from_numpy(soft), torch.tensor(boxes), FRAME, scale)
    for crop, x0, y0, mask, box in zip(found.crops, found.x0, found.y0, soft, boxes, strict=True):
        whole = dense(mask, box, scale)
        placed = np.zeros(FRAME)
        placed[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] = crop
        inside = rle.decode(rle.from_polygons(
            [(rotated_boxes_corners(np.array([box]))[0] * scale).ravel().tolist()], FRAME)).astype(bool)  # fmt: skip
        np.testing.assert_allclose(placed[inside], whole[inside], atol=2e-3)
        assert (np.abs(placed - whole) < 2e-3).mean() > 0.99  # soft margins of half a cell beyond the box's window


def test_upright_boxes_are_pasted_as_upright_ones_are() -> None:
    soft = torch.rand(2, 28, 28, generator=torch.Generator().manual_seed(1))
    rotated = rotated_soft_crops(soft, torch.tensor([[30.0, 40, 20, 30, 0], [90.0, 10, 40, 40, 0]]), FRAME)
    upright = soft_crops(soft, torch.tensor([[20.0, 25, 40, 55], [70.0, -10, 110, 30]]), FRAME)
    for ours, theirs in zip(rotated.crops, upright.crops, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal([rotated.x0, rotated.y0], [upright.x0, upright.y0])


@pytest.mark.parametrize("angle", [-90.0, -37.0, 0.0, 15.0, 45.0, 80.0])
def test_what_training_cuts_out_comes_back(angle: float) -> None:
    """A rod cut out of its mask in its rotated box, and pasted: thinner than a cell of an upright 28 × 28 mask."""
    box = np.array([[50.0, 40, 4.6, 60, angle]])
    mask = rle.decode(rle.from_polygons([rotated_boxes_corners(box)[0].ravel().tolist()], FRAME))
    wider = torch.tensor([[50.0, 40, 9, 66, angle]])
    soft = crop_masks(torch.from_numpy(mask)[None], torch.tensor([0]), wider, 28)
    (again,) = to_rles(rotated_soft_crops(soft, wider, FRAME), FRAME)
    back = rle.decode(again).astype(bool)
    assert (back & (mask > 0)).sum() / (back | (mask > 0)).sum() > 0.9
    (twice,) = to_rles(rotated_soft_crops(soft, wider, (160, 200), (2.0, 2.0)), (160, 200))
    assert rle.area_px(twice) == pytest.approx(4 * rle.area_px(again), rel=0.08)
    assert rescaled(wider, 2.0, 2.0)[0, 3] == 132


def test_boxes_without_area_or_outside_are_empty() -> None:
    boxes = torch.tensor([[10.0, 10, 0, 30, 5], [500.0, 500, 10, 20, 5], [-40.0, 20, 5, 9, 30]])
    found = rotated_soft_crops(torch.ones(3, 28, 28), boxes, FRAME)
    assert [rle.area_px(mask) for mask in to_rles(found, FRAME)] == [0, 0, 0]
    assert rotated_soft_crops(torch.ones(0, 28, 28), torch.zeros(0, 5), FRAME).crops == []


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="expected probabilities .* got \\[2, 28, 28\\], \\[3, 5\\]"):
        rotated_soft_crops(torch.ones(2, 28, 28), torch.ones(3, 5), FRAME)
    with pytest.raises(ValueError, match="box 1 is not finite"):
        rotated_soft_crops(torch.ones(2, 28, 28), torch.tensor([[1.0] * 5, [float("nan")] * 5]), FRAME)

"""Pasting soft masks, against Detectron2 and torchvision, which paste into full frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image as torchvision_paste

from tem_seg.data import rle
from tem_seg.models.postprocess import masks_to_rles


def soft_discs(count: int, bins: int = 28, seed: int = 0) -> Tensor:
    """Soft discs (count, bins, bins) of random radius and centre, edges about two bins wide."""
    rng = torch.Generator().manual_seed(seed)
    centre = torch.arange(bins) + 0.5
    middle = bins / 2 + 3 * torch.rand(2, count, 1, 1, generator=rng)
    radius = bins * (0.2 + 0.3 * torch.rand(count, 1, 1, generator=rng))
    distance = torch.hypot(centre[None, None, :] - middle[0], centre[None, :, None] - middle[1])
    return torch.sigmoid(1.5 * (radius - distance))


def random_boxes(count: int, height: int, width: int, seed: int = 1) -> Tensor:
    """Boxes (count, 4) xyxy of 2 to 60 px, some reaching over the frame."""
    rng = torch.Generator().manual_seed(seed)
    middle = torch.rand(count, 2, generator=rng) * torch.tensor([width, height])
    half = 1 + 29 * torch.rand(count, 2, generator=rng)
    return torch.cat([middle - half, middle + half], dim=1)


def dense(probabilities: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """Our result as (N, H, W) bool."""
    return np.stack([rle.decode(found) for found in masks_to_rles(probabilities, boxes, size, threshold)])


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_equals_detectron2(threshold: float) -> None:
    mask_ops = pytest.importorskip("detectron2.layers.mask_ops", reason="the oracle, detectron2, is not installed")
    size, soft, boxes = (173, 211), soft_discs(120), random_boxes(120, 173, 211)
    expected = mask_ops.paste_masks_in_image(soft, boxes, size, threshold=threshold).numpy()
    assert expected.any(axis=(1, 2)).sum() > 100
    np.testing.assert_array_equal(dense(soft, boxes, size, threshold), expected)


def test_equals_torchvision_up_to_the_boundary() -> None:
    """torchvision moves boxes to whole pixels (Detectron 1's way), so masks differ by one pixel along the edge."""
    size, soft, boxes = (173, 211), soft_discs(120), random_boxes(120, 173, 211)
    expected = (torchvision_paste(soft[:, None], boxes, size)[:, 0] >= 0.5).numpy()
    ours = dense(soft, boxes, size)
    for mask, other in zip(ours, expected, strict=True):
        for inner, outer in ((mask, other), (other, mask)):
            assert not (inner & ~grown(grown(outer))).any()
    assert (ours & expected).sum() / (ours | expected).sum() > 0.9


def grown(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) and its neighbours."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any([padded[r : r + height, c : c + width] for r in range(3) for c in range(3)], axis=0)


def test_disc_keeps_its_area() -> None:
    """A disc that fills its box covers π/4 of it."""
    centre = torch.arange(28) + 0.5 - 14
    disc = torch.sigmoid(4 * (14 - torch.hypot(centre[None, :], centre[:, None])))[None]
    (found,) = masks_to_rles(disc, torch.tensor([[10.0, 20.0, 90.0, 100.0]]), (128, 128))
    assert rle.area_px(found) == pytest.approx(np.pi / 4 * 80**2, rel=0.01)


def test_shift_by_whole_pixels_shifts_the_mask() -> None:
    soft, boxes = soft_discs(20), random_boxes(20, 60, 60) + 40
    near, far = dense(soft, boxes, (200, 200)), dense(soft, boxes + torch.tensor([7, 11, 7, 11]), (200, 200))
    np.testing.assert_array_equal(np.roll(near, (11, 7), axis=(1, 2)), far)


def test_frame_only_cuts() -> None:
    soft, boxes = soft_discs(30), random_boxes(30, 50, 50)
    np.testing.assert_array_equal(dense(soft, boxes, (50, 50)), dense(soft, boxes, (120, 120))[:, :50, :50])


def test_transposed_input_gives_transposed_masks() -> None:
    soft, boxes = soft_discs(30), random_boxes(30, 70, 90)
    turned = dense(soft.transpose(1, 2), boxes[:, [1, 0, 3, 2]], (90, 70))
    np.testing.assert_array_equal(turned.transpose(0, 2, 1), dense(soft, boxes, (70, 90)))


def test_full_mask_fills_the_pixels_whose_centre_is_in_the_box() -> None:
    (found,) = masks_to_rles(torch.ones(1, 28, 28), torch.tensor([[2.6, 3.4, 5.4, 6.6]]), (10, 10))
    crop, x0, y0 = rle.decode_crop(found)
    assert (x0, y0, crop.shape, crop.all()) == (3, 3, (4, 2), True)


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 9], [5, 9, 9, 5], [-9, 0, -1, 5], [30, 0, 40, 5], [0, 50, 5, 60]],
    ids=["no width", "negative height", "left of", "right of", "below"],
)  # fmt: skip
def test_box_without_pixels_gives_an_empty_mask(box: list[float]) -> None:
    first, last = masks_to_rles(torch.ones(2, 28, 28), torch.tensor([box, [0.0, 0.0, 4.0, 4.0]]).float(), (20, 30))
    assert first["size"] == [20, 30]
    assert (rle.area_px(first), rle.area_px(last)) == (0, 16)


def test_below_the_threshold_is_empty_and_at_it_is_full() -> None:
    box = torch.tensor([[0.0, 0.0, 6.0, 6.0]])
    assert rle.area_px(masks_to_rles(torch.full((1, 28, 28), 0.49), box, (8, 8))[0]) == 0
    assert rle.area_px(masks_to_rles(torch.full((1, 28, 28), 0.5), box + 1, (8, 8))[0]) == 36


def test_no_particles() -> None:
    assert masks_to_rles(torch.zeros(0, 28, 28), torch.zeros(0, 4), (8, 8)) == []


def test_one_pixel_particle_and_half_precision() -> None:
    box = torch.tensor([[3.0, 4.0, 4.0, 5.0]], dtype=torch.float16, requires_grad=True)
    (found,) = masks_to_rles(torch.ones(1, 28, 28, dtype=torch.float16), box, (8, 8))
    assert np.argwhere(rle.decode(found)).tolist() == [[4, 3]]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \[2, 1, 28, 28\], \[2, 4\]"):
        masks_to_rles(torch.zeros(2, 1, 28, 28), torch.zeros(2, 4), (8, 8))
    with pytest.raises(ValueError, match=r"boxes \(N, 4\), got \[2, 28, 28\], \[3, 4\]"):
        masks_to_rles(torch.zeros(2, 28, 28), torch.zeros(3, 4), (8, 8))


def test_infinite_box_is_named() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, float("nan"), 1.0, 1.0]])
    with pytest.raises(ValueError, match="box 1 is not finite"):
        masks_to_rles(torch.zeros(2, 28, 28), boxes, (8, 8))

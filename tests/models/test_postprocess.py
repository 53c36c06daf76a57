"""Pasting soft masks, against Detectron2 and torchvision, which paste into full frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image as torchvision_paste

from tem_seg.core.types import Prediction, Rle
from tem_seg.data import rle
from tem_seg.models.postprocess import outline, soft_crops, to_rles, with_masks


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


def masks_to_rles(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Rle]:
    return to_rles(soft_crops(probabilities, boxes, size), size)


def dense(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Our result as (N, H, W) bool."""
    return np.stack([rle.decode(found) for found in masks_to_rles(probabilities, boxes, size)])


def test_equals_detectron2() -> None:
    mask_ops = pytest.importorskip("detectron2.layers.mask_ops", reason="the oracle, detectron2, is not installed")
    size, soft, boxes = (173, 211), soft_discs(120), random_boxes(120, 173, 211)
    expected = mask_ops.paste_masks_in_image(soft, boxes, size, threshold=0.5).numpy()
    assert expected.any(axis=(1, 2)).sum() > 100
    np.testing.assert_array_equal(dense(soft, boxes, size), expected)


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


# ------------------------------------------------------------------------------------------------ outlines


def blurred_disc(radius: float, sd: float, centre: tuple[float, float], size: int) -> np.ndarray:
    """A disc's soft mask (size, size) whose edge lies at ``radius``, normally distributed with ``sd`` px."""
    x, y = np.meshgrid(np.arange(size) + 0.5 - centre[0], np.arange(size) + 0.5 - centre[1])
    return stats.norm.cdf((radius - np.hypot(x, y)) / sd).astype(np.float32)


@pytest.mark.parametrize("sd", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("radius", [8.3, 25.0])
def test_contour_of_a_disc_lies_on_its_circle(radius: float, sd: float) -> None:
    contour, spread = outline(blurred_disc(radius, sd, (40.2, 38.7), 80), 100, 200)
    distance = np.hypot(contour[:, 0] - 140.2, contour[:, 1] - 238.7)
    assert contour.dtype == np.float32
    # linear interpolation over a curved edge: a tenth of a pixel at most
    np.testing.assert_allclose(distance, radius, atol=0.12)
    assert spread == pytest.approx(sd, rel=0.1)


def test_contour_encloses_what_the_mask_covers() -> None:
    size, soft, boxes = (90, 110), soft_discs(40), random_boxes(40, 90, 110)
    found = soft_crops(soft, boxes, size)
    areas = [cv2.contourArea(outline(*parts)[0]) if parts[0].size else 0.0
             for parts in zip(found.crops, found.x0.tolist(), found.y0.tolist(), strict=True)]  # fmt: skip
    counted = [rle.area_px(mask) for mask in to_rles(found, size)]
    perimeters = [4 * np.sqrt(area) + 4 for area in counted]
    assert all(abs(a - b) < 0.5 * p for a, b, p in zip(areas, counted, perimeters, strict=True))


def test_contour_is_that_of_the_largest_part() -> None:
    crop = np.zeros((30, 30), np.float32)
    crop[2:5, 2:5], crop[10:25, 10:25] = 1, 1
    contour, spread = outline(crop, 0, 0)
    assert contour.min() > 9
    assert spread == 0


def test_empty_mask_has_no_contour() -> None:
    for crop in (np.zeros((0, 5), np.float32), np.full((4, 4), 0.49, np.float32)):
        contour, spread = outline(crop, 3, 3)
        assert contour.shape == (0, 2)
        assert np.isnan(spread)


def test_parts_come_back_in_the_order_of_the_prediction() -> None:
    size, soft, boxes = (60, 60), soft_discs(6), random_boxes(6, 40, 40)
    scores = np.linspace(1, 0.5, 6, dtype=np.float32)
    bare = Prediction(boxes=boxes.numpy(), labels=np.zeros(6, np.int64), scores=scores)
    parts = [(index, soft_crops(soft[index], boxes[index], size)) for index in torch.tensor([[4, 1, 5], [0, 3, 2]])]
    found = with_masks(bare, parts, size)
    assert found.masks == masks_to_rles(soft, boxes, size)
    assert found.edge_sd_px is not None
    assert found.contours is not None
    for index, contour in enumerate(found.contours):
        assert (len(contour) == 0) == np.isnan(found.edge_sd_px[index])

"""Overlaps of candidate pairs, against pycocotools and shapely."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shapely
from inference_scenes import NOTHING, found
from pycocotools import mask as coco_mask

from tem_seg.core.geometry import rotated_box_corners
from tem_seg.core.types import Rle
from tem_seg.data import rle
from tem_seg.inference import overlap
from tem_seg.inference.overlap import MaskCover, cover_of, iou, may_reach, pairs

SIZE = (90, 120)


def masks(count: int, seed: int = 0) -> list[Rle]:
    """Noise, full columns, the whole frame, nothing."""
    rng = np.random.default_rng(seed)
    crops = [rng.random((int(h), int(w))) < 0.7 for h, w in rng.integers(1, 30, (count, 2))]
    x, y = rng.integers(-5, 110, count), rng.integers(-5, 80, count)
    strips = [rle.encode_crop(np.ones((90, 7), bool), 40, 0, SIZE), rle.encode(np.ones(SIZE, bool))]
    return [*rle.encode_crops(crops, x, y, SIZE), *strips, rle.encode(np.zeros(SIZE, bool))]


def test_iou_of_all_pairs_is_pycocotools() -> None:
    given = masks(60)
    cover = MaskCover(given)
    first, second = pairs(cover)
    assert (first < second).all()
    sparse = np.zeros((len(given), len(given)))
    sparse[first, second] = iou(cover, first, second)
    expected = coco_mask.iou(given, given, [0] * len(given))
    np.testing.assert_allclose(sparse, np.triu(expected, 1), rtol=0, atol=1e-15)


def test_no_pair_that_reaches_a_threshold_is_left_out() -> None:
    cover = MaskCover(masks(80))
    first, second = pairs(cover)
    exact = iou(cover, first, second)
    for threshold in (0.1, 0.3, 0.5, 1.0):
        likely = may_reach(cover, first, second, threshold)
        assert not (exact[~likely] >= threshold).any() and (~likely).sum() > 20


def test_pieces_do_not_depend_on_what_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cover = MaskCover(masks(40))
    first, second = pairs(cover)
    whole = cover.shared(first, second)
    monkeypatch.setattr(overlap, "PIECES_AT_ONCE", 50)
    np.testing.assert_array_equal(cover.shared(first, second), whole)


def test_areas_in_windows() -> None:
    given = masks(30)
    rng = np.random.default_rng(1)
    index = rng.integers(0, len(given), 50)
    low = rng.integers(0, 60, (50, 2))
    windows = np.concatenate([low, low + rng.integers(0, 60, (50, 2))], axis=1)
    expected = [rle.decode(given[i])[y0:y1, x0:x1].sum() for i, (x0, y0, x1, y1) in zip(index, windows, strict=True)]
    np.testing.assert_array_equal(MaskCover(given).areas(index, windows), expected)
    np.testing.assert_array_equal(MaskCover(given).areas(index), [rle.area_px(given[i]) for i in index])


def test_twenty_thousand_masks_take_no_square_of_memory() -> None:
    side = np.arange(145) * 14
    x, y = (axis.ravel()[:20_000] for axis in np.meshgrid(side, side))
    cover = MaskCover(rle.encode_crops([np.ones((15, 15), bool)] * 20_000, x, y, (2048, 2048)))
    first, second = pairs(cover)
    assert len(first) < 90_000  # eight neighbours each
    shared = cover.shared(first, second)
    assert set(shared.tolist()) == {15.0, 1.0}, "a row of 15 px with a neighbour, a corner with a diagonal one"


def test_rotated_boxes_are_compared_as_polygons() -> None:
    rng = np.random.default_rng(0)
    boxes = np.stack([*rng.uniform(20, 60, (2, 30)), *rng.uniform(3, 30, (2, 30)), rng.uniform(-90, 90, 30)], axis=1)
    given = dataclasses.replace(
        found(*[(0, 0, 9, 0.5, 0)] * 30, masks=False), rotated_boxes=boxes.astype(np.float32)
    )  # fmt: skip
    cover = cover_of(given)
    first, second = pairs(cover)
    shapes = [shapely.Polygon(rotated_box_corners(box)) for box in boxes.astype(np.float32)]
    every = [(i, j) for i in range(30) for j in range(i + 1, 30) if shapes[i].intersects(shapes[j])]
    assert set(every) <= set(zip(first.tolist(), second.tolist(), strict=True))
    expected = [shapes[i].intersection(shapes[j]).area / shapes[i].union(shapes[j]).area for i, j in
                zip(first, second, strict=True)]  # fmt: skip
    np.testing.assert_allclose(iou(cover, first, second), expected, atol=1e-9)


@pytest.mark.parametrize("bad", [0.0, -3.0, np.nan, np.inf])
def test_degenerate_boxes_share_nothing(bad: float) -> None:
    given = found((10, 10, 20, 0.9, 0), (10, 10, 20, 0.8, 0), masks=False)
    given.boxes[1] = [10, 10, 10 + bad, 30]
    assert len(pairs(cover_of(given))[0]) == 0 or iou(cover_of(given), *pairs(cover_of(given))).max() == 0
    turned = dataclasses.replace(given, rotated_boxes=np.array([[20, 20, 9, 9, 0], [20, 20, bad, 9, 0]], np.float32))
    cover = cover_of(turned)
    assert all(value == 0 for value in iou(cover, *pairs(cover)))


@pytest.mark.parametrize("with_masks", [True, False])
def test_no_particles(with_masks: bool) -> None:
    cover = cover_of(NOTHING if with_masks else found(masks=False))
    first, second = pairs(cover)
    assert len(first) == len(second) == len(iou(cover, first, second)) == 0

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from tem_seg.core.types import Rle
from tem_seg.data import rle

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def oracle(mask: np.ndarray) -> Rle:
    """pycocotools' encoding."""
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


@given(MASKS)
def test_encode_is_pycocotools(mask: np.ndarray) -> None:
    assert rle.encode(mask) == oracle(mask)
    assert rle.area_px(rle.encode(mask)) == mask.sum()
    assert (rle.decode(rle.encode(mask)) == mask).all()


@given(MASKS)
def test_decode_crop_is_the_mask_cut_to_its_box(mask: np.ndarray) -> None:
    crop, x0, y0 = rle.decode_crop(rle.encode(mask))
    if not mask.any():
        assert crop.shape == (0, 0)
        return
    assert crop.any(axis=0)[[0, -1]].all() and crop.any(axis=1)[[0, -1]].all()
    rebuilt = np.zeros_like(mask)
    rebuilt[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] = crop
    assert (rebuilt == mask).all()


@given(MASKS, st.integers(-15, 15), st.integers(-15, 15))
def test_a_crop_is_cut_off_at_the_frame(crop: np.ndarray, x0: int, y0: int) -> None:
    height, width = 10, 14
    big = np.zeros((60, 60), bool)
    big[20 + y0 : 20 + y0 + crop.shape[0], 20 + x0 : 20 + x0 + crop.shape[1]] = crop
    assert rle.encode_crop(crop, x0, y0, (height, width)) == oracle(big[20 : 20 + height, 20 : 20 + width])


@given(st.lists(st.tuples(MASKS, st.integers(-15, 15), st.integers(-15, 15)), max_size=6))
def test_many_crops_at_once_are_each_by_itself(given_crops: list[tuple[np.ndarray, int, int]]) -> None:
    crops = [crop for crop, _, _ in given_crops]
    x0, y0 = (np.array([crop[axis] for crop in given_crops], np.int64) for axis in (1, 2))
    found = rle.encode_crops(crops, x0, y0, (10, 14))
    assert found == [rle.encode_crop(crop, x, y, (10, 14)) for crop, x, y in given_crops]


@given(st.lists(MASKS, max_size=5))
def test_pieces_of_columns_make_up_the_masks(given_masks: list[np.ndarray]) -> None:
    rebuilt = [np.zeros_like(mask) for mask in given_masks]
    owner, column, top, bottom = rle.column_pieces([rle.encode(mask) for mask in given_masks])
    for index, x, y0, y1 in zip(owner, column, top, bottom, strict=True):
        assert y0 < y1 and not rebuilt[index][y0:y1, x].any()
        rebuilt[index][y0:y1, x] = True
    assert all((found == mask).all() for found, mask in zip(rebuilt, given_masks, strict=True))
    places = np.stack([owner, column, top])
    assert (np.lexsort(places[::-1]) == np.arange(len(owner))).all(), "in order of masks, columns, rows"


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_expand_undoes_compress(counts: list[int]) -> None:
    assert rle.expand(rle.compress(np.array(counts, np.int64))).tolist() == counts


def test_a_large_frame_is_pycocotools_too() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((1500, 2100), bool)
    mask[700:760, 1990:2100] = rng.random((60, 110)) < 0.5
    assert rle.encode_crop(mask[700:760, 1990:2100], 1990, 700, (1500, 2100)) == oracle(mask)


@pytest.mark.parametrize(
    "mask", [np.ones((3, 4), bool), np.zeros((3, 4), bool), np.eye(5, dtype=bool), np.ones((1, 1), bool)]
)
def test_full_empty_and_one_pixel(mask: np.ndarray) -> None:
    assert rle.encode(mask) == oracle(mask)


def test_polygon_of_a_rectangle_and_of_two_pieces() -> None:
    found = rle.from_polygons([[2, 1, 6, 1, 6, 4, 2, 4]], (8, 10))
    expected = np.zeros((8, 10), bool)
    expected[1:4, 2:6] = True
    assert (rle.decode(found) == expected).all()
    pieces = rle.from_polygons([[2, 1, 6, 1, 6, 4, 2, 4], [7, 5, 9, 5, 9, 7, 7, 7]], (8, 10))
    assert rle.area_px(pieces) == 12 + 4


@given(MASKS)
def test_runs_of_sound_masks(mask: np.ndarray) -> None:
    text = oracle(mask)["counts"]
    runs = rle.runs_of(text)
    assert runs is not None and runs.sum() == mask.size
    assert rle.runs_of(runs.tolist()) is not None


@pytest.mark.parametrize("counts", ["", None, 7, "abc\n", "µ", "P", "0P", "z0", [1, -1], [1.5], ["1"], [True]])
def test_damaged_counts_are_known(counts: object) -> None:
    """The text "P" promises another character that never comes."""
    assert rle.runs_of(counts) is None

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.generation.microscope.warp import Points, Warp, resampled, warped_mask, warped_outlines
from tem_seg.generation.raster import Crop


def bent(points: Points) -> Points:
    return points + np.stack([3.0 * np.sin(points[:, 1] / 20.0), 0.2 * points[:, 1]], axis=1)


def moved(points: Points) -> Points:
    return points + np.array([5.0, -2.0])


def grid() -> Points:
    return np.random.default_rng(0).uniform(-100, 200, (300, 2))


def test_there_and_back_again() -> None:
    for warp in (Warp((bent,)), Warp((bent, moved)), Warp((bent,)).then(Warp((moved, bent)))):
        np.testing.assert_allclose(warp(warp.source(grid())), grid(), atol=5e-3)
        np.testing.assert_allclose(warp.source(warp(grid())), grid(), atol=5e-3)


def test_the_first_step_comes_first() -> None:
    """Content at 0 is seen at -5 after the first step, and that at -5 - 10 after the second."""
    after = Warp((lambda p: p + 5.0,)).then(Warp((lambda p: p * 1.5,)))
    np.testing.assert_allclose(after(np.array([[0.0, 3.0]])), np.array([[-5.0, -2.0]]) / 1.5, atol=2e-3)


def test_no_points_and_no_outlines() -> None:
    assert Warp((bent,))(np.zeros((0, 2))).shape == (0, 2)
    assert warped_outlines([], Warp((bent,))) == []


def test_a_scan_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match="a warp cannot be inverted"):
        Warp((lambda p: -2.0 * p,))(np.array([[1.0, 1.0]]))


def test_straight_edges_bend() -> None:
    square = np.array([[10.0, 10.0], [90.0, 10.0], [90.0, 90.0], [10.0, 90.0]])
    other = square[:3]
    one, two = warped_outlines([square, other], Warp((bent,)))
    assert len(one) >= 320 and np.abs(np.diff(one, axis=0)).max() < 1.5
    back = Warp((bent,)).source(one)
    on_edge = np.isclose(back[:, 0], 10, atol=0.01) | np.isclose(back[:, 0], 90, atol=0.01)
    assert (on_edge | np.isclose(back[:, 1], 10, atol=0.01) | np.isclose(back[:, 1], 90, atol=0.01)).all()
    assert len(two) < len(one)
    assert warped_outlines([square], None)[0] is square


def test_masks_are_moved_with_their_holes() -> None:
    mask = np.random.default_rng(0).random((6, 9)) < 0.5
    mask[[0, -1], :] = mask[:, [0, -1]] = True
    crop = warped_mask(Crop(mask, 4, 7), Warp((moved,)))
    rows, columns = np.nonzero(crop.values)
    before = np.argwhere(mask)
    np.testing.assert_array_equal(
        np.stack([rows + crop.y0, columns + crop.x0], axis=1), before + np.array([7 + 2, 4 - 5])
    )
    empty = Crop(np.zeros((0, 0), bool), 0, 0)
    assert warped_mask(empty, Warp((moved,))) is empty


def test_resampled_by_whole_pixels_is_a_shift() -> None:
    image = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    columns, rows = np.arange(30) + 0.5, np.arange(20) + 0.5
    np.testing.assert_allclose(resampled(image, np.zeros(20), columns, rows), image, atol=1e-6)
    shifted = resampled(image, np.full(20, 3.0), columns, rows - 2.0)
    np.testing.assert_allclose(shifted[2:, :-3], image[:-2, 3:], atol=1e-6)

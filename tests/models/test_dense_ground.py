"""Whose pixel it is, and how deep it lies."""

from __future__ import annotations

import numpy as np
from dense_scenes import disc
from scipy.ndimage import distance_transform_edt

from tem_seg.models.dense.ground import depth_of, shared_out

SIZE = (48, 64)


def test_depth_is_the_distance_to_the_ground_over_the_largest() -> None:
    mask = disc(SIZE, 30, 20, 11)
    distance = distance_transform_edt(mask)
    np.testing.assert_allclose(depth_of(mask), distance / distance.max(), atol=1e-5)


def test_the_side_of_a_crop_is_no_border() -> None:
    cut = disc(SIZE, 0, 24, 12)
    whole = depth_of(disc((48, 80), 16, 24, 12))[:, 16:]
    np.testing.assert_allclose(depth_of(cut), whole[:, :64], atol=1e-5)


def test_a_mask_that_fills_the_crop_is_deepest_in_the_middle() -> None:
    depth = depth_of(np.ones((9, 9), np.uint8))
    assert depth[4, 4] == 1 and depth[0, 0] == np.float32(0.2)


def test_one_pixel_and_nothing() -> None:
    assert depth_of(disc(SIZE, 10.5, 10.5, 0.6)).sum() == 1
    assert not depth_of(np.zeros((5, 5), np.uint8)).any()
    owner, depth = shared_out(np.zeros((0, *SIZE), np.uint8))
    assert owner.shape == depth.shape == SIZE and not owner.any()


def test_apart_particles_keep_all_their_pixels() -> None:
    masks = np.stack([disc(SIZE, 15, 20, 9), disc(SIZE, 45, 25, 12)])
    owner, depth = shared_out(masks)
    assert all((owner == index + 1).tolist() == mask.astype(bool).tolist() for index, mask in enumerate(masks))
    np.testing.assert_allclose(depth, np.maximum(depth_of(masks[0]), depth_of(masks[1])), atol=1e-6)


def test_equal_discs_share_their_lens_equally_and_a_valley_lies_between() -> None:
    masks = np.stack([disc(SIZE, 24, 24, 12), disc(SIZE, 40, 24, 12)])
    owner, depth = shared_out(masks)
    assert (owner > 0).sum() == masks.any(axis=0).sum()
    lens = masks.all(axis=0)
    assert abs(int((owner[lens] == 1).sum()) - int((owner[lens] == 2).sum())) <= lens.any(axis=1).sum()
    assert depth[24, 31] < 0.15 and depth[24, 32] < 0.15 and depth[24, 23] > 0.89, "low where they meet"


def test_a_small_one_on_a_large_one_keeps_its_middle() -> None:
    masks = np.stack([disc(SIZE, 32, 24, 20), disc(SIZE, 40, 24, 5)])
    owner, _ = shared_out(masks)
    assert owner[24, 40] == 2 and owner[24, 32] == 1 and (owner == 2).sum() > 0.25 * masks[1].sum()


def test_the_order_of_particles_does_not_matter() -> None:
    masks = np.stack([disc(SIZE, 20.3, 24, 12), disc(SIZE, 33.1, 26, 9), disc(SIZE, 44.2, 20, 10)])
    forward, backward = shared_out(masks), shared_out(masks[::-1])
    renamed = np.array([0, 3, 2, 1])[backward[0]]
    assert (forward[0] != renamed).mean() < 0.002, "but for exact ties"


def test_depth_is_the_same_to_the_last_bit_wherever_an_array_lies() -> None:
    """Else no training can be repeated. OpenCV's own distances fail this in a third of the calls."""
    rng = np.random.default_rng(0)
    mask = (rng.random((97, 113)) > 0.02).astype(np.uint8)
    first, held = depth_of(mask), []
    for _ in range(60):
        held.append(np.empty(int(rng.integers(1, 90_000)), np.uint8))
        np.testing.assert_array_equal(depth_of(mask.copy()), first)

"""Distances along rays; the ``stardist`` package is the oracle where it is installed (without TensorFlow)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_scenes import disc, ellipses, target_of

from tem_seg.models.dense import star

SIZE = (64, 64)


@pytest.mark.parametrize("grid", [1, 2, 4])
@pytest.mark.parametrize("rays", [8, 32])
def test_distances_are_those_of_the_package(rays: int, grid: int) -> None:
    geometry = pytest.importorskip("stardist.geometry")
    labels = ellipses(np.random.default_rng(0), 30, 150, 3, 25)[:, :131]
    ours, theirs = star.star_distances(labels, rays, grid), geometry.star_dist(labels, rays, grid=(grid, grid))
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_depths_are_those_of_the_package() -> None:
    utils = pytest.importorskip("stardist.utils")
    labels = ellipses(np.random.default_rng(1), 30, 150, 3, 25)
    np.testing.assert_allclose(star.depths(labels), utils.edt_prob(labels), atol=1e-5)


def test_from_the_middle_of_a_disc_all_rays_are_a_radius_long() -> None:
    labels = disc(SIZE, 32.5, 32.5, 20).astype(np.int32)
    distances = star.star_distances(labels, 32)
    assert distances.shape == (*SIZE, 32) and abs(distances[32, 32] - 20).max() < 1.2
    assert not distances[0, 0].any(), "ground reaches nowhere"
    polygon = distances[32, 32, :, None] * star.directions(32) + 32
    assert polygon[0].tolist() == pytest.approx([32, 32 + distances[32, 32, 0]]), "the first ray points right"
    assert polygon[8, 0] > 50 and polygon[8, 1] == pytest.approx(32, abs=1e-4), "then down"


def test_a_square_by_hand() -> None:
    labels = np.zeros((11, 11), np.int32)
    labels[3:8, 3:8] = 7
    found = star.star_distances(labels, 8)[4, 5]  # right, down-right, down, …: pixels left to the side, and half a one
    assert found[0] == 2.5 and found[2] == 3.5 and found[4] == 2.5 and found[6] == 1.5
    assert found[1] == pytest.approx(3 + 0.5 * 2**0.5), "along a diagonal a step is less than a pixel each way"


def test_turning_the_labels_turns_the_rays() -> None:
    labels = ellipses(np.random.default_rng(2), 12, 80, 4, 15)
    turned = star.star_distances(np.ascontiguousarray(np.rot90(labels)), 32)
    np.testing.assert_allclose(np.rot90(star.star_distances(labels, 32)), np.roll(turned, 8, axis=-1), atol=1e-4)


def test_an_image_without_particles() -> None:
    assert not star.star_distances(np.zeros((5, 7), np.int32), 8, 2).any()
    maps = star.encode(target_of([]), rays=8, grid=2)["maps"]
    assert maps.shape == (10, 32, 32) and not maps.any()


def test_maps_of_a_target() -> None:
    target = target_of([disc(SIZE, 20, 20, 12), disc(SIZE, 48, 44, 8)], [1, 0])
    encoded = star.encode(target, rays=16, grid=2)
    assert "masks" not in encoded and encoded["maps"].shape == (18, 32, 32)
    kinds, objects, distances = encoded["maps"][0], encoded["maps"][1], encoded["maps"][2:]
    assert kinds[10, 10] == 2 and kinds[22, 24] == 1 and kinds[0, 0] == 0
    assert objects.max() == 1 and ((objects > 0) == (kinds > 0)).all()
    assert torch.equal(distances.sum(0) > 0, kinds > 0)


def test_overlapping_particles_keep_their_outlines() -> None:
    one, other = disc(SIZE, 24.5, 32.5, 14), disc(SIZE, 40.5, 32.5, 14)
    maps = star.encode(target_of([one, other]), rays=16, grid=1)["maps"].numpy()
    alone = star.star_distances(one.astype(np.int32), 16)
    np.testing.assert_array_equal(maps[2:, 32, 24], alone[32, 24])
    assert (maps[1] > 0).sum() == np.logical_or(one, other).sum()


def test_layers_hold_everything_and_nothing_twice() -> None:
    masks = np.stack([disc(SIZE, x, 32, 10) for x in (12, 26, 40, 54)])
    images, place = star.layers(masks)
    assert len(images) == 2 and place.tolist() == [0, 1, 0, 1]
    assert all((images[place[i]] == i + 1).tolist() == mask.astype(bool).tolist() for i, mask in enumerate(masks))

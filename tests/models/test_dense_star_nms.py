"""Which polygons remain: as by hand, as greedily one by one, as in the ``stardist`` package."""

from __future__ import annotations

import time

import numpy as np
import pytest
import shapely
from dense_scenes import ellipses
from numpy.typing import NDArray

from tem_seg.models.dense import star
from tem_seg.models.dense.star_nms import Stars, ious, survivors


def claims(seed: int, count: int, size: int, grid: int, noise: float) -> tuple[Stars, NDArray[np.float64]]:
    """What all pixels of drawn ellipses claim, distances off by a share ``noise``, best first; and their scores."""
    rng = np.random.default_rng(seed)
    labels = ellipses(rng, count, size, 4, size / 10)
    scores = star.depths(labels[::grid, ::grid]).astype(np.float64)
    scores += 1e-6 * rng.random(scores.shape)
    chosen = scores > 0.3
    smooth = 1 + noise * np.sin(np.arange(32) * rng.integers(1, 5) / 5 + rng.uniform(0, 6, (*scores.shape, 1)))
    radii = (star.star_distances(labels, 32, grid) * smooth)[chosen].astype(np.float64)
    order = np.argsort(-scores[chosen])
    return Stars(np.argwhere(chosen)[order] * float(grid), np.maximum(radii[order], 1e-3)), scores[chosen][order]


def one_by_one(stars: Stars, overlap: float) -> list[int]:
    """The greedy choice, polygon by polygon, all cut exactly."""
    polygons = shapely.make_valid(shapely.polygons(stars.corners()))
    areas = shapely.area(polygons)
    alive = np.ones(len(areas), bool)
    for index in range(len(areas)):
        if alive[index]:
            later = index + 1 + np.flatnonzero(alive[index + 1 :])
            shared = shapely.area(shapely.intersection(polygons[index], polygons[later]))
            alive[later[shared > overlap * np.minimum(areas[index], areas[later])]] = False
    return np.flatnonzero(alive).tolist()


@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(("grid", "noise"), [(1, 0.0), (2, 0.0), (2, 0.1), (2, 0.4)])
def test_what_remains_is_the_greedy_choice(grid: int, noise: float, overlap: float) -> None:
    stars, _ = claims(3, 16, 100, grid, noise)
    assert survivors(stars, overlap, grid).tolist() == one_by_one(stars, overlap)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_remains_is_what_the_package_leaves(noise: float) -> None:
    """Its polygons have corners at whole px: enlarged a thousandfold, that makes no difference."""
    nms = pytest.importorskip("stardist.nms")
    stars, scores = claims(4, 40, 256, 2, noise)
    kept = nms.non_maximum_suppression_sparse(1000 * stars.radii, scores, 1000 * stars.centres, nms_thresh=0.5)[3]
    ours = survivors(stars, 0.5, 2)
    assert ours.tolist() == sorted(kept.tolist())
    rounded = nms.non_maximum_suppression_sparse(stars.radii, scores, stars.centres, nms_thresh=0.5)[3]
    assert len(set(ours) & set(rounded)) >= 0.9 * max(len(ours), len(rounded))


def test_ious_are_shapelys() -> None:
    """Of pairs that overlap much, little and not at all; nearly, for it takes points of outlines alone."""
    stars, _ = claims(5, 16, 100, 2, 0.2)
    others = np.random.default_rng(0).permutation(len(stars.radii))
    paired = Stars(stars.centres[others], stars.radii[others])
    near = Stars(np.roll(stars.centres, 1, axis=0), np.roll(stars.radii, 1, axis=0))
    for other in (near, paired):
        one, two = (shapely.make_valid(shapely.polygons(each.corners())) for each in (stars, other))
        true = shapely.area(shapely.intersection(one, two)) / shapely.area(shapely.union(one, two))
        wrong = np.abs(ious(stars, other) - true)
        assert np.mean(wrong) < 0.01 and np.quantile(wrong, 0.99) < 0.1
        np.testing.assert_allclose(ious(stars, other), ious(other, stars), atol=0.2)
    np.testing.assert_allclose(ious(stars, stars), 1, atol=1e-4)
    nothing = Stars(np.zeros((0, 2)), np.zeros((0, 32)))
    assert ious(nothing, nothing).shape == (0,)


def test_areas_and_corners_of_a_square() -> None:
    square = Stars(np.array([[5.0, 3.0]]), np.full((1, 4), 2.0))
    np.testing.assert_allclose(square.corners()[0], [[5, 5], [3, 7], [1, 5], [3, 3]], atol=1e-12)
    assert square.areas()[0] == pytest.approx(8)


def test_a_small_one_inside_a_large_one_is_the_same() -> None:
    stars = Stars(np.array([[50.0, 50.0], [60.0, 50.0]]), np.stack([np.full(32, 40.0), np.full(32, 5.0)]))
    assert survivors(stars, 0.5).tolist() == [0]


def test_a_chain_of_overlaps_loses_every_second_one() -> None:
    """The second is dropped by the first, so that it cannot drop the third."""
    stars = Stars(np.array([[50.0, 20.0], [50.0, 28.0], [50.0, 36.0]]), np.full((3, 32), 10.0))
    assert survivors(stars, 0.45).tolist() == [0, 2]


def test_nothing_and_one() -> None:
    assert survivors(Stars(np.zeros((0, 2)), np.zeros((0, 32))), 0.5).tolist() == []
    assert survivors(Stars(np.zeros((1, 2)), np.full((1, 32), 1e-3)), 0.5).tolist() == [0]


def test_polygons_of_no_area_do_no_harm() -> None:
    """What a network says that has learned nothing."""
    rng = np.random.default_rng(0)
    radii = np.maximum(rng.normal(0, 3, (400, 32)), 1e-3)
    stars = Stars(rng.integers(0, 40, (400, 2)).astype(float), radii)
    assert 0 < len(survivors(stars, 0.5)) <= 400


def test_two_thousand_particles_in_seconds() -> None:
    """The figure of docs/models.md is measured on a whole prediction; this one catches a slip by an order."""
    rng = np.random.default_rng(5)
    places = np.stack(np.meshgrid(np.arange(40), np.arange(50)), axis=-1).reshape(-1, 2) * 40.0 + 20
    offsets = np.stack(np.meshgrid([-4, -2, 0, 2, 4], [-4, -2, 0, 2, 4]), axis=-1).reshape(-1, 2)
    centres = (places[:, None] + offsets).reshape(-1, 2)
    order = rng.permutation(len(centres))
    start = time.process_time()
    kept = survivors(Stars(centres[order], np.full((len(centres), 32), 17.0)), 0.5, 2)
    assert len(kept) == 2000 and time.process_time() - start < 10

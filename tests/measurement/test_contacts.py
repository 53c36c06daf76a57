"""Contacts, covers, agglomerates and distances against dense masks and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from measurement_shapes import blobs
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist, pdist, squareform

from tem_seg.core.geometry import rotated_boxes_corners
from tem_seg.core.types import Rle
from tem_seg.data import rle
from tem_seg.measurement import contacts
from tem_seg.measurement.runs import Runs, runs_of

SIZE = (100, 120)


def placed(seed: int) -> list[Rle]:
    """Blobs anywhere, some of them cut by the border or empty, and one with no pixel."""
    rng = np.random.default_rng(seed)
    places = rng.integers(-10, [90, 70], (7, 2)).tolist()
    found = [rle.encode_crop(blob, x, y, SIZE) for blob, (x, y) in zip(blobs(seed, 7), places, strict=True)]
    return [*found, rle.encode(np.zeros(SIZE, bool))]


def box(x: int, y: int, width: int, height: int) -> Rle:
    return rle.encode_crop(np.ones((height, width), bool), x, y, SIZE)


def edges(runs: Runs) -> np.ndarray:
    return contacts.nearest_edge(runs, contacts.of_runs(runs))


@pytest.mark.parametrize("seed", range(8))
def test_everything_is_what_brute_force_finds(seed: int) -> None:
    masks = placed(seed)
    runs, dense = runs_of(masks, SIZE), [rle.decode(mask) for mask in masks]
    points = [np.argwhere(mask) for mask in dense]
    shared, nearest = {}, np.full(len(masks), np.inf)
    for i in range(len(masks)):
        for j in range(i + 1, len(masks)):
            if len(points[i]) and len(points[j]):
                apart = cdist(points[i], points[j]).min()
                nearest[[i, j]] = np.minimum(nearest[[i, j]], 0.0 if apart < 1.5 else apart - 1.0)
                if apart < 1.5:
                    shared[i, j] = (dense[i] & dense[j]).sum()
    found = contacts.of_runs(runs)
    assert dict(zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.shared, strict=True)) == shared
    assert edges(runs) == pytest.approx(np.where(np.isfinite(nearest), nearest, np.nan), nan_ok=True)
    assert contacts.covered_px(runs) == np.any(dense, axis=0).sum()
    for mask, boundary in zip(dense, contacts.boundaries(runs), strict=True):
        padded = np.pad(mask, 1)
        inner = np.argwhere((padded & ~binary_erosion(padded))[1:-1, 1:-1])[:, ::-1]
        assert {tuple(p) for p in boundary.astype(int).tolist()} == {tuple(p) for p in inner.tolist()}


def test_touching_overlapping_and_chains() -> None:
    # 0-1 side by side, 1-2 corner to corner, 3-4 overlap by 2 × 5 px, 5 alone, 6 inside 3
    masks = [box(0, 0, 5, 5), box(5, 0, 5, 5), box(10, 5, 5, 5), box(40, 40, 20, 20), box(58, 40, 5, 5),
             box(90, 90, 3, 3), box(45, 45, 3, 3)]  # fmt: skip
    found = contacts.of_runs(runs_of(masks, SIZE))
    assert found.touches.tolist() == [True, True, True, False, False, False, False]
    assert found.overlaps.tolist() == [False, False, False, True, True, False, True]
    assert found.shared.tolist() == [0, 0, 10, 9]
    groups = found.agglomerates()
    assert groups[0] == groups[1] == groups[2] != groups[3] == groups[4] == groups[6] != groups[5]
    assert len(set(groups.tolist())) == 3 and groups.min() == 1


def test_a_free_pixel_apart_is_no_contact() -> None:
    runs = runs_of([box(10, 10, 5, 5), box(16, 10, 5, 5), box(10, 40, 5, 5), box(17, 48, 5, 5)], SIZE)
    assert len(contacts.of_runs(runs).first) == 0
    assert edges(runs) == pytest.approx([1, 1, np.hypot(3, 4) - 1, np.hypot(3, 4) - 1])


def test_the_end_of_a_column_is_not_beside_the_start_of_the_next() -> None:
    runs = runs_of([box(10, 95, 1, 5), box(11, 0, 1, 5)], SIZE)
    assert len(contacts.of_runs(runs).first) == 0
    assert edges(runs)[0] == pytest.approx(np.hypot(1, 91) - 1)


def test_discs_are_as_far_apart_as_drawn() -> None:
    """Mean over angles and places: the gap of 10 px between discs of 30 px to half a pixel."""
    rng, gaps = np.random.default_rng(0), []
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    for angle in np.arange(0, np.pi, np.pi / 24):
        middle, along = np.array([60, 50]) + rng.uniform(0, 1, 2), 20 * np.array([np.cos(angle), np.sin(angle)])
        masks = [(columns - x) ** 2 + (rows - y) ** 2 <= 15**2 for x, y in (middle - along, middle + along)]
        gaps.append(edges(runs_of([rle.encode(mask) for mask in masks], SIZE))[0])
    assert np.mean(gaps) == pytest.approx(10, abs=0.5)
    assert max(abs(np.array(gaps) - 10)) < 1.0


def test_none_and_one() -> None:
    none, one = runs_of([], SIZE), runs_of([box(3, 3, 4, 4)], SIZE)
    assert contacts.of_runs(none).agglomerates().tolist() == [] and edges(none).tolist() == []
    assert contacts.of_runs(one).agglomerates().tolist() == [1] and np.isnan(edges(one)).all()
    assert contacts.covered_px(none) == 0 and contacts.covered_px(one) == 16
    assert np.isnan(contacts.nearest_centre(np.zeros((1, 2)))).all()
    assert len(contacts.nearest_centre(np.zeros((0, 2)))) == 0


def test_nearest_centres_are_those_of_all_distances() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (40, 2))
    apart = squareform(pdist(points))
    np.fill_diagonal(apart, np.inf)
    assert contacts.nearest_centre(points) == pytest.approx(apart.min(axis=1))


def test_rotated_boxes() -> None:
    # two upright bars side by side with 4 px between, one across the first, two that are the same box
    twice = [80, 50, 6, 30, 20]
    boxes = np.array([[20, 50, 4, 40, 0], [28, 50, 4, 40, 0], [20, 40, 4, 10, 90], twice, twice])
    found, nearest = contacts.of_polygons(rotated_boxes_corners(boxes))
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == {(0, 2), (3, 4)}
    assert sorted(found.shared.tolist()) == pytest.approx([16, 180])
    assert nearest == pytest.approx([0, 1, 0, 0, 0])  # from the second bar to the tip of the one across
    assert len(contacts.of_polygons(np.zeros((0, 4, 2)))[1]) == 0
    assert np.isnan(contacts.of_polygons(rotated_boxes_corners(boxes[:1]))[1]).all()

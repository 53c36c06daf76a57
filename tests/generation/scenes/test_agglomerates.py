from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.seeds import child_rng
from tem_seg.generation.raster import fill
from tem_seg.generation.scenes.agglomerates import Packing, gather, numbers, scatter, trimmed
from tem_seg.generation.scenes.facets import RAYS, Habit, draw_forms

GRAIN = Habit((1.0, 1.8), (0.6, 1.0), 0.8, 0.03, 0.04, 0.0)


def grains(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Radii (N, RAYS) in px and outlines (N, RAYS, 2) around (0, 0)."""
    rng = child_rng(seed, "grains")
    forms = draw_forms(["irregular"] * count, GRAIN, rng)
    sizes = rng.uniform(25, 50, count)
    return np.stack([f.radii * s for f, s in zip(forms, sizes, strict=True)]), np.stack(
        [f.outline * s for f, s in zip(forms, sizes, strict=True)]
    )


def shares(outlines: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(N, N) shared area of two over the smaller one's, from masks."""
    moved = outlines + centres[:, None]
    low, high = np.floor(moved.min(axis=(0, 1))).astype(int), np.ceil(moved.max(axis=(0, 1))).astype(int)
    masks = np.stack([fill(outline, (*low, *high)).ravel() for outline in moved]).astype(np.float32)
    areas = masks.sum(axis=1)
    found = masks @ masks.T / np.minimum(areas[:, None], areas)
    np.fill_diagonal(found, 0.0)
    return found


@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("limit", [0.0, 0.15, 0.5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_two_share_more_than_the_limit_and_all_hang_together(density: float, limit: float, seed: int) -> None:
    radii, outlines = grains(14, seed)
    centres = gather(radii, Packing(density, limit), child_rng(2, "gather"))
    assert shares(outlines, centres).max() <= limit + 0.03  # told from 120 points
    # grown by a sixth of a diameter they are one connected whole
    near = shares(outlines * 1.35, centres) > 0
    reached = {0}
    for _ in range(len(radii)):
        reached |= {int(j) for i in reached for j in np.flatnonzero(near[i])}
    assert reached == set(range(14))


def test_overlap_is_used_where_it_is_allowed() -> None:
    radii, outlines = grains(20, 3)
    centres = gather(radii, Packing(0.5, 0.4), child_rng(0, "used"))
    assert (shares(outlines, centres).max(axis=1) > 0.08).mean() > 0.4


def test_dense_clusters_are_more_compact_than_chains() -> None:
    radii, _ = grains(20, 4)
    spread = [
        np.mean([gather(radii, Packing(d, 0.1), child_rng(i, "spread")).std(axis=0).max() for i in range(4)])
        for d in (0.0, 1.0)
    ]
    assert spread[0] > 1.6 * spread[1]


def test_one_particle_lies_in_the_middle_and_none_is_a_case() -> None:
    np.testing.assert_array_equal(gather(np.ones((1, RAYS)), Packing(0.5, 0.2), child_rng(0, "one")), [[0.0, 0.0]])
    assert gather(np.empty((0, RAYS)), Packing(0.5, 0.2), child_rng(0, "none")).shape == (0, 2)
    assert scatter([], (10.0, 10.0), child_rng(0, "none")) == []


def test_agglomerates_do_not_meet_and_those_without_a_place_are_left_out() -> None:
    heaps = [(np.array([[0.0, 0.0], [8.0, 0.0]]), np.array([5.0, 5.0]))] * 200
    positions = scatter(heaps, (100.0, 200.0), child_rng(0, "scatter"))
    found = [p for p in positions if p is not None]
    assert 20 < len(found) < 150
    points = np.concatenate([heaps[0][0] + p for p in found])
    apart = np.hypot(*(points[:, None] - points).transpose(2, 0, 1))
    owner = np.repeat(np.arange(len(found)), 2)
    assert apart[owner[:, None] != owner].min() >= 10.0
    assert all(0 <= p[0] <= 200 and 0 <= p[1] <= 100 for p in found)


def test_numbers_are_within_limits_and_trimmed_to_the_room() -> None:
    drawn = numbers(child_rng(0, "n"), 500, 8.0, (2.0, 30.0))
    assert min(drawn) >= 2 and max(drawn) <= 30 and np.median(drawn) == pytest.approx(8, abs=1)
    assert trimmed([5, 5, 5], 12) == [5, 5, 2] and trimmed([5], 0) == [] and trimmed([], 3) == []

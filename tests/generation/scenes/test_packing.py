from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.seeds import child_rng
from tem_seg.generation.raster import fill
from tem_seg.generation.scenes.packing import Packing, joined, settle
from tem_seg.generation.scenes.shapes import area, ellipse

FIELD = (2000.0, 3000.0)


def radii(count: int, sigma: float = 0.0) -> np.ndarray:
    return 40.0 * np.exp(sigma * child_rng(7, "radii").standard_normal(count))


def pairs(centres: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of all pairs, and 2 √(r₁ r₂)."""
    i, j = np.triu_indices(len(sizes), 1)
    return np.hypot(*(centres[i] - centres[j]).T), 2.0 * np.sqrt(sizes[i] * sizes[j])


def test_spheres_that_rest_on_a_film_touch_by_pythagoras() -> None:
    """Centres at heights r₁ and r₂ and r₁ + r₂ apart: horizontally √((r₁ + r₂)² − (r₁ − r₂)²)."""
    packing = Packing(0.5, 0.5, 0.0, 0.0)
    for first, second in ((10.0, 10.0), (10.0, 40.0), (3.0, 5.0)):
        expected = np.sqrt((first + second) ** 2 - (first - second) ** 2)
        assert packing.contact_nm(first, np.array([second]))[0] == pytest.approx(expected)
    in_a_slab = Packing(0.5, 0.5, 0.0, 0.0, on_film=False, pressed=0.1)
    assert in_a_slab.contact_nm(10.0, np.array([40.0]))[0] == pytest.approx(45.0)


@pytest.mark.parametrize("compact", [0.0, 1.0])
def test_clustered_particles_touch_and_none_is_nearer(compact: float) -> None:
    sizes = radii(80, 0.2)
    centres = settle(sizes, FIELD, Packing(1.0, compact, 0.0, 5.0), child_rng(0, "a"))
    assert np.isfinite(centres).all()
    distance, contact = pairs(centres, sizes)
    assert (distance >= contact * (1 - 1e-6)).all()
    touching = int((distance < contact * (1 + 1e-6)).sum())
    assert touching >= 79 if compact == 0.0 else touching > 120, "a raft has more contacts than a chain"


def test_equal_spheres_make_a_triangular_lattice() -> None:
    sizes = radii(60)
    centres = settle(sizes, FIELD, Packing(1.0, 1.0, 0.0, 5.0), child_rng(1, "a"))
    origin = np.argmin(np.hypot(*(centres - centres.mean(axis=0)).T))
    between = centres - centres[origin]
    near = between[(np.hypot(*between.T) > 1.0) & (np.hypot(*between.T) < 80.001)]
    angles = np.degrees(np.arctan2(near[:, 1], near[:, 0]))
    assert len(near) >= 3
    np.testing.assert_allclose((angles - angles[0] + 30.0) % 60.0, 30.0, atol=1e-3)


def test_lone_particles_keep_the_gap_and_stay_in_the_field() -> None:
    sizes = radii(50, 0.3)
    centres = settle(sizes, FIELD, Packing(0.0, 0.0, 0.0, 30.0), child_rng(2, "a"))
    i, j = np.triu_indices(50, 1)
    assert (np.hypot(*(centres[i] - centres[j]).T) >= sizes[i] + sizes[j] + 30.0 - 1e-6).all()
    slack = 0.5 * sizes[:, None]
    assert (centres >= -slack).all() and (centres <= np.array([3000.0, 2000.0]) + slack).all()


def test_stacked_share() -> None:
    sizes = radii(120)
    centres = settle(sizes, (4000.0, 4000.0), Packing(0.0, 0.0, 0.4, 10.0), child_rng(3, "a"))
    between = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) + 1e9 * np.eye(120)
    over_another = (between < 79.9).any(axis=1).mean()
    assert 0.4 < over_another < 0.8, "each stacked particle lies on one that may not be stacked itself"
    assert between.min() >= 0.4 * 80.0 * (1 - 1e-6)


def test_what_finds_no_place_is_nan_and_nothing_is_nothing() -> None:
    centres = settle(radii(50), (150.0, 150.0), Packing(0.0, 0.0, 0.0, 0.0), child_rng(0, "a"))
    assert 1 <= np.isfinite(centres[:, 0]).sum() < 12
    assert settle(np.empty(0), FIELD, Packing(0.5, 0.5, 0.5, 0.0), child_rng(0, "a")).shape == (0, 2)


def test_a_further_condition_is_kept() -> None:
    def left(index: int, position: np.ndarray) -> bool:
        return bool(position[0] < 1000.0)

    centres = settle(radii(30), FIELD, Packing(0.5, 0.5, 0.2, 1.0), child_rng(0, "a"), left)
    assert np.isfinite(centres[:, 0]).sum() > 20 and np.nanmax(centres[:, 0]) < 1000.0


def test_same_seed_same_places() -> None:
    first, second = (settle(radii(30, 0.2), FIELD, Packing(0.6, 0.5, 0.1, 1.0), child_rng(5, "a")) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("apart", "pressed"), [(200.0, 0.0), (198.0, 0.0), (188.0, 0.06)])
def test_joined_spheres_meet_in_a_facet_and_share_nothing(apart: float, pressed: float) -> None:
    discs = [ellipse() * 100.0, ellipse() * 100.0]
    centres = np.array([[150.0, 150.0], [150.0 + apart, 150.0]])
    shaped = joined(discs, centres, 12.0, pressed)
    box = (0, 0, 500, 300)
    masks = [fill(one + centre, box) for one, centre in zip(shaped, centres, strict=True)]
    assert not (masks[0] & masks[1]).any()
    ends = [shaped[0][:, 0].max(), -shaped[1][:, 0].min()]
    assert ends == pytest.approx([apart / 2.0, apart / 2.0], abs=0.2), "both end in the middle"
    width = np.ptp(shaped[0][shaped[0][:, 0] > apart / 2.0 - 0.01][:, 1])
    assert width >= 2.0 * 100.0 * np.sin(np.radians(8.0)), "a facet of at least the corners within the half angle"
    assert area(shaped[0]) == pytest.approx(area(discs[0]), rel=0.02)


@pytest.mark.parametrize("apart", [230.0, 150.0])
def test_neither_distant_nor_stacked_spheres_are_joined(apart: float) -> None:
    discs = [ellipse() * 100.0, ellipse() * 100.0]
    shaped = joined(discs, np.array([[0.0, 0.0], [apart, 0.0]]), 12.0)
    np.testing.assert_array_equal(shaped[0], discs[0])
    assert joined([], np.empty((0, 2)), 12.0) == []


def test_joining_turns_with_the_pair() -> None:
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # 90°, which maps the 64 corners of a disc onto themselves
    discs, centres = [ellipse() * 100.0, ellipse() * 60.0], np.array([[0.0, 0.0], [159.0, 10.0]])
    plain = joined(discs, centres, 15.0)
    turned = joined([one @ turn for one in discs], centres @ turn, 15.0)
    for one, other in zip(plain, turned, strict=True):
        np.testing.assert_allclose(other, one @ turn, atol=1e-9)

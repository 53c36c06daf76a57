from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tem_seg.generation.contrast.supports import Support
from tem_seg.generation.scenes.scatter import APART, Sites, compact_outlines, scatter
from tem_seg.generation.scenes.shapes import area


def sites(**changes: object) -> Sites:
    """A support 50 nm thick (sharp) and 50 nm (blurred by 2 nm) on the right half of a field of 200 × 300 nm."""
    thickness = np.zeros((50, 75, 2), np.float32)
    thickness[:, 38:] = 50.0
    support = Support(thickness, (0.0, 2.0), np.zeros((50, 75), np.float32), 1.0, 0.0, 1.0, 0)
    plain = Sites(support, (200.0, 300.0), 0.1, 0.0, 1.0, 0.0, 0.2)
    return replace(plain, **changes)


def put(where: Sites, count: int = 200, diameter: float = 5.0, signal: float = 300.0) -> tuple[np.ndarray, np.ndarray]:
    diameters = np.full(count, diameter)
    return scatter(diameters, np.full(count, signal), where, np.random.default_rng(0))


def test_particles_lie_on_the_support_only() -> None:
    centres, blurs = put(sites())
    assert np.isfinite(blurs).mean() > 0.9
    assert centres[np.isfinite(blurs), 0].min() >= 38 * 4.0 and np.nanmax(centres[:, 0]) < 300
    assert (centres[~np.isfinite(blurs)] != centres[~np.isfinite(blurs)]).all(), "NaN where there was no place"


def test_those_that_lie_alone_keep_their_distance() -> None:
    centres, blurs = put(sites())
    centres = centres[np.isfinite(blurs)]
    distance = np.linalg.norm(centres[:, None] - centres, axis=2) + np.eye(len(centres)) * 1e9
    assert distance.min() >= APART * 5.0 - 1e-6


def test_agglomerated_ones_touch_or_overlap_as_much_as_allowed() -> None:
    centres, blurs = put(sites(agglomerated=0.5, overlap=0.3))
    centres = centres[np.isfinite(blurs)]
    distance = (np.linalg.norm(centres[:, None] - centres, axis=2) + np.eye(len(centres)) * 1e9) / 5.0
    nearest = distance.min(axis=1)
    assert distance.min() >= 0.7 - 1e-6 and 0.5 < (nearest <= 1.0 + 1e-6).mean() < 0.9


def test_half_of_them_are_on_the_blurred_slice() -> None:
    blurs = put(sites())[1]
    assert np.mean(blurs[np.isfinite(blurs)] == 2.0) == pytest.approx(0.5, abs=0.12)
    assert np.nanmax(put(sites(max_blur=0.2))[1]) == 0.0


def test_what_cannot_be_seen_is_left_out() -> None:
    # behind 100 nm of support of signal 1 a nm: 300 / 100 = 3
    assert np.isfinite(put(sites(min_contrast=2.9, max_blur=0.0))[1]).any()
    assert not np.isfinite(put(sites(min_contrast=3.1))[1]).any()
    # (5 / 2.35)² / ((5 / 2.35)² + 2²) = 0.53 of the signal is left in the middle of those on the blurred slice
    assert np.isfinite(put(sites(min_contrast=1.55))[1]).any()
    assert np.nanmax(put(sites(min_contrast=1.65))[1]) == 0.0
    assert not np.isfinite(put(sites(min_contrast=1.65, probe_nm=2.0))[1]).any()


def test_bright_for_dark_surroundings_but_black_in_the_picture_is_left_out() -> None:
    """On a rim of 1 nm a signal of 30 is 30 times the support's, but 0.6 of half of its mean."""
    thickness = np.full((50, 75, 1), 99.0, np.float32)
    thickness[:, 38:] = 1.0
    thin = Support(thickness, (0.0,), np.zeros((50, 75), np.float32), 1.0, 0.0, 1.0, 0)
    centres, blurs = put(sites(support=thin, min_contrast=0.5), signal=30.0)
    assert (centres[np.isfinite(blurs), 0] >= 38 * 4.0).all() and np.isfinite(blurs).any()
    assert not np.isfinite(put(sites(support=thin, min_contrast=1.3), signal=30.0)[1]).any()


def test_no_particles_and_no_support() -> None:
    assert put(sites(), 0)[0].shape == (0, 2)
    nothing = Support(np.zeros((5, 5, 1), np.float32), (0.0,), np.zeros((5, 5), np.float32), 1.0, 0.0, 1.0, 0)
    assert not np.isfinite(put(sites(support=nothing))[1]).any()


def test_a_crowd_is_thinned_not_piled_up() -> None:
    blurs = put(sites(), 3000, 6.0)[1]
    assert 100 < np.isfinite(blurs).sum() < 3000


def test_outlines_have_the_area_of_a_disc_around_their_centroid() -> None:
    rng = np.random.default_rng(0)
    found = compact_outlines(rng.random(50) < 0.5, 1.6, 0.08, rng)
    assert found.shape[0] == 50 and found.shape[2] == 2
    for outline in found:
        assert area(outline) == pytest.approx(np.pi / 4)
        following = np.roll(outline, -1, axis=0)
        cross = outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]
        np.testing.assert_allclose(((outline + following) * cross[:, None]).sum(axis=0), 0.0, atol=1e-9)


def test_round_ones_are_round_and_faceted_ones_have_corners() -> None:
    rng = np.random.default_rng(0)
    circle, facets = (compact_outlines(np.full(30, faceted), 1.0, 0.0, rng) for faceted in (False, True))
    spread = [np.hypot(o[..., 0], o[..., 1]).std(axis=1).mean() for o in (circle, facets)]
    assert spread[0] < 1e-9 and spread[1] > 0.01
    long = compact_outlines(np.zeros(300, bool), 2.0, 0.0, rng)
    second = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", long, long))
    assert np.sqrt(second[:, 1] / second[:, 0]).max() == pytest.approx(2.0, abs=0.1)


def test_no_outlines() -> None:
    assert compact_outlines(np.zeros(0, bool), 1.2, 0.05, np.random.default_rng(0)).shape[0] == 0

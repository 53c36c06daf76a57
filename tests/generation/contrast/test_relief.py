from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.contrast.relief import piled, relief_of
from tem_seg.generation.raster import bounds, fill
from tem_seg.generation.scenes.facets import Body, Habit, draw_forms
from tem_seg.generation.scenes.sintering import grown_together

BALL = Habit((1.0, 1.0), (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)
GRAIN = Habit((1.1, 1.7), (0.6, 1.0), 0.9, 0.02, 0.04, 0.0)


def body(x: float, y: float, diameter: float, kind: str = "smooth", habit: Habit = BALL, seed: int = 0) -> Body:
    form = draw_forms([kind], habit, child_rng(seed, "relief"))[0]
    return Body(form.outline * diameter + [x, y], form.height * diameter, kind, "particle", form=form)


def test_a_balls_surfaces_are_half_spheres() -> None:
    relief = relief_of(body(50.0, 50.0, 80.0), 1.0)
    rows, columns = np.nonzero(relief.mask)
    away = np.hypot(columns + 0.5 + relief.x0 - 50.0, rows + 0.5 + relief.y0 - 50.0)
    inner = away < 36.0
    wanted = np.sqrt(np.maximum(40.0**2 - away**2, 0.0))
    np.testing.assert_allclose(relief.upper[relief.mask][inner], wanted[inner], atol=0.3)
    np.testing.assert_allclose(relief.lower[relief.mask][inner], -wanted[inner], atol=0.3)
    np.testing.assert_allclose(relief.inward[relief.mask], np.maximum(40.0 - away, 0.0), atol=0.15)
    volume = (relief.upper - relief.lower)[relief.mask].sum()
    assert volume == pytest.approx(4.0 / 3.0 * np.pi * 40.0**3, rel=0.01)


@pytest.mark.parametrize("kind", ["irregular", "bipyramid", "prism", "block"])
def test_mask_is_the_outlines_and_thickest_point_is_the_true_height(kind: str) -> None:
    grain = body(80.3, 77.8, 100.0, kind, Habit((1.1, 1.7), (0.6, 1.0), 0.9, 0.0, 0.04, 0.0))
    relief = relief_of(grain, 1.0)
    np.testing.assert_array_equal(relief.mask, fill(grain.outline_nm, bounds(grain.outline_nm)))
    thickness = (relief.upper - relief.lower)[relief.mask]
    assert thickness.min() >= 0.0 and thickness.max() == pytest.approx(grain.height_nm, rel=0.04)
    assert relief.coverage.sum() == pytest.approx(relief.mask.sum(), rel=0.02)


def test_moved_enlarged_and_turned_outlines_take_their_surfaces_along() -> None:
    grain = body(60.0, 60.0, 80.0, "irregular", GRAIN, seed=3)
    plain = relief_of(grain, 1.0)
    moved = relief_of(Body(grain.outline_nm + np.array([7.0, 4.0]), 1.0, "", "", form=grain.form), 1.0)
    np.testing.assert_allclose(moved.upper, plain.upper, atol=1e-2)
    assert (moved.x0, moved.y0) == (plain.x0 + 7, plain.y0 + 4)
    enlarged = relief_of(Body(grain.outline_nm * 3.0, 1.0, "", "", form=grain.form), 3.0)
    np.testing.assert_allclose(enlarged.upper, plain.upper, atol=1e-2)
    # x, y → −y, x about the origin: the picture turned by a quarter, clockwise as displayed
    turned = relief_of(Body(grain.outline_nm @ np.array([[0.0, 1.0], [-1.0, 0.0]]), 1.0, "", "", form=grain.form), 1.0)
    back = np.rot90(turned.upper)
    assert back.shape == plain.upper.shape
    np.testing.assert_allclose(back[plain.mask], plain.upper[plain.mask], atol=0.15)


def test_other_particles_are_two_halves_of_their_thickness(disc: Callable[..., Particle]) -> None:
    relief = relief_of(disc(50.0, 50.0, 60.0), 2.0)
    assert relief.upper.max() == pytest.approx(15.0, rel=0.03)
    np.testing.assert_array_equal(relief.lower, -relief.upper)


def test_a_ball_laid_on_another_touches_it_in_one_point() -> None:
    """Balls of radius R at a sideways distance d: the upper one's centre lies √(4R² − d²) higher."""
    scene = Scene((body(100.0, 100.0, 60.0), body(136.0, 100.0, 60.0)), (220.0, 240.0))
    height = np.zeros((220, 240), np.float32)
    assert len(list(piled(scene, height))) == 2
    assert height.max() == pytest.approx(30.0 + np.sqrt(60.0**2 - 36.0**2) + 30.0, abs=0.8)
    assert height[100, 75] < 60.5  # the lower one stays on the substrate


def test_later_particles_are_nowhere_under_earlier_ones() -> None:
    rng, particles = child_rng(0, "pile"), []
    for i in range(25):
        x, y = rng.uniform(40, 160, 2)
        particles.append(body(float(x), float(y), float(rng.uniform(20, 60)), "irregular", GRAIN, seed=i))
    before, height = np.zeros((2, 200, 200), np.float32)
    count = 0
    for _, crop in piled(Scene(tuple(particles), (200.0, 200.0)), height):
        new, old = height[crop.window][crop.mask], before[crop.window][crop.mask]
        assert (new >= old - 1e-3).all()
        before, count = height.copy(), count + 1
    assert count == 25 and before.min() == 0.0


def test_particles_outside_the_image_are_left_out() -> None:
    scene = Scene((body(-100.0, 20.0, 30.0), body(0.0, 20.0, 30.0)), (40.0, 40.0))
    crops = [crop for _, crop in piled(scene, np.zeros((40, 40), np.float32))]
    assert len(crops) == 1 and crops[0].x0 == 0 and crops[0].mask.shape[1] <= 16
    assert list(piled(Scene((), (40.0, 40.0)), np.zeros((40, 40), np.float32))) == []


def grown_pair(share: float, neck: float = 0.0) -> Scene:
    """Two balls of 80 and 60 px that overlap by 20, in a field of 100 × 200 px."""
    forms = draw_forms(["smooth"] * 2, replace(BALL, neck=neck), child_rng(0, "pair"))
    diameters, centres = np.array([80.0, 60.0]), np.array([[60.0, 50.0], [110.0, 50.0]])
    forms = grown_together(forms, diameters, centres, share, child_rng(0, "grown"))
    parts = zip(forms, diameters, centres, strict=True)
    return Scene(
        tuple(Body(form.outline * d + c, form.height * d, "smooth", "particle", form=form) for form, d, c in parts),
        (100.0, 200.0),
    )


def test_balls_that_have_grown_together_lie_on_one_level_and_meet_without_a_step() -> None:
    """Oracle: balls whose middles are as high as the larger one's radius, the higher surface of the two."""
    height = np.zeros((100, 200), np.float32)
    crops = [crop for _, crop in piled(grown_pair(1.0), height)]
    x, y = np.meshgrid(np.arange(200) + 0.5, np.arange(100) + 0.5)
    surfaces = [
        np.sqrt(np.maximum(r**2 - (x - cx) ** 2 - (y - 50.0) ** 2, 0.0)) + 40.0
        for r, cx in ((40.0, 60.0), (30.0, 110.0))
    ]
    here = np.hypot(x - 60.0, y - 50.0) < 38.0
    np.testing.assert_allclose(height[here & (x < 85)], surfaces[0][here & (x < 85)], atol=0.5)
    there = np.hypot(x - 110.0, y - 50.0) < 28.0
    np.testing.assert_allclose(height[there & (x > 95)], surfaces[1][there & (x > 95)], atol=0.5)
    assert np.abs(np.diff(height[50, 80:100])).max() < 2.5, "no step where they meet"
    piled_height = np.zeros((100, 200), np.float32)
    assert len(list(piled(grown_pair(0.0), piled_height))) == 2
    assert piled_height[50, 110] > height[50, 110] + 10.0, "else the second lies on the first"
    seam = [crop.coverage[50 - crop.y0] for crop in crops]
    meets = int(crops[1].x0) - crops[0].x0
    assert seam[0][meets - 1] == 1.0 and seam[1][0] == 1.0, "no substrate between them"
    assert crops[0].free[50 - crops[0].y0, -1] == 0.0 and crops[0].free[50 - crops[0].y0, 0] == 1.0


def test_necks_fill_the_crease_and_nothing_else() -> None:
    """Oracle on the line through both middles: a Gaussian blur of a ball mirrored at the crease, fading from it."""
    plain, filled = (np.zeros((100, 200), np.float32) for _ in range(2))
    list(piled(grown_pair(1.0), plain))
    list(piled(grown_pair(1.0, neck=0.08), filled))
    crease = 60.0 + (50.0**2 + 40.0**2 - 30.0**2) / 100.0  # 92
    slopes = [np.abs(np.gradient(height[50, 84:100])).max() for height in (plain, filled)]
    assert filled[50, 91] > plain[50, 91] + 1.0 and slopes[1] < 0.7 * slopes[0]
    sigma, x = 0.08 * 80.0, np.arange(-300, 300) / 10.0
    away = np.abs(x)[:, None] + np.zeros(1)
    ball = np.sqrt(40.0**2 - (crease - 60.0 - np.minimum(away, 32.0)) ** 2)[:, 0]
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    blurred = np.convolve(ball, weights / weights.sum(), mode="same")
    mixed = ball + weights * (blurred - ball)
    at = np.arange(76, 92)
    wanted = np.interp(crease - (at + 0.5), x, mixed) + 40.0
    across = 40.0 - np.sqrt(40.0**2 - 0.5**2)  # row 50 lies half a pixel beside the middles
    np.testing.assert_allclose(filled[50, at], wanted - across, atol=1.5)
    far = np.hypot(*np.meshgrid(np.arange(200) - 91.5, np.arange(100) - 49.5)) > 60.0
    np.testing.assert_allclose(filled[far], plain[far], atol=0.02)


def test_what_has_not_grown_together_has_no_neck() -> None:
    for one, other in zip(grown_pair(0.0).particles, grown_pair(0.0, neck=0.15).particles, strict=True):
        np.testing.assert_array_equal(relief_of(one, 1.0).upper, relief_of(other, 1.0).upper)

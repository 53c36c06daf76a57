from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.data.store import canonical
from tem_seg.generation.recipes.gold_aunp import GoldAuNP
from tem_seg.generation.scenes.shapes import SHAPES, area
from tem_seg.generation.truth import instances_of

Gold = Callable[..., GoldAuNP]


def diameters_nm(recipe: GoldAuNP, scenes: int, size: tuple[int, int] = (512, 512)) -> np.ndarray:
    drawn = [recipe.draw(child_rng(0, "test", i), size) for i in range(scenes)]
    return np.array([2 * np.sqrt(area(p.outline_nm) / np.pi) for scene in drawn for p in scene.particles])


def test_shipped_recipe_draws_as_its_parameters_say(gold: Gold) -> None:
    recipe = gold()
    scenes = [recipe.draw(child_rng(1, "test", i), (512, 512)) for i in range(60)]
    counts = [len(s.particles) for s in scenes if s.particles]
    assert min(counts) >= 15 and max(counts) <= 150
    pixel_sizes = np.array([s.field_of_view_nm[0] / 512 for s in scenes])
    smallest = [
        2 * np.sqrt(area(p.outline_nm) / np.pi) / pixel
        for s, pixel in zip(scenes, pixel_sizes, strict=True)
        for p in s.particles
    ]
    assert 7.999 < min(smallest) < 9.0
    assert pixel_sizes.max() / pixel_sizes.min() > 10, "several magnifications"
    assert {p.shape for s in scenes for p in s.particles} == set(SHAPES)
    assert {p.category for s in scenes for p in s.particles} == {"particle"} == set(recipe.categories)


def test_sizes_are_log_normal_with_the_given_median_and_spread(gold: Gold) -> None:
    found = diameters_nm(gold(diameter_nm=[20, 20], sigma_log=[0.15, 0.15], diameter_px=[20, 40], empty_fraction=0), 30)
    assert np.exp(np.log(found).mean()) == pytest.approx(20.0, rel=0.02)
    assert np.log(found).std() == pytest.approx(0.15, rel=0.06)


def test_smallest_particles_are_drawn_again_not_clipped(gold: Gold) -> None:
    recipe = gold(diameter_nm=[10, 10], sigma_log=[0.3, 0.3], diameter_px=[10, 10], min_diameter_px=8, empty_fraction=0)
    found = diameters_nm(recipe, 10)
    assert found.min() >= 8.0 - 1e-9 and (found < 8.001).mean() < 0.01


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_lengths_and_pixel_size_scale_together(gold: Gold, factor: float) -> None:
    """All nm parameters × f: the same scene, f times as large."""
    plain = gold(extinction_length_nm=18.0)
    scaled = gold(diameter_nm=[8 * factor, 80 * factor], pixel_size_nm=[0.05 * factor, 10 * factor])
    first, second = (r.draw(child_rng(0, "a", 3), (512, 512)) for r in (plain, scaled))
    assert second.field_of_view_nm == pytest.approx([factor * v for v in first.field_of_view_nm])
    for p, q in zip(first.particles, second.particles, strict=True):
        np.testing.assert_allclose(q.outline_nm, factor * p.outline_nm, rtol=1e-9)


def test_field_has_the_shape_of_the_image(gold: Gold) -> None:
    scene = gold(particles=[3, 8]).draw(child_rng(0, "a", 0), (300, 600))
    assert scene.field_of_view_nm[1] == pytest.approx(2 * scene.field_of_view_nm[0])


def test_share_of_empty_micrographs(gold: Gold) -> None:
    recipe = gold(particles=[2, 4], empty_fraction=0.3)
    empty = [not recipe.draw(child_rng(0, "a", i), (128, 128)).particles for i in range(200)]
    assert np.mean(empty) == pytest.approx(0.3, abs=0.1)


def test_weight_zero_or_null_leaves_a_shape_out_and_categories_follow(gold: Gold) -> None:
    weights: dict[str, Any] = dict.fromkeys(SHAPES)
    weights |= {"rod": {"weight": 1, "category": "rod"}, "cube": {"weight": 0, "category": "cube"}}
    recipe = gold(shapes=weights)
    assert recipe.categories == ("rod", "cube")
    assert {p.shape for p in recipe.draw(child_rng(0, "a", 0), (512, 512)).particles} == {"rod"}


def test_identity_is_json_and_tells_parameters_apart(gold: Gold) -> None:
    assert json.loads(canonical(gold().identity()))["diameter_nm"] == [8.0, 80.0]
    assert gold().identity() == gold().identity() != gold(sigma_log=[0.1, 0.2]).identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diameter_nm": [80, 8]}, "GoldAuNP.diameter_nm: min 80 is greater than max 8"),
        ({"diameter_nm": [-1, 8]}, "GoldAuNP.diameter_nm must lie between"),
        ({"particles": [-1, 8]}, "GoldAuNP.particles must lie between"),
        ({"sigma_log": [0, float("nan")]}, "GoldAuNP.sigma_log must be a finite number"),
        ({"overlapped": [0.1, 1.2]}, "GoldAuNP.overlapped must lie between"),
        ({"empty_fraction": 2}, "GoldAuNP.empty_fraction must lie between 0 and 1"),
        ({"max_coverage": 0.9}, "GoldAuNP.max_coverage must lie between"),
        ({"min_diameter_px": 30}, "GoldAuNP.min_diameter_px 30 cuts off most particles"),
        ({"shapes": {"blob": {"weight": 1, "category": "a"}}}, "no shape 'blob'; there are sphere, rod"),
        ({"shapes": {"rod": {"wieght": 1}}}, "GoldAuNP.shapes.rod must have the keys weight and category"),
        ({"shapes": {"rod": {"weight": -1}}}, "GoldAuNP.shapes.rod.weight must be a number of at least 0, got -1"),
        ({"shapes": dict.fromkeys(SHAPES)}, "at least one shape needs a weight above 0"),
    ],
)
def test_bad_parameters_are_named(gold: Gold, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        gold(**changes)
    assert isinstance(caught.value.__cause__ or caught.value, UserError)


def test_more_particles_than_fit_are_refused_before_any_work(gold: Gold) -> None:
    with pytest.raises(
        UserError, match=r"GoldAuNP.particles: 5000 particles of median diameter 9 px do not fit.*\(\d+ of them do"
    ):
        gold(particles=[5000, 6000]).check_fits((512, 512))
    gold(particles=[5000, 6000]).check_fits((2048, 2048))


def test_magnification_that_cannot_show_the_sizes_is_refused(gold: Gold) -> None:
    with pytest.raises(UserError, match="GoldAuNP.pixel_size_nm .* at no diameter within diameter_px"):
        gold(pixel_size_nm=[5, 10]).check_fits((512, 512))


def test_densest_draws_stay_within_the_coverage(gold: Gold) -> None:
    recipe = gold(particles=[2, 3000], max_coverage=0.3, sigma_log=[0.05, 0.1], empty_fraction=0, diameter_px=[9, 12])
    for i in range(3):
        scene = recipe.draw(child_rng(0, "a", i), (256, 256))
        covered = sum(area(p.outline_nm) for p in scene.particles) / np.prod(scene.field_of_view_nm)
        assert 0.0 < covered < 0.4


@pytest.mark.parametrize("side", [512, 1024])
def test_about_a_fifth_of_the_particles_share_pixels_with_another(gold: Gold, side: int) -> None:
    recipe, found = gold(empty_fraction=0), []
    for i in range(25):
        scene = recipe.draw(child_rng(0, "overlap", i), (side, side))
        hidden, pixel_nm = np.zeros((side, side), bool), scene.field_of_view_nm[0] / side
        truths = instances_of(scene, hidden, pixel_nm, recipe.categories, "transparent", recipe.min_visible_px).truths
        found += [truth["overlapped_fraction"] > 0 for truth in truths]
    assert np.mean(found) == pytest.approx(0.2, abs=0.05)

from __future__ import annotations

import importlib
import json
from typing import Any

import cv2
import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.data.store import canonical
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipes.nanorods_haadf import TIPS, NanorodsHAADF, rod_outline, turned
from tem_seg.generation.render import check_pair, image_at
from tem_seg.generation.scenes.shapes import area
from tem_seg.generation.truth import feret_nm, instances_of


def rods(**changes: Any) -> NanorodsHAADF:
    recipe = _build("recipe", "nanorods_haadf", **changes)
    assert isinstance(recipe, NanorodsHAADF)
    return recipe


def _build(group: str, name: str, **changes: Any) -> Any:
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from tem_seg.config import check

    return instantiate(OmegaConf.merge(OmegaConf.load(check.config_folder() / group / f"{name}.yaml"), changes))


@pytest.fixture(scope="module")
def haadf() -> Imaging:
    imaging = _build("imaging", "haadf")
    assert isinstance(imaging, Imaging)
    return imaging


def test_shipped_recipe_draws_as_its_parameters_say() -> None:
    recipe = rods(empty_fraction=0)
    scenes = [recipe.draw(child_rng(0, "test", i), (512, 512)) for i in range(30)]
    counts = np.array([len(scene.particles) for scene in scenes])
    assert 55 < counts.mean() < 85 and counts.max() > 95, "paper 001: about 70, and up to 100 can be had"
    for scene in scenes[:10]:
        for particle in scene.particles:
            shortest, longest = feret_nm(particle.outline_nm)
            assert 2.4 < longest / shortest < 13
        widths_px = [feret_nm(p.outline_nm)[0] / scene.field_of_view_nm[0] * 512 for p in scene.particles]
        assert 5 < np.median(widths_px) < 66
    assert {p.category for scene in scenes for p in scene.particles} == {"particle"} == set(recipe.categories)


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_areas_add_up_to_the_overlap_density(density: float) -> None:
    recipe = rods(overlap_density=[density, density], empty_fraction=0, width_px=[4, 200], holey=0, sigma_width=[0, 0])
    shares = []
    for i in range(12):
        scene = recipe.draw(child_rng(1, "test", i), (512, 512))
        shares.append(sum(area(p.outline_nm) for p in scene.particles) / np.prod(scene.field_of_view_nm))
    # rods that found no place, and the round ends, are missing
    assert np.median(shares) == pytest.approx(density, rel=0.2)


def test_dense_micrographs_overlap_and_masks_keep_whole_outlines() -> None:
    recipe = rods(overlap_density=[1.0, 1.0], particles=[90, 100], empty_fraction=0, holey=0)
    fractions = []
    for i in range(4):
        scene = recipe.draw(child_rng(2, "test", i), (512, 512))
        pixel_nm = scene.field_of_view_nm[0] / 512
        found = instances_of(scene, np.zeros((512, 512), bool), pixel_nm, recipe.categories, recipe.occlusion, 20)
        assert found.segmentations == found.full_segmentations and len(found) > 70
        fractions += [truth["overlapped_fraction"] for truth in found.truths]
    assert np.mean(np.array(fractions) > 0) > 0.7 and np.mean(fractions) > 0.3


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_lengths_and_pixel_size_scale_together(factor: float) -> None:
    plain, scaled = rods(), rods(width_nm=[4 * factor, 60 * factor])
    first, second = (r.draw(child_rng(0, "a", 3), (512, 512)) for r in (plain, scaled))
    assert second.field_of_view_nm == pytest.approx([factor * v for v in first.field_of_view_nm])
    for p, q in zip(first.particles, second.particles, strict=True):
        np.testing.assert_allclose(q.outline_nm, factor * p.outline_nm, rtol=1e-7)


def test_field_has_the_shape_of_the_image() -> None:
    scene = rods().draw(child_rng(0, "a", 0), (300, 600))
    assert scene.field_of_view_nm[1] == pytest.approx(2 * scene.field_of_view_nm[0])


@pytest.mark.parametrize("tip", TIPS)
def test_a_straight_rod_is_as_long_and_wide_as_asked(tip: str) -> None:
    outline = rod_outline(80.0, 10.0, tip, 0.0, 0.0, 0.0, np.random.default_rng(0))
    assert np.ptp(outline, axis=0) == pytest.approx([80.0, 10.0], rel=0.01)
    assert 0.85 * 800 < area(outline) <= 800
    hull = cv2.convexHull(outline.astype(np.float32))
    assert cv2.contourArea(hull) == pytest.approx(area(outline), rel=1e-3), "straight rods are convex"


def test_a_round_rod_is_a_stadium() -> None:
    outline = rod_outline(80.0, 10.0, "round", 0.0, 0.0, 0.0, np.random.default_rng(0))
    assert area(outline) == pytest.approx(70 * 10 + np.pi * 25, rel=0.01)


def test_bending_keeps_length_and_width_and_bends() -> None:
    outline = rod_outline(100.0, 8.0, "round", 0.1, 0.0, 0.0, np.random.default_rng(3))
    assert np.ptp(outline[:, 1]) > 9.0 and area(outline) == pytest.approx(92 * 8 + np.pi * 16, rel=0.1)


def test_turned_goes_from_x_to_y() -> None:
    np.testing.assert_allclose(turned(np.array([[1.0, 0.0]]), np.pi / 2), [[0.0, 1.0]], atol=1e-12)


def test_rods_lie_on_the_film_and_not_in_its_hole() -> None:
    recipe = rods(holey=1.0, empty_fraction=0, film=[1, 1], residue=[0, 0])
    for i in range(4):
        scene = recipe.draw(child_rng(5, "a", i), (512, 512))
        film = scene.support.film_nm
        cell = scene.field_of_view_nm[0] / film.shape[0]
        for particle in scene.particles:
            x, y = np.clip((particle.outline_nm.mean(axis=0) / cell).astype(int), 0, film.shape[0] - 1)
            around = film[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5]  # a bent rod's middle may lie beside its axis
            assert around.max() > 0


def test_crossings_are_brighter_and_everything_is_brighter_than_the_film(haadf: Imaging) -> None:
    recipe = rods(empty_fraction=0, holey=0, overlap_density=[0.8, 0.8])
    clean = Imaging("haadf", haadf.contrast, {})
    for i in range(3):
        drawn = image_at(recipe, clean, (384, 384), 0, "test", i)
        scene = recipe.draw(child_rng(0, "test", i), (384, 384))
        cover = np.zeros((384, 384), int)
        for particle in scene.particles:
            mask = np.zeros((384, 384), np.uint8)
            corners = np.rint(particle.outline_nm / scene.field_of_view_nm[0] * 384).astype(np.int32)
            cv2.fillPoly(mask, [corners], 1)
            cover += mask
        means = [drawn.micrograph.pixels[cover == k].mean() for k in (0, 1, 2, 3)]
        assert means == sorted(means) and means[1] > 1.2 * means[0]


def test_same_seed_same_bytes_and_another_seed_another_image(haadf: Imaging) -> None:
    first, again, other = (image_at(rods(), haadf, (256, 256), seed, "train", 4) for seed in (1, 1, 2))
    assert first.micrograph.pixels.tobytes() == again.micrograph.pixels.tobytes()
    assert first.instances.segmentations == again.instances.segmentations
    assert first.micrograph.pixels.tobytes() != other.micrograph.pixels.tobytes()


def test_empty_micrographs(haadf: Imaging) -> None:
    drawn = image_at(rods(empty_fraction=1.0), haadf, (128, 128), 0, "train", 0)
    assert len(drawn.instances) == 0 and np.isfinite(drawn.micrograph.pixels).all()
    assert len(image_at(rods(particles=[0, 0]), haadf, (128, 128), 0, "train", 0).instances) == 0


def test_identity_is_json_and_pairs_with_haadf_alone(haadf: Imaging) -> None:
    recipe = rods()
    assert json.loads(canonical(recipe.identity()))["particles"] == [40.0, 110.0]
    assert recipe.identity() != rods(particles=[1, 2]).identity()
    check_pair(recipe, haadf, (512, 512))
    with pytest.raises(UserError, match="the recipe makes haadf scenes, the imaging is bright_field"):
        check_pair(recipe, _build("imaging", "bright_field"), (512, 512))
    assert importlib.import_module(type(recipe).__module__)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width_nm": [80, 8]}, "NanorodsHAADF.width_nm: min 80 is greater than max 8"),
        ({"aspect": [1, 8]}, "NanorodsHAADF.aspect must lie between"),
        ({"particles": [-1, 8]}, "NanorodsHAADF.particles must lie between"),
        ({"piled": [0, 2]}, "NanorodsHAADF.piled must lie between 0 and 1"),
        ({"bend": [0, float("nan")]}, "NanorodsHAADF.bend must be a finite number"),
        ({"most_layers": 0}, "NanorodsHAADF.most_layers must lie between"),
        ({"tips": {"hooked": 1.0}}, "no tip 'hooked'; there are round, flat, pointed, faceted"),
        ({"tips": {"round": -1.0}}, "NanorodsHAADF.tips.round must be a weight of at least 0, got -1"),
        ({"tips": dict.fromkeys(TIPS, 0.0)}, "at least one kind of tip needs a weight above 0"),
        ({"materials": {"gold": {"weight": -1}}}, "NanorodsHAADF.materials.gold.weight must lie between"),
    ],
)
def test_bad_parameters_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        rods(**changes)
    assert isinstance(caught.value.__cause__ or caught.value, UserError)


def test_what_does_not_fit_is_refused_before_any_work() -> None:
    with pytest.raises(UserError, match=r"5000 rods of 6 × 18 px do not fit in 512 × 512 px .* \(2669 would\)"):
        rods(particles=[5000, 5000]).check_fits((512, 512))
    rods(particles=[5000, 5000]).check_fits((1024, 1024))
    with pytest.raises(UserError, match="rods 6 px wide and 3 times as long do not fit in 16 × 16 px"):
        rods().check_fits((16, 16))

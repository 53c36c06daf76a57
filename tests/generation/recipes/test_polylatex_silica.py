from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Particle, Scene
from tem_seg.data.store import canonical
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipes.polylatex_silica import PolylatexSilica
from tem_seg.generation.render import check_pair, image_at
from tem_seg.generation.scenes.shapes import area
from tem_seg.generation.truth import instances_of

CONF = Path(__file__).resolve().parents[3] / "conf"
Build = Callable[..., PolylatexSilica]


def build(group: str, name: str, **changes: Any) -> Any:
    return instantiate(OmegaConf.merge(OmegaConf.load(CONF / group / f"{name}.yaml"), changes))


@pytest.fixture(scope="module")
def recipe() -> Build:
    """recipe(key=value, …): the shipped one with changes."""
    return lambda **changes: build("recipe", "polylatex_silica", **changes)


@pytest.fixture(scope="module")
def imaging() -> Imaging:
    found = build("imaging", "holey_carbon")
    assert isinstance(found, Imaging)
    return found


def only(name: str, **values: Any) -> dict[str, Any]:
    """Changes that leave one material."""
    other = {"polystyrene_latex": "silica", "silica": "polystyrene_latex"}[name]
    return {"materials": {other: {"weight": 0}, name: values}, "mixed": 0, "empty_fraction": 0}


def scenes(recipe: PolylatexSilica, count: int, size: tuple[int, int] = (512, 512)) -> list[Scene]:
    return [recipe.draw(child_rng(0, "test", i), size) for i in range(count)]


def diameter(particle: Particle) -> float:
    return float(2 * np.sqrt(area(particle.outline_nm) / np.pi))


def test_shipped_recipe_draws_as_its_parameters_say(recipe: Build) -> None:
    drawn = scenes(recipe(), 60)
    counts = [len(scene.particles) for scene in drawn if scene.particles]
    assert min(counts) >= 5 and max(counts) <= 150
    pixel_sizes = np.array([scene.field_of_view_nm[0] / 512 for scene in drawn])
    assert pixel_sizes.max() / pixel_sizes.min() > 10, "several magnifications"
    smallest = min(diameter(p) / n for s, n in zip(drawn, pixel_sizes, strict=True) for p in s.particles)
    assert smallest > 7.8, "facets take away a little"
    kinds = [{p.category for p in scene.particles} for scene in drawn if scene.particles]
    assert {"polystyrene_latex"} in kinds and {"silica"} in kinds and {"polystyrene_latex", "silica"} in kinds
    assert recipe().categories == ("polystyrene_latex", "silica")


def test_a_mixed_micrograph_holds_mostly_one_material(recipe: Build) -> None:
    drawn = scenes(
        recipe(mixed=1.0, empty_fraction=0, minority=[0.2, 0.3], particles=[40, 40], diameter_px=[14, 40]), 25
    )
    shares = [np.mean([p.category == "silica" for p in s.particles]) for s in drawn]
    both = [min(share, 1 - share) for share in shares if 0 < share < 1]
    assert len(both) >= 12 and min(both) > 0.15 and max(both) < 0.35


def test_weights_choose_the_material(recipe: Build) -> None:
    drawn = scenes(recipe(materials={"silica": {"weight": 3.0}}, mixed=0, empty_fraction=0, particles=[1, 3]), 200)
    assert np.mean([s.particles[0].category == "silica" for s in drawn]) == pytest.approx(0.75, abs=0.08)


def test_sizes_are_log_normal_with_the_given_median_and_spread(recipe: Build) -> None:
    values = {"diameter_nm": [200, 200], "sigma_log": [0.1, 0.1]}
    drawn = scenes(recipe(**only("silica", **values), particles=[80, 80], diameter_px=[20, 30]), 12)
    found = np.log([diameter(p) for s in drawn for p in s.particles])
    assert np.exp(found.mean()) == pytest.approx(200, rel=0.02)
    assert found.std() == pytest.approx(0.1, rel=0.1)


def test_latex_is_rounder_and_smoother_than_silica(recipe: Build) -> None:
    def deviation(name: str) -> float:
        drawn = scenes(recipe(**only(name), particles=[20, 40], clustered=[0, 0], stacked=[0, 0]), 20)
        outlines = [p.outline_nm - p.outline_nm.mean(axis=0) for s in drawn for p in s.particles]
        return float(np.median([np.hypot(*one.T).std() / np.hypot(*one.T).mean() for one in outlines]))

    assert deviation("polystyrene_latex") < 0.015 < deviation("silica") < 0.08
    grainy = [p.contrast["granular"] for s in scenes(recipe(**only("silica")), 9) for p in s.particles]
    assert min(grainy) >= 0.03


def test_heights_are_flattened_diameters(recipe: Build) -> None:
    drawn = scenes(recipe(**only("polystyrene_latex"), clustered=[0, 0], stacked=[0, 0]), 10)
    ratios = [[p.height_nm / diameter(p) for p in s.particles] for s in drawn]
    assert all(0.8 - 1e-6 <= ratio <= 1.0 + 1e-6 for one in ratios for ratio in one)
    assert all(np.ptp(one) < 1e-6 for one in ratios), "particles of one batch are alike"


def test_soft_spheres_in_a_raft_share_no_pixel(recipe: Build) -> None:
    values = {"sigma_log": [0.01, 0.01], "neck_deg": [10, 10], "pressed": [0.03, 0.03]}
    tight = recipe(
        **only("polystyrene_latex", **values), particles=[60, 60], clustered=[1, 1], compact=[1, 1], stacked=[0, 0]
    )
    for scene in scenes(tight, 3):
        found = instances_of(
            scene, np.zeros((512, 512), bool), scene.field_of_view_nm[0] / 512, tight.categories, "transparent", 1
        )
        assert len(found) > 30
        assert max(truth["overlapped_fraction"] for truth in found.truths) < 0.02


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_lengths_and_pixel_size_scale_together(recipe: Build, factor: float) -> None:
    def scaled(f: float) -> PolylatexSilica:
        materials = {name: {"diameter_nm": [40 * f, 400 * f]} for name in ("polystyrene_latex", "silica")}
        return recipe(materials=materials, pixel_size_nm=[0.2 * f, 30 * f])

    first, second = (scaled(f).draw(child_rng(0, "a", 3), (512, 512)) for f in (1.0, factor))
    assert second.field_of_view_nm == pytest.approx([factor * v for v in first.field_of_view_nm])
    assert len(first.particles) == len(second.particles) > 0
    for p, q in zip(first.particles, second.particles, strict=True):
        np.testing.assert_allclose(q.outline_nm, factor * p.outline_nm, rtol=1e-7, atol=1e-6 * factor)


def test_image_and_truth(recipe: Build, imaging: Imaging) -> None:
    small = recipe(particles=[5, 15], diameter_px=[14, 30], empty_fraction=0)
    check_pair(small, imaging, (200, 260))
    first, second = (image_at(small, imaging, (200, 260), 1, "train", 4) for _ in range(2))
    np.testing.assert_array_equal(first.micrograph.pixels, second.micrograph.pixels)
    assert first.instances.segmentations == second.instances.segmentations
    assert first.micrograph.pixels.shape == (200, 260) and 0 < len(first.instances) <= 15
    assert {"true_equivalent_diameter_nm", "true_min_feret_nm", "true_height_nm", "shape"} <= set(
        first.instances.truths[0]
    )


def test_an_empty_micrograph_shows_the_support_alone(recipe: Build, imaging: Imaging) -> None:
    empty = image_at(recipe(empty_fraction=1), imaging, (128, 128), 0, "train", 0)
    assert len(empty.instances) == 0 and empty.micrograph.pixels.std() > 1
    assert len(image_at(recipe(particles=[0, 0]), imaging, (128, 128), 0, "train", 0).instances) == 0


def test_identity_is_json_and_tells_parameters_apart(recipe: Build) -> None:
    assert json.loads(canonical(recipe().identity()))["materials"]["silica"]["diameter_nm"] == [30.0, 500.0]
    changed = recipe(materials={"silica": {"granular": [0, 0.1]}})
    assert recipe().identity() == recipe().identity() != changed.identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diameter_px": [80, 8]}, "PolylatexSilica.diameter_px: min 80 is greater than max 8"),
        ({"particles": [-1, 8]}, "PolylatexSilica.particles must lie between"),
        ({"clustered": [0.1, 1.2]}, "PolylatexSilica.clustered must lie between 0 and 1"),
        ({"minority": [0.1, 0.9]}, "PolylatexSilica.minority must lie between 0 and 0.5"),
        ({"max_coverage": 0.9}, "PolylatexSilica.max_coverage must lie between"),
        ({"min_diameter_px": 30}, "min_diameter_px 30 cuts off most particles"),
        ({"materials": {"silica": {"diameter_nm": [500, 30]}}}, "Material.diameter_nm: min 500 is greater than max 30"),
        ({"materials": {"silica": {"aspect": [0.5, 1]}}}, "Material.aspect must lie between 1 and 2"),
        ({"materials": {"silica": {"weight": -1}}}, "Material.weight must lie between"),
        ({"materials": {"silica": {"category": ""}}}, "Material.category must be the name of a class, got ''"),
        ({"materials": {"silica": None, "polystyrene_latex": None}}, "at least one material needs a weight above 0"),
        ({"materials": {"clay": {"weight": 1}}}, "materials.clay must be built from a _target_"),
    ],
)
def test_bad_parameters_are_named(recipe: Build, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        recipe(**changes)
    assert isinstance(caught.value.__cause__ or caught.value, UserError)


def test_more_particles_than_fit_are_refused_with_how_many_do(recipe: Build) -> None:
    crowded = recipe(**only("polystyrene_latex", sigma_log=[0.0, 0.0]), particles=[900, 1000])
    fit = int(0.4 * 512 * 512 / (np.pi / 4 * 14.0**2))
    with pytest.raises(UserError, match=rf"900 particles \(polystyrene_latex\) of median diameter 14 px .* {fit} do:"):
        crowded.check_fits((512, 512))
    crowded.check_fits((1024, 1024))


def test_magnification_that_cannot_show_the_sizes_is_refused(recipe: Build) -> None:
    with pytest.raises(UserError, match="PolylatexSilica.pixel_size_nm .* at no diameter within diameter_px"):
        recipe(pixel_size_nm=[20, 30]).check_fits((512, 512))


def test_fits_every_image_size_that_profiles_use(recipe: Build) -> None:
    for side in (160, 512, 1024, 4096):
        recipe().check_fits((side, side))

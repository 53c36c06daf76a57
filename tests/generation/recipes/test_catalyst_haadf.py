from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.data.store import canonical
from tem_seg.generation.contrast.supports import FORMS, SupportedScene
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipes.catalyst_haadf import CatalystHAADF
from tem_seg.generation.render import check_pair, image_at
from tem_seg.generation.scenes.shapes import area


def _build(group: str, name: str, **changes: Any) -> Any:
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from tem_seg.config import check

    return instantiate(OmegaConf.merge(OmegaConf.load(check.config_folder() / group / f"{name}.yaml"), changes))


def catalyst(**changes: Any) -> CatalystHAADF:
    recipe = _build("recipe", "catalyst_haadf", **changes)
    assert isinstance(recipe, CatalystHAADF)
    return recipe


@pytest.fixture(scope="module")
def haadf() -> Imaging:
    imaging = _build("imaging", "haadf")
    assert isinstance(imaging, Imaging)
    return imaging


@pytest.fixture(scope="module")
def scenes() -> list[SupportedScene]:
    recipe = catalyst(empty_fraction=0)
    return [recipe.draw(child_rng(0, "test", i), (512, 512)) for i in range(14)]


def diameters_px(scene: SupportedScene) -> np.ndarray:
    pixel_nm = scene.field_of_view_nm[0] / 512
    return np.array([2 * np.sqrt(area(p.outline_nm) / np.pi) for p in scene.particles]) / pixel_nm


def test_shipped_recipe_draws_as_its_parameters_say(scenes: list[SupportedScene]) -> None:
    counts = [len(scene.particles) for scene in scenes]
    assert max(counts) > 250 and max(counts) <= 1000 and np.median(counts) > 40
    sizes = np.concatenate([diameters_px(scene) for scene in scenes])
    assert sizes.min() >= 2.5 - 1e-9 and 4 < np.median(sizes) < 12
    assert {p.shape for scene in scenes for p in scene.particles} == {"rounded", "faceted"}


def test_particles_lie_on_the_support(scenes: list[SupportedScene]) -> None:
    for scene in scenes:
        thickness = scene.support.thickness_nm.sum(axis=2)
        cell_nm = scene.field_of_view_nm[0] / thickness.shape[0]
        for particle in scene.particles:
            x, y = np.clip((particle.outline_nm.mean(axis=0) / cell_nm).astype(int), 0, thickness.shape[0] - 1)
            assert thickness[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max() > 0


def test_supports_differ_and_some_particles_are_out_of_focus(scenes: list[SupportedScene]) -> None:
    assert len({scene.support.signal_per_nm for scene in scenes}) >= 3
    blurred = [p.contrast["blur_nm"] > 0 for scene in scenes for p in scene.particles]
    assert 0.01 < np.mean(blurred) < 0.9


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_agglomerated_share(share: float) -> None:
    recipe = catalyst(agglomerated=[share, share], empty_fraction=0, particles=[200, 300], coverage=[0.9, 1.0])
    touching = []
    for i in range(4):
        scene = recipe.draw(child_rng(3, "test", i), (512, 512))
        centres = np.array([p.outline_nm.mean(axis=0) for p in scene.particles])
        radii = np.array([np.sqrt(area(p.outline_nm) / np.pi) for p in scene.particles])
        if len(radii) < 20:
            continue
        distance = np.linalg.norm(centres[:, None] - centres, axis=2) / (radii[:, None] + radii)
        np.fill_diagonal(distance, np.inf)
        touching += list(distance.min(axis=1) < 1.01)
    assert np.mean(touching) == pytest.approx(0.0 if share == 0 else 0.55, abs=0.2)


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_lengths_and_pixel_size_scale_together(factor: float) -> None:
    plain, scaled = catalyst(), catalyst(diameter_nm=[factor, 8 * factor])
    first, second = (r.draw(child_rng(0, "a", 3), (256, 256)) for r in (plain, scaled))
    assert len(first.particles) == len(second.particles) > 10
    assert second.field_of_view_nm == pytest.approx([factor * v for v in first.field_of_view_nm])
    for p, q in zip(first.particles, second.particles, strict=True):
        np.testing.assert_allclose(q.outline_nm, factor * p.outline_nm, rtol=1e-6)


def test_field_has_the_shape_of_the_image() -> None:
    scene = catalyst().draw(child_rng(0, "a", 0), (300, 600))
    assert scene.field_of_view_nm[1] == pytest.approx(2 * scene.field_of_view_nm[0])
    assert scene.support.thickness_nm.shape[:2] == (150, 300)


def test_particles_stand_out_from_their_surroundings(haadf: Imaging) -> None:
    """By at least about min_contrast, before noise: measured on the drawn signal against the same without particles."""
    recipe = catalyst(empty_fraction=0, min_contrast=0.3, particles=[60, 100])
    for i in range(3):
        scene = recipe.draw(child_rng(7, "test", i), (384, 384))
        assert haadf.contrast is not None
        pixel_nm = scene.field_of_view_nm[0] / 384
        support = scene.support.signal((384, 384), pixel_nm)
        from tem_seg.generation.contrast.projection import add_particles

        with_particles = support.copy()
        add_particles(with_particles, scene.particles, pixel_nm, np.random.default_rng(0))
        ratios = []
        for particle in scene.particles:
            x, y = (particle.outline_nm.mean(axis=0) / pixel_nm).astype(int)
            if 0 <= x < 384 and 0 <= y < 384:
                ratios.append(with_particles[y, x] / support[y, x])
        assert np.quantile(ratios, 0.05) > 1.2


def test_same_seed_same_bytes_and_another_seed_another_image(haadf: Imaging) -> None:
    first, again, other = (image_at(catalyst(), haadf, (256, 256), seed, "train", 4) for seed in (1, 1, 2))
    assert first.micrograph.pixels.tobytes() == again.micrograph.pixels.tobytes()
    assert first.instances.segmentations == again.instances.segmentations
    assert first.micrograph.pixels.tobytes() != other.micrograph.pixels.tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_support(form: str, haadf: Imaging) -> None:
    entry = {"weight": 1.0, "form": form, "atomic_number": 10, "atoms_per_nm3": 80.0}
    recipe = catalyst(
        supports={"one": entry, "carbon_black": None, "silica": None, "alumina": None, "titania": None},
        empty_fraction=0,
    )
    drawn = image_at(recipe, haadf, (256, 256), 3, "train", 0)
    assert len(drawn.instances) > 0 and drawn.micrograph.pixels.std() > 5


def test_empty_micrographs_still_show_the_support(haadf: Imaging) -> None:
    for recipe in (catalyst(empty_fraction=1.0), catalyst(particles=[0, 0])):
        drawn = image_at(recipe, haadf, (128, 128), 0, "train", 0)
        assert len(drawn.instances) == 0 and drawn.micrograph.pixels.std() > 5


def test_identity_is_json_and_pairs_with_haadf_alone(haadf: Imaging) -> None:
    recipe = catalyst()
    assert json.loads(canonical(recipe.identity()))["diameter_nm"] == [1.0, 8.0]
    assert recipe.identity() != catalyst(coverage=[0.6, 0.7]).identity()
    check_pair(recipe, haadf, (512, 512))
    with pytest.raises(UserError, match="the recipe makes haadf scenes, the imaging is bright_field"):
        check_pair(recipe, _build("imaging", "bright_field"), (512, 512))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diameter_nm": [8, 1]}, "CatalystHAADF.diameter_nm: min 8 is greater than max 1"),
        ({"coverage": [0.5, 1.5]}, "CatalystHAADF.coverage must lie between"),
        ({"particles": [50, float("inf")]}, "CatalystHAADF.particles must be a finite number"),
        ({"max_coverage": 0.9}, "CatalystHAADF.max_coverage must lie between"),
        ({"faceted": -0.1}, "CatalystHAADF.faceted must lie between 0 and 1"),
        ({"min_diameter_px": 9}, "CatalystHAADF.min_diameter_px 9 cuts off most particles"),
        ({"metals": {"platinum": {"atomic_number": 200}}}, "CatalystHAADF.metals.platinum.atomic_number must lie"),
        ({"supports": {"silica": {"form": "foam"}}}, "CatalystHAADF.supports.silica.form must be one of aggregate"),
    ],
)
def test_bad_parameters_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        catalyst(**changes)
    assert isinstance(caught.value.__cause__ or caught.value, UserError)


def test_more_particles_than_fit_are_refused_before_any_work() -> None:
    with pytest.raises(UserError, match=r"20000 particles of median diameter 4 px do not fit in 512 × 512 px .*would"):
        catalyst(particles=[20000, 20000]).check_fits((512, 512))
    catalyst(particles=[20000, 20000]).check_fits((4096, 4096))


def test_sizes_and_brightness_are_like_real_ones(data_dir: Path, haadf: Imaging) -> None:
    """Against the dark-field micrographs of stem_catalysts: share of dark field, particles' sizes over the image's."""
    folder = data_dir / "stem_catalysts"
    real = [cv2.imread(str(folder / "images" / f"{name}.jpg"), 0) for name in ("Cu1", "Pd3", "Pt2", "Ru1", "Ru3")]
    drawn = [image_at(catalyst(), haadf, (320, 320), 0, "train", i).micrograph.pixels for i in range(8)]
    dark = [np.median([(image < 60).mean() for image in images]) for images in (real, drawn)]
    assert dark[1] == pytest.approx(dark[0], abs=0.3)

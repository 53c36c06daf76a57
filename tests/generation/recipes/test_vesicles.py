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
from tem_seg.generation.raster import fill
from tem_seg.generation.recipes.vesicles import KINDS, Vesicles
from tem_seg.generation.render import check_pair, image_at
from tem_seg.generation.scenes.shapes import area
from tem_seg.generation.truth import instances_of

CONF = Path(__file__).resolve().parents[3] / "conf"
SIZES = {"large_vesicle": (100, 400), "small_vesicle": (20, 60), "hole": (15, 50)}
Build = Callable[..., Vesicles]


def build(group: str, name: str, **changes: Any) -> Any:
    return instantiate(OmegaConf.merge(OmegaConf.load(CONF / group / f"{name}.yaml"), changes))


@pytest.fixture(scope="module")
def recipe() -> Build:
    """recipe(key=value, …): the shipped one with changes."""
    return lambda **changes: build("recipe", "vesicles", **changes)


@pytest.fixture(scope="module")
def imaging() -> Imaging:
    found = build("imaging", "vesicles_bright_field")
    assert isinstance(found, Imaging)
    return found


def scenes(recipe: Vesicles, count: int, size: tuple[int, int] = (512, 512)) -> list[Scene]:
    return [recipe.draw(child_rng(0, "test", i), size) for i in range(count)]


def of(scene: Scene, category: str) -> list[Particle]:
    return [p for p in scene.particles if p.category == category]


def test_counts_are_about_those_of_the_paper(recipe: Build) -> None:
    """30 large vesicles, 120 small ones and 30 holes an image."""
    drawn = scenes(recipe(empty_fraction=0), 40)
    assert recipe().categories == KINDS
    for name, mean in (("large_vesicle", 30), ("small_vesicle", 120), ("hole", 30)):
        counts = np.array([len(of(scene, name)) for scene in drawn])
        assert counts.mean() == pytest.approx(mean, rel=0.15), name
    assert np.ptp([len(scene.particles) for scene in drawn]) > 40


def test_every_size_lies_in_its_range_and_is_large_enough_to_see(recipe: Build) -> None:
    for scene in scenes(recipe(empty_fraction=0), 25):
        pixel_nm = scene.field_of_view_nm[0] / 512
        for name, (low, high) in SIZES.items():
            found = [2 * np.sqrt(area(p.outline_nm) / np.pi) for p in of(scene, name)]
            assert min(found) >= max(low, 7 * pixel_nm) * (1 - 1e-9) and max(found) <= high * (1 + 1e-9)


def test_magnifications_differ(recipe: Build) -> None:
    pixels = [scene.field_of_view_nm[0] / 512 for scene in scenes(recipe(), 40)]
    assert max(pixels) / min(pixels) > 2.5


def test_heights_end_at_the_film(recipe: Build) -> None:
    for film in (50.0, 250.0):
        scene = scenes(recipe(film_nm=[film, film], empty_fraction=0), 1)[0]
        assert [p.height_nm for p in of(scene, "hole")] == pytest.approx([film] * len(of(scene, "hole")))
        for vesicle in of(scene, "large_vesicle") + of(scene, "small_vesicle"):
            diameter = 2 * np.sqrt(area(vesicle.outline_nm) / np.pi)
            assert vesicle.height_nm == pytest.approx(min(diameter, film))
        assert {p.shape for p in scene.particles} == {"vesicle", "hole"}


def test_small_vesicles_and_holes_share_no_pixel_with_each_other(recipe: Build) -> None:
    lone = recipe(populations={"large_vesicle": None}, empty_fraction=0, clustered=[0.5, 0.5])
    assert lone.categories == ("small_vesicle", "hole")
    for scene in scenes(lone, 3):
        found = instances_of(
            scene, np.zeros((512, 512), bool), scene.field_of_view_nm[0] / 512, lone.categories, "transparent", 1
        )
        assert len(found) > 80 and max(truth["overlapped_fraction"] for truth in found.truths) == 0.0


@pytest.mark.parametrize("wanted", [0.0, 0.8])
def test_share_of_small_vesicles_inside_large_ones(recipe: Build, wanted: float) -> None:
    inside: list[bool] = []
    for scene in scenes(recipe(inside=[wanted, wanted], clustered=[0, 0], empty_fraction=0), 5):
        size = tuple(int(side) for side in scene.field_of_view_nm)  # pixels of 1 nm
        covered = np.zeros(size, bool)
        for large in of(scene, "large_vesicle"):
            covered |= fill(large.outline_nm, (0, 0, size[1], size[0]))
        centres = [p.outline_nm.mean(axis=0) for p in of(scene, "small_vesicle")]
        inside += [bool(covered[int(y), int(x)]) for x, y in centres if 0 <= x < size[1] and 0 <= y < size[0]]
    assert np.mean(inside) == pytest.approx(wanted, abs=0.12)


def seen(recipe: Vesicles, imaging: Imaging, index: int) -> tuple[Scene, np.ndarray]:
    scene = recipe.draw(child_rng(0, "look", index), (512, 512))
    assert imaging.contrast is not None
    return scene, imaging.contrast(scene, (512, 512), child_rng(0, "contrast", index))


@pytest.mark.parametrize("film_nm", [40, 300])
def test_large_are_light_small_are_dark_holes_are_bright(recipe: Build, film_nm: float) -> None:
    """In sections as in films so thick that the beam crosses the whole membrane."""
    plain = {"texture": [0, 0], "unevenness": [0, 0], "halo": [0, 0]}
    imaging = build("imaging", "vesicles_bright_field", contrast=plain)
    looked_at = recipe(empty_fraction=0, overlapped=[0, 0], inside=[0, 0], density_spread=[0, 0], film_nm=[film_nm] * 2)
    for index in range(3):
        scene, pixels = seen(looked_at, imaging, index)
        values: dict[str, list[float]] = {}
        bare = np.ones((512, 512), bool)
        for particle in scene.particles:
            outline = particle.outline_nm / scene.field_of_view_nm[0] * 512
            bare &= ~fill(outline, (0, 0, 512, 512))
            x, y = (int(v) for v in outline.mean(axis=0))
            if 0 <= x < 512 and 0 <= y < 512:
                values.setdefault(particle.category, []).append(float(pixels[y, x]))
        film, middle = float(np.median(pixels[bare])), {name: float(np.median(found)) for name, found in values.items()}
        assert middle["small_vesicle"] < 0.9 * film
        assert 1.05 * film < middle["large_vesicle"] < middle["hole"]
        assert middle["hole"] > 0.75


def test_image_and_truth(recipe: Build, imaging: Imaging) -> None:
    check_pair(recipe(), imaging, (300, 400))
    first, second = (image_at(recipe(empty_fraction=0), imaging, (300, 400), 1, "train", 2) for _ in range(2))
    np.testing.assert_array_equal(first.micrograph.pixels, second.micrograph.pixels)
    assert first.instances.segmentations == second.instances.segmentations
    assert set(first.instances.labels.tolist()) == {0, 1, 2}
    truth = first.instances.truths[0]
    assert {"true_equivalent_diameter_nm", "true_min_feret_nm", "true_height_nm", "shape"} <= set(truth)


def test_empty_and_lacking_populations(recipe: Build, imaging: Imaging) -> None:
    assert len(image_at(recipe(empty_fraction=1), imaging, (160, 160), 0, "train", 0).instances) == 0
    none = recipe(populations={name: {"count": [0, 0]} for name in KINDS})
    assert len(image_at(none, imaging, (160, 160), 0, "train", 0).instances) == 0
    large = recipe(populations={"small_vesicle": None, "hole": None}, empty_fraction=0)
    found = image_at(large, imaging, (256, 256), 0, "train", 0)
    assert large.categories == ("large_vesicle",) and len(found.instances) > 5


def test_lengths_and_pixel_size_scale_together(recipe: Build) -> None:
    def scaled(f: float) -> Vesicles:
        populations = {name: {"diameter_nm": [low * f, high * f]} for name, (low, high) in SIZES.items()}
        lengths = {"pixel_size_nm": [0.4 * f, 5 * f], "film_nm": [40 * f, 300 * f], "membrane_nm": [4 * f, 10 * f]}
        return recipe(populations=populations, **lengths)

    first, second = (scaled(f).draw(child_rng(0, "a", 3), (512, 512)) for f in (1.0, 8.0))
    assert second.field_of_view_nm == pytest.approx([8 * v for v in first.field_of_view_nm])
    assert len(first.particles) == len(second.particles) > 0
    for p, q in zip(first.particles, second.particles, strict=True):
        np.testing.assert_allclose(q.outline_nm, 8 * p.outline_nm, rtol=1e-7, atol=1e-5)
        assert q.height_nm == pytest.approx(8 * p.height_nm)


def test_identity_is_json_and_tells_parameters_apart(recipe: Build) -> None:
    assert json.loads(canonical(recipe().identity()))["populations"]["hole"]["diameter_nm"] == [15.0, 50.0]
    assert recipe().identity() == recipe().identity() != recipe(populations={"hole": {"count": [1, 2]}}).identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"film_nm": [80, 8]}, "Vesicles.film_nm: min 80 is greater than max 8"),
        ({"inside": [0, 1.5]}, "Vesicles.inside must lie between 0 and 1, got 1.5"),
        ({"lumen": [0, 1]}, "Vesicles.lumen must lie between 0 and 0.95"),
        ({"bilayer": -1}, "Vesicles.bilayer must lie between 0 and 1"),
        ({"populations": {"hole": {"count": [40, 20]}}}, "Population.count: min 40 is greater than max 20"),
        ({"populations": {"hole": {"diameter_nm": [0, 20]}}}, "Population.diameter_nm must lie between"),
        ({"populations": {"hole": {"max_coverage": 0.9}}}, "Population.max_coverage must lie between"),
        ({"populations": {"hole": {"category": 3}}}, "Population.category must be the name of a class, got 3"),
        ({"populations": {"rod": {"count": [1, 2]}}}, "no kind 'rod'; there are large_vesicle, small_vesicle, hole"),
        ({"populations": dict.fromkeys(KINDS)}, "at least one of large_vesicle, small_vesicle, hole is needed"),
    ],
)
def test_bad_parameters_are_named(recipe: Build, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        recipe(**changes)
    assert isinstance(caught.value.__cause__ or caught.value, UserError)


def test_a_population_must_be_built(recipe: Build) -> None:
    values = {field: getattr(recipe(), field) for field in recipe().__dataclass_fields__}
    with pytest.raises(UserError, match="Vesicles.populations.hole must be built from a _target_"):
        Vesicles(**values | {"populations": {"hole": {"count": [1, 2]}}})


def test_more_than_fit_are_refused_with_how_many_do(recipe: Build) -> None:
    crowded = recipe(populations={"small_vesicle": {"count": [3000, 3000], "sigma_log": [0, 0]}})
    fit = int(0.25 * 512 * 512 / (np.pi / 4 * 7.0**2))
    with pytest.raises(UserError, match=rf"Population.count: 3000 of small_vesicle, 7.0 px .* {fit} do: ask for fewer"):
        crowded.check_fits((512, 512))
    crowded.check_fits((1536, 1536))


def test_sizes_that_cannot_be_seen_together_are_refused(recipe: Build) -> None:
    huge = recipe(populations={"large_vesicle": {"diameter_nm": [4000, 5000]}}, pixel_size_nm=[0.4, 100])
    with pytest.raises(UserError, match="Population.diameter_nm: small_vesicle of up to 60 nm are seen at less than"):
        huge.check_fits((512, 512))
    with pytest.raises(UserError, match="Population.diameter_nm: .*hole.*|Population.diameter_nm: small_vesicle"):
        recipe(pixel_size_nm=[20, 30]).check_fits((512, 512))
    near = recipe(pixel_size_nm=[0.4, 0.5])
    with pytest.raises(UserError, match="Population.count: 20 of large_vesicle|Vesicles.pixel_size_nm"):
        near.check_fits((512, 512))


def test_fits_every_image_size_that_profiles_use(recipe: Build) -> None:
    for side in (160, 512, 1024, 4096):
        recipe().check_fits((side, side))

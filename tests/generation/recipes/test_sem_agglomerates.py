from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.data.rle import decode_crop
from tem_seg.data.store import canonical
from tem_seg.generation.recipes.sem_agglomerates import SemAgglomerates
from tem_seg.generation.render import check_pair, image_at
from tem_seg.generation.scenes.crystals import KINDS
from tem_seg.generation.scenes.shapes import area
from tem_seg.generation.truth import instances_of
from tests.generation.conftest import build

Piles = Callable[..., SemAgglomerates]
SIZE = (256, 320)
FEW: dict[str, Any] = {
    "agglomerates": [2, 4], "particles_per_agglomerate": [3, 8], "diameter_px": [16, 24], "empty_fraction": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def piles() -> Piles:
    """piles(key=value, …): the shipped recipe with changes."""
    return lambda **changes: build("recipe", "sem_agglomerates", **changes)


def test_shipped_recipe_draws_as_its_parameters_say(piles: Piles) -> None:
    recipe = piles(sintered=[0, 0])
    scenes = [recipe.draw(child_rng(1, "test", i), (768, 1024)) for i in range(25)]
    counts = [len(s.particles) for s in scenes if s.particles]
    assert min(counts) >= 2 and np.median(counts) > 20
    pixel_sizes = np.array([s.field_of_view_nm[0] / 768 for s in scenes])
    assert pixel_sizes.max() / pixel_sizes.min() > 10, "several magnifications"
    smallest = min(
        2 * np.sqrt(area(p.outline_nm) / np.pi) / pixel
        for s, pixel in zip(scenes, pixel_sizes, strict=True)
        for p in s.particles
    )
    assert 7.99 < smallest < 10.0
    assert {p.shape for s in scenes for p in s.particles} == set(KINDS)
    assert recipe.categories == ("particle",) and recipe.modality == "sem"


def test_sizes_are_log_normal_with_the_given_median_and_spread(piles: Piles) -> None:
    sizes: dict[str, Any] = {"diameter_nm": [100, 100], "sigma_log": [0.2, 0.2], "diameter_px": [20, 24]}
    recipe = piles(**sizes, sintered=[0, 0], empty_fraction=0)
    scenes = [recipe.draw(child_rng(0, "size", i), (768, 1024)) for i in range(12)]
    found = np.array([2 * np.sqrt(area(p.outline_nm) / np.pi) for s in scenes for p in s.particles])
    assert np.exp(np.log(found).mean()) == pytest.approx(100.0, rel=0.03)
    assert np.log(found).std() == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_lengths_and_pixel_size_scale_together(piles: Piles, factor: float) -> None:
    plain = piles(**FEW)
    scaled = piles(**FEW, diameter_nm=[25 * factor, 600 * factor], pixel_size_nm=[0.3 * factor, 40 * factor])
    first, second = (r.draw(child_rng(0, "a", 3), SIZE) for r in (plain, scaled))
    assert second.field_of_view_nm == pytest.approx([factor * v for v in first.field_of_view_nm])
    for p, q in zip(first.particles, second.particles, strict=True):
        np.testing.assert_allclose(q.outline_nm, factor * p.outline_nm, rtol=1e-9, atol=1e-6)
        assert q.height_nm == pytest.approx(factor * p.height_nm)


@pytest.mark.parametrize("limit", [0.0, 0.2])
def test_particles_share_no_more_than_the_overlap_limit(piles: Piles, limit: float) -> None:
    recipe = piles(**FEW, overlap_limit=[limit, limit], sintered=[0, 0])
    for i in range(3):
        scene = recipe.draw(child_rng(0, "limit", i), SIZE)
        pixel_nm = scene.field_of_view_nm[0] / SIZE[0]
        found = instances_of(scene, np.zeros(SIZE, bool), pixel_nm, ("particle",), "transparent", 1)
        masks = np.zeros((len(found), *SIZE), np.float32)
        for k, rle in enumerate(found.segmentations):
            crop, x0, y0 = decode_crop(rle)
            masks[k, y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] = crop
        flat = masks.reshape(len(masks), -1)
        inner = [k for k, t in enumerate(found.truths) if t["visible_fraction"] == 1.0]
        areas = flat.sum(axis=1)
        shared = (flat @ flat.T / np.minimum(areas[:, None], areas) - np.eye(len(flat)))[np.ix_(inner, inner)]
        assert shared.max(initial=0.0) <= limit + 0.05


def test_what_has_grown_together_overlaps_no_more_and_is_smaller_for_it(piles: Piles) -> None:
    """The same piles twice: sizes told are those of what is left of each."""
    told = {}
    for share in (0.0, 1.0):
        close: dict[str, Any] = FEW | {"overlap_limit": [0.3, 0.4], "packing": [1, 1]}
        recipe = piles(**close, sintered=[share, share])
        scenes = [recipe.draw(child_rng(0, "grown", i), SIZE) for i in range(6)]
        truths = []
        for scene in scenes:
            shown = np.zeros(SIZE, bool), scene.field_of_view_nm[0] / SIZE[0]
            truths += instances_of(scene, *shown, ("particle",), "opaque", 1).truths
        told[share] = np.array([[t["overlapped_fraction"], t["visible_fraction"], t["true_area_nm2"]] for t in truths])
    apart, grown = told[0.0].mean(axis=0), told[1.0].mean(axis=0)
    assert grown[0] < 0.5 * apart[0] and grown[1] > apart[1] and 0.6 * apart[2] < grown[2] < 0.97 * apart[2]


def test_number_of_agglomerates_and_of_particles_in_them(piles: Piles) -> None:
    recipe = piles(agglomerates=[5, 5], particles_per_agglomerate=[6, 6], agglomerated=[1, 1], diameter_px=[16, 20],
                   empty_fraction=0)  # fmt: skip
    assert [len(recipe.draw(child_rng(0, "n", i), (1024, 1024)).particles) for i in range(4)] == [30] * 4
    half = piles(agglomerates=[5, 5], particles_per_agglomerate=[6, 6], agglomerated=[0.5, 0.5], diameter_px=[16, 20],
                 empty_fraction=0)  # fmt: skip
    assert len(half.draw(child_rng(0, "n"), (1024, 1024)).particles) == 60
    none = piles(agglomerates=[0, 0]).draw(child_rng(0, "n"), SIZE)
    assert none.particles == () and none.field_of_view_nm[1] / none.field_of_view_nm[0] == pytest.approx(1.25)


def test_share_of_empty_micrographs_and_coverage(piles: Piles) -> None:
    recipe = piles(**(FEW | {"empty_fraction": 0.4, "particles_per_agglomerate": [1, 2]}))
    empty = [not recipe.draw(child_rng(0, "e", i), (128, 128)).particles for i in range(80)]
    assert np.mean(empty) == pytest.approx(0.4, abs=0.16)
    crowded = piles(agglomerates=[0, 500], max_coverage=0.3, diameter_px=[16, 20], empty_fraction=0)
    scene = crowded.draw(child_rng(0, "c"), SIZE)
    assert 0.0 < sum(area(p.outline_nm) for p in scene.particles) / np.prod(scene.field_of_view_nm) < 0.42


def test_weights_of_shapes_and_categories(piles: Piles) -> None:
    shapes: dict[str, Any] = dict.fromkeys(KINDS)
    shapes |= {"prism": {"weight": 1, "category": "rutile"}, "bipyramid": {"weight": 0, "category": "anatase"}}
    recipe = piles(**FEW, shapes=shapes)
    assert recipe.categories == ("anatase", "rutile")
    assert {p.shape for p in recipe.draw(child_rng(0, "w"), SIZE).particles} == {"prism"}


@pytest.mark.parametrize(("modality", "occlusion"), [("sem", "opaque"), ("tsem", "transparent")])
def test_images_are_the_same_twice_and_pixels_have_one_owner_in_sem(
    piles: Piles, modality: str, occlusion: str
) -> None:
    recipe, imaging = piles(**FEW, modality=modality, occlusion=occlusion), build("imaging", modality)
    check_pair(recipe, imaging, SIZE)
    first, second = (image_at(recipe, imaging, SIZE, 5, "train", 2) for _ in range(2))
    np.testing.assert_array_equal(first.micrograph.pixels, second.micrograph.pixels)
    assert first.instances.segmentations == second.instances.segmentations and len(first.instances) > 3
    assert first.micrograph.modality == modality
    pixels = first.micrograph.pixels
    assert pixels.min() >= 0 and pixels.max() <= 255 and (pixels == np.rint(pixels)).all() and pixels.std() > 5
    owners = np.zeros(SIZE, int)
    for rle in first.instances.segmentations:
        crop, x0, y0 = decode_crop(rle)
        owners[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] += crop
    assert (owners.max() == 1) if modality == "sem" else owners.max() > 1


def test_particles_are_bright_in_sem_and_dark_in_tsem(piles: Piles) -> None:
    for modality, sign in (("sem", 1), ("tsem", -1)):
        recipe = piles(**FEW, modality=modality)
        bars = dict.fromkeys(("info_bar", "scale_bar", "panel_letter"))
        imaging = build("imaging", modality, steps=bars)
        drawn = image_at(recipe, imaging, SIZE, 1, "train", 0)
        inside = np.zeros(SIZE, bool)
        for rle in drawn.instances.full_segmentations:
            crop, x0, y0 = decode_crop(rle)
            inside[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] |= crop
        pixels = drawn.micrograph.pixels
        assert sign * (np.median(pixels[inside]) - np.median(pixels[~inside])) > 25


def test_recipe_and_imaging_must_fit(piles: Piles) -> None:
    with pytest.raises(UserError, match="the recipe makes sem scenes, the imaging is tsem"):
        check_pair(piles(), build("imaging", "tsem"), (512, 512))


def test_identity_is_json_and_tells_parameters_apart(piles: Piles) -> None:
    assert json.loads(canonical(piles().identity()))["packing"] == [0.0, 1.0]
    assert piles().identity() == piles().identity() != piles(packing=[0, 0.5]).identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diameter_nm": [80, 8]}, "SemAgglomerates.diameter_nm: min 80 is greater than max 8"),
        ({"overlap_limit": [0.1, 0.95]}, "SemAgglomerates.overlap_limit must lie between"),
        ({"sintered": [0, 1.1]}, "SemAgglomerates.sintered must lie between"),
        ({"neck": [0, 0.4]}, "SemAgglomerates.neck must lie between"),
        ({"packing": [-0.1, 1]}, "SemAgglomerates.packing must lie between"),
        ({"agglomerated": [0, 1]}, "SemAgglomerates.agglomerated must lie between"),
        ({"particles_per_agglomerate": [0, 5]}, "SemAgglomerates.particles_per_agglomerate must lie between"),
        ({"aspect": [0.5, 2]}, "SemAgglomerates.aspect must lie between"),
        ({"flatness": [0.5, 1.2]}, "SemAgglomerates.flatness must lie between"),
        ({"faceting": "all"}, "SemAgglomerates.faceting must be two numbers"),
        ({"max_coverage": 0.9}, "SemAgglomerates.max_coverage must lie between"),
        ({"modality": "haadf"}, "SemAgglomerates.modality must be one of sem, tsem, got 'haadf'"),
        ({"min_diameter_px": 60}, "SemAgglomerates.min_diameter_px 60 cuts off most particles"),
        ({"shapes": {"blob": {"weight": 1, "category": "a"}}}, "no shape 'blob'; there are irregular, smooth"),
        ({"shapes": {"block": {"wieght": 1}}}, "SemAgglomerates.shapes.block must have the keys weight and category"),
        ({"shapes": {"block": {"weight": -1}}}, "SemAgglomerates.shapes.block.weight must be a number of at least 0"),
        ({"shapes": dict.fromkeys(KINDS)}, "at least one shape needs a weight above 0"),
    ],
)
def test_bad_parameters_are_named(piles: Piles, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        piles(**changes)
    assert isinstance(caught.value.__cause__ or caught.value, UserError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agglomerates": [100, 200], "particles_per_agglomerate": [10, 20]},
         r"1000 particles \(100 agglomerates of 10\) of median diameter 16 px do not fit in 256 × 320 px .*: 118 do"),
        ({"diameter_px": [140, 200]}, "a median of 140 px is more than half of an image of 256 × 320 px: .* 128 px"),
        ({"pixel_size_nm": [30, 40]}, "SemAgglomerates.pixel_size_nm .* at no diameter within diameter_px"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_any_work(piles: Piles, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        piles(**changes).check_fits(SIZE)
    piles().check_fits(SIZE)

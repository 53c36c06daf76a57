from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.data import rle
from tem_seg.data.images import write_png
from tem_seg.data.readers.mask_pairs import MaskPairs
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.real.images import RealImages
from tem_seg.generation.recipe import Picture, Recipe
from tem_seg.generation.recipes.cut_paste import CutPaste
from tem_seg.generation.render import check_pair, image_at

CONF = Path(__file__).resolve().parents[3] / "conf" / "recipe" / "cut_paste.yaml"
PLAIN: dict[str, Any] = {"noisy_images": 0.0, "gaussian_blur": 0.0}
AS_IT_IS: dict[str, Any] = PLAIN | {
    "keep_particles": 1.0, "particles_per_image": [1, 1], "scaling_factor": [1, 1], "flips": False
}  # fmt: skip
SIZE = (160, 160)


def discs(shape: tuple[int, int], *found: tuple[float, float, float]) -> NDArray[np.uint16]:
    """(x, y, radius) px of each."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    labels = np.zeros(shape, np.uint16)
    for number, (cx, cy, radius) in enumerate(found, start=1):
        labels[np.hypot(x - cx, y - cy) < radius] = number
    return labels


LABELS = discs((160, 160), (40, 40, 16), (110, 50, 18), (70, 110, 14), (158, 130, 15), (125, 125, 16))
"""Five discs, the fourth cut by the border."""


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., RealImages]:
    """pairs((labels, transmission, level), …): pairs of images and masks."""

    def make(*found: tuple[NDArray[np.uint16], float, float], **options: Any) -> RealImages:
        for k, (labels, transmission, level) in enumerate(found):
            grain = np.random.default_rng(k).normal(0, 3, labels.shape)
            pixels = np.where(labels > 0, transmission * level, level) + grain
            write_png(tmp_path / f"images/{k}.png", np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
            write_png(tmp_path / f"masks/{k}.png", labels)
        return RealImages(MaskPairs(tmp_path / "images", tmp_path / "masks", **options))

    return make


@pytest.fixture
def source(pairs: Callable[..., RealImages]) -> RealImages:
    return pairs((LABELS, 0.4, 150.0), (LABELS.T.copy(), 0.5, 120.0))


def recipe_of(images: RealImages, **changes: Any) -> CutPaste:
    """The shipped recipe of these images, with changes."""
    shipped: Any = OmegaConf.to_container(OmegaConf.load(CONF), resolve=False)
    values = {key: value for key, value in shipped.items() if key[0] != "_"}
    return CutPaste(**values | changes | {"images": images})


def drawn(recipe: CutPaste, index: int = 0, size: tuple[int, int] = SIZE) -> Picture:
    return recipe.draw(child_rng(7, index), size)


def cover(picture: Picture) -> NDArray[np.int64]:
    """(H, W) number of visible masks on each pixel."""
    found = np.zeros(picture.instances.size, np.int64)
    for mask in picture.instances.segmentations:
        found += rle.decode(mask)
    return found


# --------------------------------------------------------------------------------------------------------------- laws


def test_it_keeps_the_protocol(source: RealImages) -> None:
    recipe: Recipe = recipe_of(source)
    assert recipe.categories == ("particle",) and recipe.occlusion == "opaque" and recipe.composes_pictures
    check_pair(recipe, Imaging(None, None, {}), SIZE)
    found = image_at(recipe, Imaging(None, None, {}), SIZE, 1, "train", 3)
    assert found.micrograph.pixels.shape == SIZE and found.micrograph.modality == "bright_field"
    assert len(found.instances) == len(found.instances.truths) > 0


def test_same_seed_same_bytes_in_every_process(source: RealImages) -> None:
    recipe = recipe_of(source)
    alone = pickle.loads(pickle.dumps(recipe))  # as spawned workers get it
    first = [drawn(recipe, k) for k in range(6)]
    again = [drawn(alone, k) for k in (5, 4, 3, 2, 1, 0)][::-1]  # whatever was drawn before
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.pixels, other.pixels) and one.instances.truths == other.instances.truths
        assert one.instances.segmentations == other.instances.segmentations
    assert len({one.pixels.tobytes() for one in first}) == 6


def test_the_pool_stays_at_home(source: RealImages) -> None:
    recipe = recipe_of(source)
    small = len(pickle.dumps(recipe))
    drawn(recipe)
    assert "pool" in recipe.__dict__ and len(pickle.dumps(recipe)) < small + 20_000


def test_grey_levels_are_whole_and_masks_share_no_pixel(source: RealImages) -> None:
    recipe = recipe_of(source, overlapped=[1, 1], overlap=[0.3, 0.5])
    shared = 0
    for k in range(8):
        picture = drawn(recipe, k)
        assert picture.pixels.dtype == np.float32 and picture.pixels.min() >= 0 and picture.pixels.max() <= 255
        assert np.array_equal(picture.pixels, np.rint(picture.pixels))
        assert cover(picture).max(initial=0) <= 1
        for seen, full in zip(picture.instances.segmentations, picture.instances.full_segmentations, strict=True):
            assert not (rle.decode(seen) & ~rle.decode(full)).any()
            shared += seen != full
    assert shared > 5


def test_true_sizes_are_those_of_the_masks(source: RealImages) -> None:
    recipe = recipe_of(source, keep_particles=0.0, scaling_factor=[0.5, 2.0])
    compared = 0
    for k in range(10):
        found = drawn(recipe, k, (320, 320)).instances
        for mask, truth in zip(found.full_segmentations, found.truths, strict=True):
            crop, x0, y0 = rle.decode_crop(mask)
            if min(x0, y0) > 0 and max(x0 + crop.shape[1], y0 + crop.shape[0]) < 320:
                diameter = 2 * np.sqrt(crop.sum() / np.pi)
                assert truth["true_equivalent_diameter_px"] == pytest.approx(diameter, rel=0.02, abs=0.5)
                assert truth["true_max_feret_px"] == pytest.approx(max(crop.shape), rel=0.07, abs=1.5)
                compared += 1
    assert compared > 30


def test_a_larger_image_shows_the_same_larger(source: RealImages) -> None:
    recipe = recipe_of(source, **PLAIN, keep_particles=0.0, min_visible_px=1)
    for k in range(4):
        small, large = (drawn(recipe, k, (side, side)).instances.truths for side in (160, 320))
        assert len(small) == len(large) > 0
        for one, other in zip(small, large, strict=True):
            assert other["true_max_feret_px"] == pytest.approx(2 * one["true_max_feret_px"], rel=1e-4)


def test_lengths_in_nm_are_those_of_the_source(pairs: Callable[..., RealImages]) -> None:
    source = pairs((discs((160, 160), (80, 80, 20)), 0.4, 150.0), pixel_size_nm=0.5)
    recipe = recipe_of(source, scale_spread=0.0)
    for k in range(6):
        picture = drawn(recipe, k)
        assert picture.pixel_size_nm is not None
        for truth in picture.instances.truths:
            assert truth["true_equivalent_diameter_nm"] == pytest.approx(20.0, rel=0.01)
            assert truth["true_min_feret_nm"] / truth["true_min_feret_px"] == pytest.approx(picture.pixel_size_nm, 1e-3)
    assert drawn(recipe_of(pairs((LABELS, 0.4, 150.0)))).pixel_size_nm is None


# --------------------------------------------------------------------------------------------------------- parameters


def test_a_kept_image_is_as_it_was(pairs: Callable[..., RealImages]) -> None:
    source = pairs((LABELS, 0.4, 150.0))
    picture = drawn(recipe_of(source, **AS_IT_IS))
    assert np.array_equal(picture.pixels, source.micrograph(0).pixels)
    before = source.items[0][1]
    assert picture.instances.segmentations == before.segmentations
    assert {truth["shape"] for truth in picture.instances.truths} == {"real"}
    assert ["true_max_feret_px" in truth for truth in picture.instances.truths] == [True, True, True, False, True]


def test_kept_and_pasted_ones_beside_each_other(source: RealImages) -> None:
    recipe = recipe_of(source, keep_particles=1.0, particles_per_image=[12, 12])
    shapes = [truth["shape"] for k in range(4) for truth in drawn(recipe, k).instances.truths]
    assert {"real", "cut"} == set(shapes)


def test_without_overlap_nothing_overlaps(source: RealImages) -> None:
    recipe = recipe_of(source, overlapping_particles=False, particles_per_image=[20, 30], keep_particles=0.3)
    recipe.check_fits(SIZE)
    for k in range(6):
        found = drawn(recipe, k).instances
        assert found.segmentations == found.full_segmentations
        assert sum(rle.area_px(mask) for mask in found.segmentations) == cover(drawn(recipe, k)).astype(bool).sum()
    alone = recipe_of(source, overlapping_particles=False, particles_per_image=[25, 25], keep_particles=0.0)
    assert len(drawn(alone).instances) == 25


def test_number_of_particles(source: RealImages) -> None:
    some = recipe_of(source, particles_per_image=[6, 9], scaling_factor=[0.3, 0.4], keep_particles=0.0)
    counts = {len(drawn(some, k).instances) for k in range(12)}
    assert max(counts) <= 9 and min(counts) >= 5  # one may lie outside the image but for a few pixels
    like = recipe_of(source, scaling_factor=[1, 1], keep_particles=0.0)
    assert all(2 <= len(drawn(like, k).instances) <= 7 for k in range(12))  # 0.7 to 1.3 times five


def test_scale_is_one_for_a_micrograph_with_a_small_spread(source: RealImages) -> None:
    recipe = recipe_of(source, keep_particles=0.0, scaling_factor=[0.4, 1.6], scale_spread=0.0)
    means = []
    for k in range(10):
        sizes = [truth["true_equivalent_diameter_px"] for truth in drawn(recipe, k).instances.truths]
        assert max(sizes) / min(sizes) < 18 / 14 + 0.02
        means.append(np.mean(sizes) / 32)
    assert min(means) < 0.75 and max(means) > 1.0 and min(means) > 0.35 and max(means) < 1.75


def test_pasted_particles_keep_their_contrast(source: RealImages) -> None:
    recipe = recipe_of(source, **PLAIN, keep_particles=0.0, contrast=[1, 1], see_through=0.0, textured=0.5)
    for k in range(4):
        picture = drawn(recipe, k)
        inside = cover(picture) > 0
        ratio = np.median(picture.pixels[inside]) / np.median(picture.pixels[~inside])
        assert 0.35 < ratio < 0.55


def test_bright_particles_stay_bright_and_apart_from_dark_ones(pairs: Callable[..., RealImages]) -> None:
    recipe = recipe_of(pairs((LABELS, 2.5, 60.0), (LABELS, 0.4, 150.0)), **PLAIN, particle_sources=[2, 2])
    signs: list[bool] = []
    for k in range(10):
        picture = drawn(recipe, k)
        inside = cover(picture) > 0
        outside = float(np.median(picture.pixels[~inside]))
        darker = {bool(picture.pixels[rle.decode(mask).astype(bool)].mean() < outside)
                  for mask in picture.instances.segmentations if rle.area_px(mask) > 60}  # fmt: skip
        assert len(darker) == 1
        signs += darker
    assert set(signs) == {True, False}


def test_foreign_backgrounds(source: RealImages) -> None:
    levels = []
    for share in (0.0, 1.0):
        recipe = recipe_of(source, **PLAIN, keep_particles=0.0, foreign_background=share, particle_sources=[1, 1],
                           contrast=[1, 1])  # fmt: skip
        own = 0
        for k in range(10):
            picture = drawn(recipe, k)
            inside = cover(picture) > 0
            background = float(np.median(picture.pixels[~inside]))
            ratio = float(np.median(picture.pixels[inside])) / background
            own += (abs(ratio - 0.4) < abs(ratio - 0.5)) == (abs(background - 150) < abs(background - 120))
        levels.append(own)
    assert levels[0] == 10 and levels[1] <= 1


def test_synthetic_backgrounds_for_images_that_have_none(pairs: Callable[..., RealImages]) -> None:
    rows = np.indices((160, 160)) // 40
    full = (rows[0] * 4 + rows[1] + 1).astype(np.uint16)
    full[:3] = full[-3:] = 0
    full[:, :3] = full[:, -3:] = 0
    source = pairs((full, 0.4, 150.0))
    kept = drawn(recipe_of(source, keep_particles=0.0))
    assert "real" in {truth["shape"] for truth in kept.instances.truths}
    plain = recipe_of(source, keep_particles=0.0, synthetic_backgrounds=True)
    for k in range(3):
        assert {truth["shape"] for truth in drawn(plain, k).instances.truths} == {"cut"}


def test_salt_pepper_and_blur(source: RealImages) -> None:
    clean = recipe_of(source, **PLAIN)
    noisy = recipe_of(source, noisy_images=1.0, salt_pepper_noise=0.1, gaussian_blur=0.0)
    shares = [np.isin(drawn(noisy, k).pixels, (0, 255)).mean() for k in range(12)]
    assert max(shares) < 0.105 and min(shares) < 0.04 and np.mean(shares) == pytest.approx(0.05, abs=0.025)
    blurred = recipe_of(source, noisy_images=0.0, gaussian_blur=3.0)
    assert np.mean([np.diff(drawn(blurred, k).pixels).std() for k in range(6)]) < 0.7 * np.mean(
        [np.diff(drawn(clean, k).pixels).std() for k in range(6)]
    )


def test_shadows_stay_where_they_are_without_turns(pairs: Callable[..., RealImages]) -> None:
    """Particles with a bright left half, as under a detector on that side."""
    labels = discs((160, 160), (50, 50, 20), (110, 100, 20))
    source = pairs((labels, 0.4, 150.0))
    path = Path(source.items[0][0]["file_name"])
    pixels = source.micrograph(0).pixels.copy()
    x = np.mgrid[:160, :160][1]
    pixels[(labels > 0) & (np.where(labels == 1, 50, 110) > x)] += 40
    write_png(path, pixels.astype(np.uint8))
    recipe = recipe_of(RealImages(source.reader), **PLAIN, rotation=[0, 0], flips=False, overlapping_particles=False)
    for k in range(3):
        picture = drawn(recipe, k)
        for mask in picture.instances.full_segmentations:
            crop, x0, y0 = rle.decode_crop(mask)
            part = np.where(crop, picture.pixels[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]], np.nan)
            middle = crop.shape[1] // 2
            if crop.shape[0] * 0.9 < crop.shape[1] < crop.shape[0] * 1.1:
                assert np.nanmean(part[:, :middle]) > np.nanmean(part[:, middle:]) + 5


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling_factor": [2.0, 0.3]}, "CutPaste.scaling_factor: min 2 is greater than max 0.3"),
        ({"particles_per_image": [9, 3]}, "CutPaste.particles_per_image: min 9 is greater than max 3"),
        ({"particles_per_image": [0, 3]}, "CutPaste.particles_per_image must lie between 1 and"),
        ({"salt_pepper_noise": 1.5}, "CutPaste.salt_pepper_noise must lie between 0 and 1"),
        ({"minimum_size": -1}, "CutPaste.minimum_size must lie between 0 and"),
        ({"keep_particles": "often"}, "CutPaste.keep_particles must be a finite number"),
        ({"overlap": 0.3}, r"CutPaste.overlap must be two numbers \[min, max\]"),
    ],
)
def test_bad_parameters(source: RealImages, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe_of(source, **changes)


def test_more_than_fit_without_overlap(source: RealImages) -> None:
    recipe = recipe_of(source, overlapping_particles=False, particles_per_image=[500, 900], scaling_factor=[0.5, 1.0])
    with pytest.raises(
        UserError, match=r"500 particles do not fit in 160 × 160 px without overlap: 100 of the smallest"
    ):
        recipe.check_fits(SIZE)  # 14.5 px with the corners of its pixels: 10 rows of 10


def test_an_empty_pool_is_found_before_any_work(pairs: Callable[..., RealImages]) -> None:
    recipe = recipe_of(pairs((discs((160, 160), (0, 80, 20)), 0.4, 150.0)))
    with pytest.raises(UserError, match="no particle is left of 1 in 1 image.*1 by cut by the border"):
        check_pair(recipe, Imaging(None, None, {}), SIZE)


def test_identity_is_json_and_follows_the_parameters(source: RealImages) -> None:
    identity = recipe_of(source).identity()
    assert json.loads(json.dumps(identity))["images"]["split"] == "train"
    assert recipe_of(source, textured=0.9).identity() != identity == recipe_of(source).identity()


def test_real_micrographs(data_dir: Path, tmp_path: Path) -> None:
    for name in ("406975041a", "97e645b56e", "36de69b2c0"):
        for kind, original in (("images", "images"), ("masks", "segmaps")):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / f"{name}.png").symlink_to(data_dir / "emps" / original / f"{name}.png")
    recipe = recipe_of(RealImages(MaskPairs(tmp_path / "images", tmp_path / "masks", modality="bright_field")))
    check_pair(recipe, Imaging(None, None, {}), (512, 512))
    for k in range(4):
        picture = drawn(recipe, k, (512, 512))
        inside = cover(picture) > 0
        assert len(picture.instances) > 5 and picture.pixels[inside].mean() < picture.pixels[~inside].mean() - 10

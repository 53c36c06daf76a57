from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from real_scenes import Discs

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Particle, Scene
from tem_seg.data import rle
from tem_seg.generation.contrast.mass_thickness import MassThickness
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.real.images import RealImages
from tem_seg.generation.real.substrates import InpaintedSubstrates, SubstrateFolder
from tem_seg.generation.recipes.experimental_overlay import ExperimentalOverlay, rescaled
from tem_seg.generation.recipes.gold_aunp import GoldAuNP
from tem_seg.generation.render import check_pair, image_at

VALUES: dict[str, Any] = {
    "zoom": (1.0, 1.0), "reflect": True, "black": (0.0, 0.0), "fresnel_px": (1.0, 1.0), "fringe": (0.0, 0.0),
    "blur_px": (0.3, 0.3), "signal": (0.5, 0.5),
}  # fmt: skip


class Even:
    """A flat substrate with white noise."""

    def __init__(self, level: float = 160.0, sd: float = 0.0, pixel_size_nm: float | None = None) -> None:
        rng = np.random.default_rng(0)
        self.pixels = (level + sd * rng.standard_normal((200, 200))).astype(np.float32)
        self.pixel_size_nm = pixel_size_nm

    def __len__(self) -> int:
        return 1

    def substrate(self, index: int) -> tuple[np.ndarray, float | None]:
        return self.pixels, self.pixel_size_nm

    def identity(self) -> dict[str, Any]:
        return {}


class Slab:
    """A recipe of one square plate of even transmission 1/e, 40 nm wide, in a field of 100 nm."""

    categories, modality, composes_pictures = ("particle",), "bright_field", False
    occlusion, min_visible_px = "transparent", 1

    def identity(self) -> dict[str, Any]:
        return {}

    def check_fits(self, image_size: tuple[int, int]) -> None: ...

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int]) -> Scene:
        outline = np.array([[30.0, 30.0], [70.0, 30.0], [70.0, 70.0], [30.0, 70.0]])
        contrast = {"scattering_per_nm": 0.1, "bevel": 0.01}
        return Scene((Particle(outline, 10.0, "plate", "particle", contrast),), (100.0, 100.0))


def overlay(recipe: Any, substrates: Any, **changes: Any) -> ExperimentalOverlay:
    return ExperimentalOverlay(recipe=recipe, contrast=MassThickness(), substrates=substrates, **VALUES | changes)


def test_transmission_multiplies_what_is_above_black() -> None:
    for black in (0.0, 0.25):
        picture = overlay(Slab(), Even(160), black=(black, black)).draw(child_rng(0, "a"), (200, 200))
        floor = black * 160
        assert picture.pixels[100, 100] == pytest.approx(floor + (160 - floor) / np.e, abs=1)
        assert picture.pixels[5, 5] == 160 and picture.pixel_size_nm is None


def test_noise_under_a_particle_is_that_of_counted_electrons() -> None:
    picture = overlay(Slab(), Even(160, sd=12.0)).draw(child_rng(0, "a"), (200, 200))
    inside, outside = picture.pixels[75:125, 75:125], picture.pixels[:50, :50]
    assert inside.std() == pytest.approx(outside.std() * np.exp(-0.5), rel=0.12)


def test_masks_and_sizes_in_px_or_in_the_substrates_unit() -> None:
    truth = overlay(Slab(), Even()).draw(child_rng(0, "a"), (200, 200)).instances.truths[0]
    assert truth["true_min_feret_px"] == pytest.approx(80) and truth["true_area_px2"] == pytest.approx(6400)
    assert not [key for key in truth if key.endswith(("_nm", "_nm2"))]
    picture = overlay(Slab(), Even(pixel_size_nm=0.5)).draw(child_rng(0, "a"), (200, 200))
    assert picture.instances.truths[0]["true_min_feret_nm"] == pytest.approx(40)
    assert picture.pixel_size_nm == 0.5 and rle.area_px(picture.instances.segmentations[0]) == 6400


def test_dark_field_adds_signal() -> None:
    slab = Slab()
    slab.modality = "haadf"  # type: ignore[misc]
    picture = overlay(slab, Even(60)).draw(child_rng(0, "a"), (200, 200))
    assert picture.pixels.min() >= 60 and picture.pixels[100, 100] == pytest.approx(60 + 0.5 * 195 / np.e, abs=1)


def test_synthetic_gold_on_recovered_film(small_gold: GoldAuNP, tmp_path: Path) -> None:
    recipe = overlay(small_gold, InpaintedSubstrates(RealImages(Discs(tmp_path))), black=(-0.1, 0.3), zoom=(0.8, 1.2))
    imaging = Imaging(None, None, {})
    check_pair(recipe, imaging, (128, 128))
    dark, count = [], 0
    for index in range(6):
        drawn = image_at(recipe, imaging, (128, 128), 0, "train", index)
        again = image_at(pickle.loads(pickle.dumps(recipe)), imaging, (128, 128), 0, "train", index)
        np.testing.assert_array_equal(drawn.micrograph.pixels, again.micrograph.pixels)
        for mask in drawn.instances.segmentations:
            inside = rle.decode(mask)
            ring = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~inside
            dark.append(drawn.micrograph.pixels[inside].mean() < drawn.micrograph.pixels[ring].mean())
            count += 1
    assert count > 20 and np.mean(dark) > 0.9


def test_bad_input(small_gold: GoldAuNP, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ExperimentalOverlay.zoom: min 2 is greater than max 1"):
        overlay(small_gold, Even(), zoom=(2, 1))
    with pytest.raises(UserError, match="must draw scenes, not pictures"):
        overlay(overlay(small_gold, Even()), Even())
    cv2.imwrite(str(tmp_path / "bare.png"), np.full((60, 90), 150, np.uint8))
    small = overlay(small_gold, SubstrateFolder(tmp_path), reflect=False)
    with pytest.raises(UserError, match="a substrate of .* px is smaller than the output of 128 × 128 px"):
        check_pair(small, Imaging(None, None, {}), (128, 128))
    with pytest.raises(UserError, match="recipe ExperimentalOverlay composes pictures itself: choose imaging=as_is"):
        check_pair(overlay(small_gold, Even()), Imaging("bright_field", MassThickness(), {}), (128, 128))


def test_rescaled_changes_lengths_and_areas_alone() -> None:
    truth = {"true_height_nm": 8.0, "true_area_nm2": 16.0, "shape": "rod", "visible_fraction": 0.5}
    assert rescaled(truth, 2.0, None) == {
        "true_height_px": 4.0, "true_area_px2": 4.0, "shape": "rod", "visible_fraction": 0.5
    }  # fmt: skip
    assert rescaled(truth, 2.0, 1.0)["true_area_nm2"] == 4.0

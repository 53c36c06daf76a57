from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Modality, Scene
from tem_seg.data.rle import decode
from tem_seg.generation.contrast.mass_thickness import MassThickness
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipes.gold_aunp import GoldAuNP
from tem_seg.generation.render import check_pair, render

Gold = Callable[..., GoldAuNP]


def test_micrograph_and_instances_fit_together(small_gold: GoldAuNP, bright_field: Imaging) -> None:
    for i in range(6):
        rng = child_rng(0, "render", i)
        scene = small_gold.draw(rng, (96, 128))
        drawn = render(scene, small_gold, bright_field, (96, 128), rng)
        micrograph, instances = drawn.micrograph, drawn.instances
        assert micrograph.pixels.shape == (96, 128) == instances.size
        assert micrograph.modality is Modality.BRIGHT_FIELD and micrograph.pixel_size_source == "generator"
        assert micrograph.pixel_size_nm == pytest.approx(scene.field_of_view_nm[0] / 96)
        assert micrograph.pixels.min() >= 0 and micrograph.pixels.max() <= 255
        assert (micrograph.pixels == np.rint(micrograph.pixels)).all()


def test_particles_are_dark_where_their_masks_are(gold: Gold, bright_field: Imaging) -> None:
    recipe = gold(particles=[20, 40], optical_density=[1.5, 2.5], empty_fraction=0)
    steps = {name: step for name, step in bright_field.steps.items() if name in ("optics", "shot_noise", "grey_levels")}
    for i in range(3):
        rng = child_rng(0, "dark", i)
        scene = recipe.draw(rng, (512, 512))
        drawn = render(scene, recipe, Imaging("bright_field", MassThickness(), steps), (512, 512), rng)
        micrograph, instances = drawn.micrograph, drawn.instances
        inside = np.any([decode(r) for r in instances.segmentations], axis=0)
        assert micrograph.pixels[inside].mean() < 0.6 * micrograph.pixels[~inside].mean()


def test_same_generator_same_picture(small_gold: GoldAuNP, bright_field: Imaging) -> None:
    def draw() -> np.ndarray:
        rng = child_rng(3, "same", 1)
        return render(small_gold.draw(rng, (96, 96)), small_gold, bright_field, (96, 96), rng).micrograph.pixels

    np.testing.assert_array_equal(draw(), draw())


def test_pixels_that_are_not_square_are_refused(small_gold: GoldAuNP, bright_field: Imaging) -> None:
    with pytest.raises(ValueError, match="not square"):
        render(Scene((), (10.0, 10.0)), small_gold, bright_field, (64, 128), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, (8, 512), "image_size must be .* at least 16 px"),
        ({"occlusion": "glass"}, (128, 128), "recipe.occlusion must be one of transparent, opaque, got 'glass'"),
        ({"particles": [5000, 5000]}, (128, 128), "GoldAuNP.particles: 5000 particles"),
    ],
)
def test_pairs_that_do_not_go_together(
    gold: Gold, bright_field: Imaging, changes: dict[str, Any], size: tuple[int, int], message: str
) -> None:  # fmt: skip
    with pytest.raises(UserError, match=message):
        check_pair(gold(**{"particles": [1, 4]} | changes), bright_field, size)


def test_imaging_of_another_modality_is_refused(small_gold: GoldAuNP) -> None:
    with pytest.raises(UserError, match="the recipe makes bright_field scenes, the imaging is haadf"):
        check_pair(small_gold, Imaging("haadf", MassThickness(), {}), (128, 128))

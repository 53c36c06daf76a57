"""One micrograph and its truth: scene, imaging and randomness in; pixels and instances out."""

from __future__ import annotations

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances, Micrograph, Modality, Scene
from tem_seg.generation.imaging import Imaging
from tem_seg.generation.recipe import OCCLUSIONS, Recipe
from tem_seg.generation.truth import instances_of

GENERATOR_VERSION = 1
"""Part of every dataset's identity: raise it when any code in this package changes what is drawn."""


def render(
    scene: Scene, recipe: Recipe, imaging: Imaging, image_size: tuple[int, int], rng: np.random.Generator
) -> tuple[Micrograph, Instances]:  # fmt: skip
    """Scene → micrograph of (H, W) px, whole grey levels 0-255 in float32, and the masks and truths of its particles.

    recipe: for its categories, occlusion and min_visible_px.
    """
    pixel_size_nm = scene.field_of_view_nm[0] / image_size[0]
    if not np.isclose(pixel_size_nm, scene.field_of_view_nm[1] / image_size[1], rtol=1e-6):
        raise ValueError(f"a field of {scene.field_of_view_nm} nm on {image_size} px gives pixels that are not square")
    exposure = imaging.expose(scene, image_size, rng)
    pixels = np.asarray(exposure.pixels, np.float32)
    micrograph = Micrograph(pixels, pixel_size_nm, "generator", Modality(imaging.modality))
    arguments = (exposure.hidden, pixel_size_nm, recipe.categories, recipe.occlusion, recipe.min_visible_px)
    return micrograph, instances_of(scene, *arguments)


def check_pair(recipe: Recipe, imaging: Imaging, image_size: tuple[int, int]) -> None:
    """UserError if this recipe, imaging and image size (H, W) do not go together."""
    if len(image_size) != 2 or min(image_size) < 16:
        raise UserError(f"image_size must be [height, width] of at least 16 px each, got {list(image_size)}")
    if recipe.modality != imaging.modality:
        raise UserError(
            f"the recipe makes {recipe.modality} scenes, the imaging is {imaging.modality}: choose a fitting imaging="
        )
    if recipe.occlusion not in OCCLUSIONS:
        raise UserError(f"recipe.occlusion must be one of {', '.join(OCCLUSIONS)}, got {recipe.occlusion!r}")
    recipe.check_fits(image_size)

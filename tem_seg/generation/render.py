"""One micrograph and its truth: recipe, imaging and randomness in; pixels and instances out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng, child_seed
from tem_seg.core.types import Instances, Micrograph, Modality, Scene
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipe import OCCLUSIONS, Picture, Recipe, SequenceRecipe
from tem_seg.generation.recipes.mixture import Mixture
from tem_seg.generation.truth import instances_of, without_hidden

GENERATOR_VERSION = 4
"""Part of every dataset's identity: raise it when any code in this package changes what is drawn."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image of a dataset.

    pixels of the micrograph: whole grey levels 0-255. sampled (H, W) bool: pixels that a sub-sampled scan visited.
    keys: further keys of its COCO image entry. path: the file of a real micrograph, which stays where it is.
    """

    micrograph: Micrograph
    instances: Instances
    sampled: NDArray[np.bool_] | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None


def image_at(
    recipe: Recipe, imaging: Imaging, image_size: tuple[int, int], seed: int, split: str, index: int
) -> Drawn:  # fmt: skip
    """Image ``index`` of a split: depends on the arguments alone, in whatever order images are drawn."""
    if isinstance(recipe, Mixture):
        part, number = recipe.part_at(index)
        if part.images is not None:
            return Drawn(*part.images.at(number, recipe.categories))
        assert part.recipe is not None and part.imaging is not None, "Part has seen to it"
        drawn = image_at(part.recipe, part.imaging, image_size, child_seed(seed, part.name), split, number)
        return recipe.relabelled(drawn, part.recipe.categories)
    keys: dict[str, Any] = {"group_id": f"synthetic-{seed}-{split}-{index}", "seed": child_seed(seed, split, index)}
    if isinstance(recipe, SequenceRecipe):
        number, frame = divmod(index, recipe.frames)
        scene = recipe.draw_frame(child_rng(seed, split, "sequence", number), image_size, frame)
        session, frame_rng = child_rng(seed, split, "session", number), child_rng(seed, split, index)
        keys |= {"group_id": f"synthetic-{seed}-{split}-sequence-{number}", "sequence_id": number + 1, "frame": frame}
        return render(scene, recipe, imaging, image_size, session, frame_rng, keys | scene.notes)
    rng = child_rng(seed, split, index)
    return render(recipe.draw(rng, image_size), recipe, imaging, image_size, rng, keys=keys)


def render(
    drawn: Scene | Picture, recipe: Recipe, imaging: Imaging, image_size: tuple[int, int], rng: np.random.Generator,
    frame_rng: np.random.Generator | None = None, keys: dict[str, Any] | None = None,
) -> Drawn:  # fmt: skip
    """Scene or picture → micrograph of (H, W) px, and the masks and truths of its particles.

    recipe: for its categories, modality, occlusion and min_visible_px. frame_rng: see imaging.Exposure.
    """
    exposure = imaging.expose(drawn, image_size, rng, frame_rng)
    if isinstance(drawn, Scene):
        arguments = (exposure.hidden, drawn.field_of_view_nm[0] / image_size[0], recipe.categories, recipe.occlusion)
        instances = instances_of(drawn, *arguments, recipe.min_visible_px, exposure.warp)
    elif exposure.warp is None and not exposure.hidden.any():
        instances = drawn.instances
    else:
        instances = without_hidden(drawn.instances, exposure.hidden, recipe.min_visible_px, exposure.warp)
    source = "generator" if exposure.pixel_size_nm is not None else None
    pixels = np.asarray(exposure.pixels, np.float32)
    micrograph = Micrograph(pixels, exposure.pixel_size_nm, source, Modality(recipe.modality))
    return Drawn(micrograph, instances, exposure.sampled, keys or {})


def check_pair(recipe: Recipe, imaging: Imaging, image_size: tuple[int, int]) -> None:
    """UserError if this recipe, imaging and image size (H, W) do not go together."""
    if len(image_size) != 2 or min(image_size) < 16:
        raise UserError(f"image_size must be [height, width] of at least 16 px each, got {list(image_size)}")
    if isinstance(recipe, Mixture):
        for part in recipe.parts:
            if part.recipe is not None and part.imaging is not None:
                check_pair(part.recipe, part.imaging, image_size)
        if imaging.contrast is not None or imaging.steps:
            raise UserError("each part of a mixture has its own imaging: choose imaging=as_is beside recipe=mixture")
        return
    if recipe.composes_pictures != (imaging.contrast is None):
        raise UserError(
            f"recipe {type(recipe).__name__} composes pictures itself: choose imaging=as_is"
            if recipe.composes_pictures
            else f"recipe {type(recipe).__name__} draws scenes, which need an imaging= with a contrast"
        )
    if imaging.modality not in (None, recipe.modality):
        raise UserError(
            f"the recipe makes {recipe.modality} scenes, the imaging is {imaging.modality}: choose a fitting imaging="
        )
    if recipe.occlusion not in OCCLUSIONS:
        raise UserError(f"recipe.occlusion must be one of {', '.join(OCCLUSIONS)}, got {recipe.occlusion!r}")
    recipe.check_fits(image_size)

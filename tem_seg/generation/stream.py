"""Micrographs without files: image k of a split, drawn when it is asked for. What training's loader processes hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.data import coco
from tem_seg.data.images import normalise
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipe import Recipe
from tem_seg.generation.render import Drawn, check_pair, image_at


@dataclass(frozen=True)
class RecipeStream:
    """Image k is number k of the split that dataset.build_dataset would write, however many that may be.

    Holds values only, so that a loader process can be handed one. Raises UserError for parts that do not go together.
    """

    recipe: Recipe
    imaging: Imaging
    image_size: tuple[int, int]
    seed: int
    split: str = "train"
    classes: tuple[str, ...] | None = None
    """Only particles of these classes, in this order; None: all of the recipe's."""
    headroom: float = 0.0
    """Of the model that they are for (data.images.normalise)."""

    def __post_init__(self) -> None:
        check_pair(self.recipe, self.imaging, self.image_size)
        coco.check_classes(self.categories, self.recipe.categories, "the recipe")

    @property
    def categories(self) -> list[str]:
        """Names of the classes; a label is a position here."""
        return list(self.recipe.categories if self.classes is None else self.classes)

    def drawn(self, k: int) -> Drawn:
        """Image k as the recipe and the imaging make it."""
        return image_at(self.recipe, self.imaging, self.image_size, self.seed, self.split, k)

    def seen(self, drawn: Drawn) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """What a training would read from the files of such an image.

        Pixels (H, W) float32 as models of that headroom see them, and annotations as data.coco.CocoDataset has them.
        """
        found = coco.annotations_of(drawn.instances, 1, range(1, len(self.recipe.categories) + 1), 1)
        levels = drawn.micrograph.pixels
        if drawn.path is None:  # a PNG holds whole grey levels
            levels = levels.astype(np.uint8).astype(np.float32)
        label_of = {self.recipe.categories.index(name) + 1: label for label, name in enumerate(self.categories)}
        chosen = [entry for entry in found if entry["category_id"] in label_of]
        return normalise(levels, self.headroom), [entry | {"label": label_of[entry["category_id"]]} for entry in chosen]

    def __call__(self, k: int) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """Image k, as :func:`seen`."""
        return self.seen(self.drawn(k))

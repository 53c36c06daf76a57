"""What a recipe is: a material and how it lies on its support, in nm, before any microscope looks at it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tem_seg.core.types import Scene

OCCLUSIONS = ("transparent", "opaque")


class Recipe(Protocol):
    """Draws scenes. Recipes are plain classes built with values; YAML names them with ``_target_``.

    occlusion says which part of an overlapped particle its ``segmentation`` holds:

    - ``transparent``: the whole outline (within the image). In bright field the beam crosses all particles, and
      the edge of the lower one is seen through the upper: the image holds the evidence for the whole outline, and sizes
      measured on it are right. Two particles on top of each other then share pixels.
    - ``opaque``: the part not covered by particles on top, as in SEM and in label maps such as EMPS, where a pixel has
      one owner. Sizes measured on such masks are too small for covered particles.
    """

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the classes; a particle's label is its category's position here."""

    @property
    def modality(self) -> str:
        """A value of core.types.Modality; the imaging must have the same."""

    @property
    def occlusion(self) -> str:
        """transparent or opaque."""

    @property
    def min_visible_px(self) -> int:
        """Particles of which fewer pixels are in the image and not hidden are not annotated."""

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if scenes of this recipe cannot be drawn for images of (H, W) px; called before any work."""

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int]) -> Scene:
        """One random scene whose field of view has the shape of an image of (H, W) px; its ratio is the pixel size."""

    def identity(self) -> dict[str, Any]:
        """All that the drawn scenes depend on, JSON-able."""

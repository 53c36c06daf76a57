"""What a recipe is: a material and how it lies on its support, in nm, before any microscope looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Instances, Scene

OCCLUSIONS = ("transparent", "opaque")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a recipe makes that composes real pixels itself, instead of a scene.

    pixels (H, W) float32, grey levels 0-255; instances: its particles, before anything is written over them.
    pixel_size_nm: None where the sources have no calibration.
    """

    pixels: NDArray[np.float32]
    instances: Instances
    pixel_size_nm: float | None


class Recipe(Protocol):
    """Draws scenes, or pictures. Recipes are plain classes built with values; YAML names them with ``_target_``.

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
    def composes_pictures(self) -> bool:
        """Whether draw gives a Picture; then the imaging has no contrast, only steps (imaging=as_is)."""

    @property
    def occlusion(self) -> str:
        """transparent or opaque."""

    @property
    def min_visible_px(self) -> int:
        """Particles of which fewer pixels are in the image and not hidden are not annotated."""

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if scenes of this recipe cannot be drawn for images of (H, W) px; called before any work."""

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int]) -> Scene | Picture:
        """One random scene whose field of view has the shape of an image of (H, W) px; its ratio is the pixel size.

        Or a picture of that size, for which the imaging has no contrast of its own.
        """

    def identity(self) -> dict[str, Any]:
        """All that the drawn scenes depend on, JSON-able."""


@runtime_checkable
class SequenceRecipe(Protocol):
    """What a recipe of videos has beside Recipe: its frames are images of a dataset, one sequence after the other."""

    @property
    def frames(self) -> int:
        """Number of frames of a sequence."""

    def draw_frame(self, rng: np.random.Generator, image_size: tuple[int, int], frame: int) -> Scene:
        """Frame number ``frame`` of the sequence that rng, always in the same state, stands for."""

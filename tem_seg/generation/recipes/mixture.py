"""A mixture of recipes and real images by weight. How to write one: conf/recipe/mixture.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.types import Scene
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.ranges import NOT_NEGATIVE, as_number
from tem_seg.generation.real.images import RealImages
from tem_seg.generation.recipe import Recipe

if TYPE_CHECKING:
    from tem_seg.generation.render import Drawn

KEYS = ("weight", "recipe", "imaging", "images")


@dataclass(frozen=True)
class Part:
    """Either a recipe and its imaging, or real images, and how many of the mixture's images are of it."""

    name: str
    weight: float
    recipe: Recipe | None
    imaging: Imaging | None
    images: RealImages | None

    @property
    def categories(self) -> tuple[str, ...]:
        """Classes of the part."""
        source = self.recipe if self.recipe is not None else self.images and self.images.reader
        assert source, "_part has seen to it"
        return source.categories

    def identity(self) -> dict[str, Any]:
        """All that the part's images depend on."""
        made_from = (self.recipe, self.imaging, self.images)
        return {"weight": self.weight, "of": [thing.identity() for thing in made_from if thing is not None]}


class Mixture:
    """Weighted mixture, in exact proportion: weights 1 and 5 give one image of the first part, then five of the other.

    Real images are used as they are, where they are, one after the other and from the start again when they run out.
    """

    modality = "unknown"
    composes_pictures = True
    occlusion = "transparent"
    min_visible_px = 1

    def __init__(self, parts: Mapping[str, Mapping[str, Any] | None]) -> None:
        self.parts = [_part(str(name), values) for name, values in parts.items() if values is not None]
        self.parts = [part for part in self.parts if part.weight > 0]
        if not self.parts:
            raise UserError("Mixture.parts: at least one part needs a weight above 0")
        self._plan: list[tuple[int, int]] = []  # (part, number) of the images asked for so far
        self._had = [0] * len(self.parts)

    @property
    def categories(self) -> tuple[str, ...]:
        """Classes of all parts, in the order in which they first appear."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.categories))

    def identity(self) -> dict[str, Any]:
        """All parts, in order."""
        return {"class": "Mixture", "parts": [[part.name, part.identity()] for part in self.parts]}

    @cached_property
    def _shares(self) -> list[float]:
        total = sum(part.weight for part in self.parts)
        return [part.weight / total for part in self.parts]

    def part_at(self, index: int) -> tuple[Part, int]:
        """The part that image ``index`` of a split is of, and which image of that part it is.

        After n images a part has had n × its share of them, rounded (largest shortfall first), for every n.
        """
        while len(self._plan) <= index:
            count = len(self._plan) + 1
            lacks = [share * count - n for share, n in zip(self._shares, self._had, strict=True)]
            chosen = int(np.argmax(lacks))
            self._plan.append((chosen, self._had[chosen]))
            self._had[chosen] += 1
        chosen, number = self._plan[index]
        return self.parts[chosen], number

    def relabelled(self, drawn: Drawn, categories: tuple[str, ...]) -> Drawn:
        """Labels that are positions in ``categories`` become positions in the mixture's."""
        place = np.array([self.categories.index(name) for name in categories], np.int64)
        return replace(drawn, instances=replace(drawn.instances, labels=place[drawn.instances.labels]))

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """Every part with a recipe is checked by render.check_pair."""

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int]) -> Scene:
        """Not drawn from directly: see render.image_at."""
        raise TypeError("images of a mixture are drawn by render.image_at, which knows their number")


def _part(name: str, values: Mapping[str, Any]) -> Part:
    unknown = sorted(set(values) - set(KEYS))
    if unknown:
        raise UserError(f"Mixture.parts.{name}: no key {', '.join(unknown)}; there are {', '.join(KEYS)}")
    weight = as_number(f"Mixture.parts.{name}.weight", values.get("weight"), NOT_NEGATIVE)
    recipe, imaging, images = (values.get(key) for key in ("recipe", "imaging", "images"))
    if (recipe is None) == (images is None) or (recipe is None) != (imaging is None):
        raise UserError(f"Mixture.parts.{name} needs either recipe and imaging, or images")
    return Part(name, weight, recipe, imaging, images)

"""Large light vesicles, small dark vesicles and holes in one film, bright field. Values: conf/recipe/vesicles.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.raster import Crop, bounds, cut, fill
from tem_seg.generation.scenes.packing import Accept, Packing, settle
from tem_seg.generation.scenes.placement import Crowding, place
from tem_seg.generation.scenes.populations import Population
from tem_seg.generation.scenes.shapes import area

KINDS = ("large_vesicle", "small_vesicle", "hole")
RANGES: dict[str, Range] = {
    "pixel_size_nm": POSITIVE, "film_nm": POSITIVE, "overlapped": (0.0, 0.9), "overlap_share": (0.01, 0.95),
    "touching": SHARE, "clustered": SHARE, "inside": SHARE, "lumen": (0.0, 0.95), "membrane_nm": POSITIVE,
    "membrane_density": NOT_NEGATIVE, "core_density": NOT_NEGATIVE, "density_spread": (0.0, 1.0),
    "opening": (0.01, 1.0), "soft_nm": POSITIVE,
}  # fmt: skip
NUMBERS: dict[str, Range] = {
    "min_diameter_px": (2.0, 1e4), "bilayer": SHARE, "empty_fraction": SHARE, "min_visible_px": (1.0, 1e6),
}  # fmt: skip
CELLS = 256
"""Along the longer side of the coarse map that knows what lies inside large vesicles."""
LEAFLET = 0.35
"""Thickness of one leaflet of a bilayer over that of the membrane: two dark lines (heads) with a light one between."""
MOST_LUMEN = 0.95
"""Of the film's density can be missing in a vesicle."""

Outlines = list[NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Vesicles:
    """Draws scenes of the three classes. Fields are explained, with units, in conf/recipe/vesicles.yaml.

    Magnification: such that the fewest of every class fit and all classes are seen; what would be smaller than
    min_diameter_px is drawn again. Large vesicles are placed first; small ones and holes lie apart from each other,
    over or beside large ones. A particle that finds no free place is left out. In the film: large, small, holes.
    """

    populations: Mapping[str, Population | None]
    pixel_size_nm: Range
    min_diameter_px: float
    film_nm: Range
    overlapped: Range
    overlap_share: Range
    touching: Range
    clustered: Range
    inside: Range
    lumen: Range
    membrane_nm: Range
    membrane_density: Range
    bilayer: float
    core_density: Range
    density_spread: Range
    opening: Range
    soft_nm: Range
    empty_fraction: float
    occlusion: str
    min_visible_px: int

    modality = "bright_field"
    composes_pictures = False

    def __post_init__(self) -> None:
        check(self, RANGES, NUMBERS)
        object.__setattr__(self, "min_visible_px", int(self.min_visible_px))
        given = {str(name): one for name, one in self.populations.items() if one is not None}
        for name, one in given.items():
            if name not in KINDS:
                raise UserError(f"Vesicles.populations: no kind {name!r}; there are {', '.join(KINDS)}")
            if not isinstance(one, Population):
                raise UserError(f"Vesicles.populations.{name} must be built from a _target_, got {one!r}")
        if not given:
            raise UserError(f"Vesicles.populations: at least one of {', '.join(KINDS)} is needed")
        object.__setattr__(self, "populations", {name: given[name] for name in KINDS if name in given})

    @property
    def _present(self) -> dict[str, Population]:
        return {name: one for name, one in self.populations.items() if one is not None}

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories in the order large vesicles, small vesicles, holes."""
        return tuple(dict.fromkeys(one.category for one in self._present.values()))

    def identity(self) -> dict[str, Any]:
        """Class and parameters."""
        return describe(self)

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if even the fewest of a class do not fit, or no magnification shows all classes."""
        for one in self._present.values():
            one.check_fits(image_size, self.min_diameter_px, self.pixel_size_nm)
        low, high = self._pixel_sizes_nm(image_size)
        for one in self._present.values() if low > high else ():
            one.check_fits(image_size, self.min_diameter_px, (low, self.pixel_size_nm[1]))
        if low > high:
            raise UserError(
                f"Vesicles.pixel_size_nm {list(self.pixel_size_nm)}: the fewest of every class need at least {low:.3g} "
                f"nm a pixel in {image_size[0]} × {image_size[1]} px, and the classes are seen up to {high:.3g} nm: "
                "widen it"
            )

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int] = (512, 512)) -> Scene:
        """One scene for an image of (H, W) px; its pixel size is field_of_view_nm over image size."""
        low, high = self._pixel_sizes_nm(image_size)
        # the larger the field, the more of the large vesicles' sizes fit: low magnifications are drawn more often
        pixel_nm = low * (high / low) ** float(np.sqrt(rng.random()))
        field_nm = (image_size[0] * pixel_nm, image_size[1] * pixel_nm)
        if rng.random() < self.empty_fraction:
            return Scene((), field_nm)
        outlines: dict[str, Outlines] = {}
        for name, one in self._present.items():
            sizes = one.diameters_nm(rng, field_nm[0] * field_nm[1], self.min_diameter_px * pixel_nm)
            outlines[name] = one.outlines_nm(rng, sizes)
        placed = self._placed(rng, outlines, pixel_nm, field_nm)
        return Scene(tuple(self._particles(rng, placed)), field_nm)

    def _pixel_sizes_nm(self, image_size: tuple[int, int]) -> Range:
        ranges = [one.pixel_sizes_nm(image_size, self.min_diameter_px) for one in self._present.values()]
        low = max(self.pixel_size_nm[0], *(pair[0] for pair in ranges))
        return low, min(self.pixel_size_nm[1], *(pair[1] for pair in ranges))

    def _placed(
        self, rng: np.random.Generator, outlines: dict[str, Outlines], pixel_nm: float, field_nm: tuple[float, float]
    ) -> dict[str, Outlines]:  # fmt: skip
        """The outlines that found a place, there."""
        crowding = Crowding(uniform(rng, self.overlapped), uniform(rng, self.touching), self.overlap_share, pixel_nm)
        large = outlines.get("large_vesicle", [])
        found = [
            one + xy for one, xy in zip(large, place(large, field_nm, crowding, rng), strict=True) if xy is not None
        ]
        rest = [(name, one) for name in KINDS[1:] for one in outlines.get(name, [])]
        radii = np.array([np.hypot(*one.T).max() for _, one in rest])
        packing = Packing(uniform(rng, self.clustered), 0.5, 0.0, 1.5 * pixel_nm, on_film=False)
        wishes = rng.random(len(rest)) < uniform(rng, self.inside)
        accept = _side_of(found, wishes, [name == "small_vesicle" for name, _ in rest], field_nm)
        centres = settle(radii, field_nm, packing, rng, accept)
        result: dict[str, Outlines] = {"large_vesicle": found, "small_vesicle": [], "hole": []}
        for (name, one), centre in zip(rest, centres, strict=True):
            if np.isfinite(centre[0]):
                result[name].append(one + centre)
        return result

    def _particles(self, rng: np.random.Generator, placed: dict[str, Outlines]) -> list[Particle]:
        film_nm, spread = log_uniform(rng, self.film_nm), uniform(rng, self.density_spread)
        looks = self._looks(rng, film_nm)
        found: list[Particle] = []
        for name, one in self._present.items():
            for outline in placed[name]:
                contrast = dict(looks[name])
                factor = float(np.exp(spread * rng.standard_normal()))
                for key in ("lumen", "core_per_nm"):
                    if key in contrast:
                        contrast[key] = min(factor * contrast[key], MOST_LUMEN if key == "lumen" else np.inf)
                if name == "hole":
                    found.append(Particle(outline, film_nm, "hole", one.category, contrast))
                else:
                    height = min(2.0 * float(np.sqrt(area(outline) / np.pi)), film_nm)
                    found.append(Particle(outline, height, "vesicle", one.category, contrast))
        return found

    def _looks(self, rng: np.random.Generator, film_nm: float) -> dict[str, dict[str, float]]:
        """What membranes.VesicleFilm needs to know of each kind; densities are of typical ones, over the film's."""
        typical = {name: float(np.sqrt(np.prod(one.diameter_nm))) for name, one in self._present.items()}
        across = typical.get("large_vesicle", typical.get("small_vesicle", film_nm))
        total = min(uniform(rng, self.membrane_nm), across / 2.0)
        leaflets = 2 if rng.random() < self.bilayer else 1
        leaflet = LEAFLET * total if leaflets == 2 else total
        path = min(2.0 * float(np.sqrt(leaflet * (across - leaflet))), film_nm)  # through the edge of a shell
        membrane = {
            "film_nm": film_nm, "leaflets": float(leaflets), "membrane_nm": leaflet, "leaflet_step_nm": total - leaflet,
            "membrane_per_nm": uniform(rng, self.membrane_density) / path,
        }  # fmt: skip
        # through the middle of a vesicle the beam crosses its membrane twice, unless the film is so thin that it is cut
        middle = 2.0 * leaflets * leaflet * membrane["membrane_per_nm"] if film_nm > across - 2.0 * total else 0.0
        core = log_uniform(rng, self.core_density) / min(typical.get("small_vesicle", film_nm), film_nm)
        return {
            "large_vesicle": membrane | {"lumen": min(uniform(rng, self.lumen) + middle, MOST_LUMEN)},
            "small_vesicle": membrane | {"core_per_nm": core},
            "hole": {"open": uniform(rng, self.opening), "soft_nm": log_uniform(rng, self.soft_nm)},
        }


def _side_of(
    large: Outlines, wishes: NDArray[np.bool_], wishing: list[bool], field_nm: tuple[float, float]
) -> Accept:  # fmt: skip
    """Whether particle i (of those with a wish) may lie at a place: inside a large vesicle, or beside all of them.

    Where there is nothing inside, or nothing beside, a wish is void.
    """
    cell = max(field_nm) / CELLS
    size = (max(1, round(field_nm[0] / cell)), max(1, round(field_nm[1] / cell)))
    inside = np.zeros(size, bool)
    for outline in large:
        box = bounds(outline / cell)
        crop = cut(Crop(fill(outline / cell, box), box[0], box[1]), size)
        if crop is not None:
            inside[crop.window] |= crop.values
    both = bool(inside.any() and not inside.all())

    def accept(index: int, position: NDArray[np.float64]) -> bool:
        if not both or not wishing[index]:
            return True
        column, row = np.clip(position / cell, 0, [size[1] - 1, size[0] - 1]).astype(int)
        return bool(inside[row, column] == wishes[index])

    return accept

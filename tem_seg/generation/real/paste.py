"""Cut-out particles in their places: as seen there, composited with soft edges, and what of each is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Instances
from tem_seg.data.rle import encode_crops
from tem_seg.generation.raster import Crop
from tem_seg.generation.real.cutting import Cutting
from tem_seg.generation.real.sifting import Whole

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
FAR_PX = 50.0  # depth of what lies beyond a cutting's border
OVERHANG_PX = 1.0  # annotated outlines miss the blurred edge by about this much


@dataclass(frozen=True, slots=True)
class Pose:
    """How a particle is laid down: (x, y) px of its box's centre, magnification, turn in radians, mirrored or not."""

    x: float
    y: float
    magnification: float
    turn: float
    mirrored: bool

    @property
    def inverse(self) -> tuple[float, float, float, float]:
        """Rows of the (2, 2) matrix: output px relative to (x, y) → source px relative to the centre."""
        cosine, sine = math.cos(self.turn) / self.magnification, math.sin(self.turn) / self.magnification
        return (-cosine, -sine, -sine, cosine) if self.mirrored else (cosine, sine, -sine, cosine)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a field in a pose covers of an image (px), and where each of its pixels comes from."""

    x0: int
    y0: int
    width: int
    height: int
    back: NDArray[np.float64]

    def sample(self, field: Field, outside: float) -> Field:
        """field (h, w) as seen there, bilinear; ``outside`` beyond its border."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.width, self.height)
        return np.asarray(cv2.warpAffine(field, self.back, size, flags=flags, borderValue=outside), np.float32)


def footprint(
    shape: tuple[int, int], pose: Pose, image_size: tuple[int, int], reach: float = math.inf
) -> Footprint | None:  # fmt: skip
    """Of a field of shape (h, w), in an image of (H, W) px; None where none of it is in the image.

    reach: px of the field from its centre beyond which there is nothing to see.
    """
    xx, xy, yx, yy = pose.inverse
    height, width = shape
    most, square = reach * pose.magnification, 0.5 * pose.magnification**2
    half_x = min(most, square * (abs(xx) * width + abs(yx) * height))
    half_y = min(most, square * (abs(xy) * width + abs(yy) * height))
    x0, y0 = max(0, math.floor(pose.x - half_x)), max(0, math.floor(pose.y - half_y))
    x1, y1 = min(image_size[1], math.ceil(pose.x + half_x)), min(image_size[0], math.ceil(pose.y + half_y))
    if x1 <= x0 or y1 <= y0:
        return None
    x, y = x0 + 0.5 - pose.x, y0 + 0.5 - pose.y  # pixel i has its centre at i + 0.5, in the output and in the field
    shift_x, shift_y = xx * x + xy * y + 0.5 * width - 0.5, yx * x + yy * y + 0.5 * height - 0.5
    return Footprint(x0, y0, x1 - x0, y1 - y0, np.array([[xx, xy, shift_x], [yx, yy, shift_y]]))


@dataclass(frozen=True, slots=True)
class Pasted:
    """A particle in its place. light, depth (h, w): of its Cutting, as seen; None for one that is in the background."""

    mask: Crop
    whole: Whole
    pose: Pose
    shape: str
    light: Field | None = None
    depth: Field | None = None

    @property
    def whole_px(self) -> float:
        """Pixels of the whole particle at this magnification."""
        return self.whole.area * self.pose.magnification**2


def laid(cutting: Cutting, textured: bool, dark: bool, pose: Pose, image_size: tuple[int, int]) -> Pasted | None:
    """The particle in its pose; None if none of it is in the image."""
    light, depth, step = cutting.at(pose.magnification, textured)
    small = Pose(pose.x, pose.y, pose.magnification * step, pose.turn, pose.mirrored)
    place = footprint((depth.shape[0], depth.shape[1]), small, image_size, cutting.reach / step)
    if place is None:
        return None
    deep = place.sample(depth, -FAR_PX)
    mask = Crop(deep > 0, place.x0, place.y0)
    if not mask.values.any():
        return None
    return Pasted(mask, cutting.whole, pose, "cut", place.sample(light, 1.0 if dark else 0.0), deep)


@dataclass(frozen=True, slots=True)
class Blend:
    """How particles of a micrograph are laid over what is there.

    dark: their light is a ratio to the background, else a difference from it. gain: of their contrast. feather_px: band
    outside the outline in which their grain passes into the background's. see_through: what lies below a particle stays
    visible, as where the beam crosses both.
    """

    dark: bool
    gain: float
    feather_px: float
    see_through: bool


def composite(pixels: Field, level: Field, covered: NDArray[np.bool_], pasted: Pasted, blend: Blend) -> None:
    """Lays one particle over pixels (H, W), in place. level (H, W): slow part of the background; covered: by particles.

    Inside the outline the background's grain is replaced: the particle brings its own. Outside, the halo brightens or
    darkens what is there, so that nothing of the old surroundings comes along.
    """
    light, depth, window = pasted.light, pasted.depth, pasted.mask.window
    assert light is not None and depth is not None, "it is in the background already"
    magnification = pasted.pose.magnification
    inside = depth * np.float32(magnification / blend.feather_px)
    inside += np.float32(OVERHANG_PX * magnification / blend.feather_px + 1.0)
    np.maximum(inside, 0.0, out=inside)
    np.minimum(inside, 1.0, out=inside)
    under, kept = pixels[window], covered[window]
    if kept.any():
        inside[kept if blend.see_through else kept & (depth <= 0.0)] = 0.0
    below = level[window] - under
    below *= inside
    below += under
    if blend.gain != 1.0:
        light = light * np.float32(blend.gain)
        if blend.dark:
            light += np.float32(1.0 - blend.gain)
            np.maximum(light, 0.0, out=light)
    (np.multiply if blend.dark else np.add)(light, below, out=under)


# ---------------------------------------------------------------------------------------------- what is seen of each


@dataclass(frozen=True, slots=True)
class Seen:
    """Particles in their order, later ones on top. masks: what is seen of each, shaped as its mask; counts: pixels."""

    particles: Sequence[Pasted]
    masks: list[Mask]
    counts: list[int]


def stacked(found: Sequence[Pasted], min_visible: float, top: NDArray[np.uint16]) -> Seen:
    """Without pasted particles of which later ones leave less than the share min_visible to be seen.

    top (H, W): is filled with the number, from 1, of the topmost particle; 0 where there is none.
    """
    seen = _seen(found, top)
    shown = [one for one, count in zip(found, seen.counts, strict=True)
             if one.light is None or count >= min_visible * np.count_nonzero(one.mask.values)]  # fmt: skip
    return seen if len(shown) == len(found) else _seen(shown, top)


def _seen(found: Sequence[Pasted], top: NDArray[np.uint16]) -> Seen:
    top[:] = 0
    for number, one in enumerate(found, start=1):
        part = top[one.mask.window]
        np.maximum(part, one.mask.values * np.uint16(number), out=part)
    masks = [top[one.mask.window] == number for number, one in enumerate(found, start=1)]
    return Seen(found, masks, [int(np.count_nonzero(mask)) for mask in masks])


def instances_of(
    seen: Seen, image_size: tuple[int, int], min_visible_px: int, pixel_size_nm: float | None
) -> Instances:
    """Masks and truths of all of which at least min_visible_px pixels are seen."""
    kept = [i for i, count in enumerate(seen.counts) if count >= min_visible_px]
    found = [seen.particles[i] for i in kept]
    x0, y0 = (np.array([getattr(one.mask, side) for one in found], np.int64) for side in ("x0", "y0"))
    full = encode_crops([one.mask.values for one in found], x0, y0, image_size) if kept else []
    visible = list(full)
    hidden = [k for k, i in enumerate(kept) if seen.counts[i] < np.count_nonzero(found[k].mask.values)]
    if hidden:
        parts = encode_crops([seen.masks[kept[k]] for k in hidden], x0[hidden], y0[hidden], image_size)
        for k, part in zip(hidden, parts, strict=True):
            visible[k] = part
    truths = [_truth(one, seen.counts[i], pixel_size_nm) for i, one in zip(kept, found, strict=True)]
    return Instances(image_size, np.array([one.whole.label for one in found], np.int64), visible, full, truths)


def _truth(one: Pasted, seen_px: int, pixel_size_nm: float | None) -> dict[str, Any]:
    """Annotation keys: sizes of the whole particle where it is known, that is, where the source does not cut it."""
    if one.whole.cut:
        return {"shape": one.shape}
    lengths = {
        "equivalent_diameter": one.whole.diameter,
        "min_feret": one.whole.min_feret,
        "max_feret": one.whole.max_feret,
    }
    keys: dict[str, Any] = {}
    for name, length in lengths.items():
        length_px = length * one.pose.magnification
        keys[f"true_{name}_px"] = round(length_px, 4)
        if pixel_size_nm is not None:
            keys[f"true_{name}_nm"] = round(length_px * pixel_size_nm, 4)
    return keys | {"shape": one.shape, "visible_fraction": round(min(seen_px / one.whole_px, 1.0), 4)}

"""A particle cut out of a real image, with its halo and without what lay around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.generation import raster
from tem_seg.generation.raster import Crop
from tem_seg.generation.real import ground
from tem_seg.generation.real.sifting import Whole

Field = NDArray[np.float32]
HALVINGS = 3  # of cut particles, for magnifications below 0.7
EDGE_PX = 2.5  # outside the outline: the blurred edge
UNSEEN = 0.02  # of the background, or of white
HALO_LIMIT = 1.3  # a halo is taken along up to this ratio: on a brighter background it would glare


@dataclass(frozen=True, slots=True)
class Cutting:
    """A particle with its halo.

    light: images (h, w) float32, each half as large as the one before. Of dark particles pixel over background, of
    bright ones pixel less background; from 3 px outside the outline on the mean halo, free of grain. textured: the same
    with a synthetic interior. depth: signed distance to the outline in px of the source, positive inside. reach: px
    from the crop's centre beyond which there is nothing but background.
    """

    whole: Whole
    light: list[Field]
    textured: list[Field]
    depth: list[Field]
    reach: float

    def at(self, magnification: float, textured: bool) -> tuple[Field, Field, float]:
        """Light and depth, small enough to be sampled without skipping pixels, and how many times they are smaller."""
        n = min(max(0, math.floor(math.log2(1.4 / magnification))), HALVINGS)
        return (self.textured if textured else self.light)[n], self.depth[n], float(2**n)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(image.nbytes for image in (*self.light, *self.textured, *self.depth))


def cut_out(
    relative: Field, owner: NDArray[np.int32], particle: Whole, number: int, dark: bool,
    halo_px: int, rng: np.random.Generator,
) -> Cutting:  # fmt: skip
    """One particle out of an image (H, W): relative is its pixels over (dark) or less the background's slow part.

    owner (H, W): number of the particle that a pixel belongs to, 0 for none; this one's is ``number``.
    """
    crop, unit = particle.mask, 2**HALVINGS
    shape = [-(-(side + 2 * (halo_px + 3)) // unit) * unit for side in crop.values.shape]
    rows, columns = (slice((whole - side) // 2, (whole - side) // 2 + side)
                     for whole, side in zip(shape, crop.values.shape, strict=True))  # fmt: skip
    light, taken, mask = np.full(shape, 1.0 if dark else 0.0, np.float32), np.ones(shape, bool), np.zeros(shape, bool)
    mask[rows, columns] = crop.values
    window = raster.cut(Crop(light, crop.x0 - columns.start, crop.y0 - rows.start), owner.shape)
    assert window is not None, "the particle is in the image"
    window.values[:] = relative[window.window]
    owners = owner[window.window]
    raster.cut(Crop(taken, crop.x0 - columns.start, crop.y0 - rows.start), owner.shape).values[:] = (  # type: ignore[union-attr]
        (owners != 0) & (owners != number)
    )
    depth = signed_distance(mask)
    from_others = cv2.distanceTransform((~taken).astype(np.uint8), cv2.DIST_L2, 3)
    ring = (depth < -2.0) & (from_others > 2.0)
    if np.count_nonzero(ring) >= 20:  # between close particles the background is not what it is far from them
        near = np.float32(np.median(light[ring]))
        light = light / max(near, np.float32(0.2)) if dark else light - near
    clear = (from_others > halo_px) & ~mask
    halo, reach = _halo(light, depth, clear, halo_px, dark)
    own = np.clip((depth + 3.0) / 2.0, 0.0, 1.0) * (mask | clear)
    light = (own * light + (1.0 - own) * halo).astype(np.float32)
    textured = with_new_texture(light, depth, rng)
    down, across = (np.abs(place + 0.5 - side / 2.0) + 0.5 for place, side in zip(np.nonzero(mask), shape, strict=True))
    farthest = float(np.hypot(down, across).max())
    images = [_halved(image) for image in (light, textured, depth)]
    return Cutting(particle, images[0], images[1], images[2], farthest + reach + EDGE_PX)


def _halved(image: Field) -> list[Field]:
    """image (h, w), and again and again half as large; sides are multiples of 2 ** HALVINGS, so that all are exact."""
    found = [np.ascontiguousarray(image, np.float32)]
    for _ in range(HALVINGS):
        half = (found[-1].shape[1] // 2, found[-1].shape[0] // 2)
        found.append(np.asarray(cv2.resize(found[-1], half, interpolation=cv2.INTER_AREA), np.float32))
    return found


def _halo(light: Field, depth: Field, clear: NDArray[np.bool_], halo_px: int, dark: bool) -> tuple[Field, int]:
    """What the particle does to its surroundings (h, w): the mean over clear (h, w) pixels at each distance, no grain.

    Neutral beyond halo_px; and the distance, at most that, beyond which it does nothing that could be seen.
    """
    neutral = 1.0 if dark else 0.0
    steps = np.clip(-depth, 0.0, halo_px + 7.0).astype(np.int64)
    counts = np.bincount(steps[clear], minlength=halo_px + 8)
    sums = np.bincount(steps[clear], weights=light[clear], minlength=halo_px + 8)
    profile = np.where(counts >= 8, sums / np.maximum(counts, 1), neutral)
    if dark:
        profile = np.clip(profile, 1.0 / HALO_LIMIT, HALO_LIMIT)
    fade = np.clip((halo_px + 2.0 - np.arange(len(profile))) / 3.0, 0.0, 1.0)
    change = fade * (profile - neutral)
    visible = np.flatnonzero(np.abs(change) > (UNSEEN if dark else 255.0 * UNSEEN))
    return np.asarray((neutral + change)[steps], np.float32), int(visible[-1]) + 1 if len(visible) else 0


def signed_distance(mask: NDArray[np.bool_]) -> Field:
    """mask (h, w) → distance of every pixel's centre to the outline in px, float32, positive inside."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.where(mask, inside - 0.5, 0.5 - outside), np.float32)


def with_new_texture(
    light: Field, depth: Field, rng: np.random.Generator
) -> Field:  # fmt: skip
    """light (h, w) with another interior: what is slow in it (shading, shell and core) stays, its texture is new."""
    inside = depth > 0
    sigma = max(1.0, 0.2 * float(depth.max()))
    weight = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), sigma)
    slow = cv2.GaussianBlur(np.where(inside, light, np.float32(0.0)), (0, 0), sigma) / np.maximum(weight, 1e-3)
    texture = ground.grain_like(np.asarray(light - slow, np.float32), depth > min(2.0, 0.5 * float(depth.max())), rng)
    fade = np.clip((depth - 1.0) / 2.0, 0.0, 1.0)  # the outermost pixels stay as they are: they hold the edge
    return np.asarray(light + fade * (slow + texture - light), np.float32)

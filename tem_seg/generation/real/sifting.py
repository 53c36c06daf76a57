"""Which particles of a real image are fit for pasting, and what is known of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from tem_seg.core.geometry import pixel_corners
from tem_seg.core.types import Instances, Rle
from tem_seg.data import rle
from tem_seg.generation.raster import Crop
from tem_seg.generation.truth import feret_nm

MIN_GROUND = 0.2  # share 0-1 of an image that no particle may cover for it to give a background


@dataclass(frozen=True, slots=True)
class Sifting:
    """Which particles go into the pool.

    minimum_size: share of the mean equivalent diameter of an image's particles. minimum_solidity: area over that of the
    convex hull, 0-1; what lies half under another particle is a crescent.
    """

    minimum_size: float
    minimum_solidity: float


@dataclass(frozen=True, slots=True)
class Whole:
    """A particle of a real image. mask: where it lies. Lengths in px of the source; cut: touches the image's border."""

    mask: Crop
    label: int
    area: float
    min_feret: float
    max_feret: float
    angle: float
    cut: bool
    reason: str = ""

    @property
    def diameter(self) -> float:
        """Equivalent diameter in px."""
        return 2.0 * math.sqrt(self.area / math.pi)


def sift(instances: Instances, sifting: Sifting) -> list[Whole]:
    """Every particle of an image; ``reason`` says why one does not go into the pool."""
    found = [measured(mask, int(label)) for mask, label in zip(instances.segmentations, instances.labels, strict=True)]
    whole = [p for p in found if p.mask.values.size]
    uncut = [p for p in whole if not p.cut]
    mean = float(np.mean([p.diameter for p in uncut])) if uncut else 0.0
    return [_judged(p, mean, sifting) for p in whole]


def measured(mask: Rle, label: int) -> Whole:
    """A particle (mask of the whole image) and its sizes; an empty mask has none."""
    values, x0, y0 = rle.decode_crop(mask)
    height, width = mask["size"]
    crop = Crop(values, x0, y0)
    if not values.size:
        return Whole(crop, label, 0.0, 0.0, 0.0, 0.0, True)
    cut = x0 == 0 or y0 == 0 or x0 + values.shape[1] == width or y0 + values.shape[0] == height
    shortest, longest = feret_nm(pixel_corners(values, 0, 0).astype(np.float64))
    moments = cv2.moments(values.astype(np.uint8), binaryImage=True)
    angle = 0.5 * math.atan2(2.0 * moments["mu11"], moments["mu20"] - moments["mu02"])
    return Whole(crop, label, float(values.sum()), shortest, longest, angle, cut)


def _judged(particle: Whole, mean: float, sifting: Sifting) -> Whole:
    if particle.cut:
        return replace(particle, reason="cut by the border")
    if particle.diameter < sifting.minimum_size * mean:
        return replace(particle, reason="minimum_size")
    if _solidity(particle) < sifting.minimum_solidity:
        return replace(particle, reason="minimum_solidity")
    return particle


def _solidity(particle: Whole) -> float:
    """Pixels over those whose centres lie in the convex hull of theirs: 1 for a disc of any size, also a small one."""
    rows, columns = np.nonzero(particle.mask.values)
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))[:, 0]
    sides = np.abs(np.roll(hull, -1, axis=0) - hull)
    # Pick's theorem: points in a lattice polygon = area + half the points on its border + 1
    return particle.area / (float(cv2.contourArea(hull)) + 0.5 * float(np.gcd(sides[:, 0], sides[:, 1]).sum()) + 1.0)


def why_empty(particles: Sequence[Sequence[Whole]], sifting: Sifting) -> str:
    """What to tell a user of whose images (their particles) nothing is left."""
    reasons = Counter(p.reason for found in particles for p in found)
    told = ", ".join(f"{number} by {reason}" for reason, number in sorted(reasons.items())) or "there were none at all"
    return (
        f"cut_paste: no particle is left of {reasons.total()} in {len(particles)} image(s): {told} (minimum_size = "
        f"{sifting.minimum_size:g}, minimum_solidity = {sifting.minimum_solidity:g}). Lower these, or give images with "
        "particles that do not touch the border"
    )


def is_open(particles: list[Whole], area_px: int) -> bool:
    """Whether enough of an image lies between its particles to make a background of."""
    return sum(p.area for p in particles) <= (1.0 - MIN_GROUND) * area_px

"""What is known about a drawn particle: sizes in nm from its outline, masks from its outline's pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Instances, Particle, Rle, Scene
from tem_seg.data.rle import decode_crop, encode_crop
from tem_seg.generation.raster import Crop, bounds, cut, fill, following
from tem_seg.generation.shapes import area


def feret_nm(outline: NDArray[np.float64]) -> tuple[float, float]:
    """Smallest and largest distance of two parallel lines that touch the outline (K, 2), in its unit.

    The smallest one stands on a side of the convex hull (Shamos 1978), the largest joins two of its corners.
    """
    hull = cv2.convexHull((outline - outline[0]).astype(np.float32))[:, 0].astype(np.float64)
    sides = following(hull) - hull
    sides = sides[np.abs(sides).sum(axis=1) > 0]
    normals = np.stack([-sides[:, 1], sides[:, 0]]) / np.sqrt(np.square(sides).sum(axis=1))
    heights = hull @ normals
    squares = np.square(hull).sum(axis=1)
    longest_squared = (squares[:, None] + squares - 2.0 * (hull @ hull.T)).max()
    return float((heights.max(axis=0) - heights.min(axis=0)).min()), float(np.sqrt(longest_squared))


def true_sizes(particle: Particle) -> dict[str, Any]:
    """Annotation keys of the whole particle, also of what lies outside the image (docs/results-format.md)."""
    area_nm2 = area(particle.outline_nm)
    shortest, longest = feret_nm(particle.outline_nm)
    return {
        "true_equivalent_diameter_nm": round(2.0 * math.sqrt(area_nm2 / math.pi), 4),
        "true_min_feret_nm": round(shortest, 4),
        "true_max_feret_nm": round(longest, 4),
        "true_height_nm": round(float(particle.height_nm), 4),
        "true_area_nm2": round(area_nm2, 4),
        "shape": particle.shape,
        **particle.notes,
    }


def instances_of(
    scene: Scene, hidden: NDArray[np.bool_], pixel_size_nm: float, categories: Sequence[str],
    occlusion: str, min_visible_px: int,
) -> Instances:  # fmt: skip
    """Masks and truths of all particles of which at least min_visible_px pixels are visible.

    hidden (H, W) bool: pixels under an info bar or label, visible in no mask. occlusion: see recipe.Recipe.
    visible_fraction: pixels of ``segmentation`` over those of the whole particle, with its part outside the image.
    overlapped_fraction: share of the particle's pixels in the image that lie over or under other particles.
    """
    size = (hidden.shape[0], hidden.shape[1])
    outlines = [particle.outline_nm / pixel_size_nm for particle in scene.particles]
    whole = [Crop(fill(outline, bounds(outline)), *bounds(outline)[:2]) for outline in outlines]
    crops = [cut(crop, size) for crop in whole]
    covers, top = _stack(crops, size)
    labels: list[int] = []
    visible: list[Rle] = []
    full: list[Rle] = []
    truths: list[dict[str, Any]] = []
    for index, (particle, crop) in enumerate(zip(scene.particles, crops, strict=True)):
        if crop is None:
            continue
        seen = crop.values & ~hidden[crop.window]
        if occlusion == "opaque":
            seen &= top[crop.window] == index + 1
        count = int(seen.sum())
        if count < max(1, min_visible_px):
            continue
        labels.append(categories.index(particle.category))
        full.append(encode_crop(crop.values, crop.x0, crop.y0, size))
        visible.append(full[-1] if count == crop.values.sum() else encode_crop(seen, crop.x0, crop.y0, size))
        shared = np.count_nonzero(covers[crop.window][crop.values] > 1) / int(crop.values.sum())
        shares = {"visible_fraction": count / int(whole[index].values.sum()), "overlapped_fraction": shared}
        truths.append(true_sizes(particle) | {key: round(value, 4) for key, value in shares.items()})
    return Instances(size, np.asarray(labels, np.int64), visible, full, truths)


def without_hidden(instances: Instances, hidden: NDArray[np.bool_], min_visible_px: int) -> Instances:
    """The same with hidden (H, W) pixels cut out of every mask; particles of fewer than min_visible_px px left out."""
    kept: list[int] = []
    visible: list[Rle] = []
    truths: list[dict[str, Any]] = []
    for index, mask in enumerate(instances.segmentations):
        values, x0, y0 = decode_crop(mask)
        seen = values & ~hidden[Crop(values, x0, y0).window]
        before, after = int(values.sum()), int(seen.sum())
        if after < max(1, min_visible_px):
            continue
        kept.append(index)
        visible.append(mask if after == before else encode_crop(seen, x0, y0, instances.size))
        truth = instances.truths[index] if instances.truths else {}
        share = truth.get("visible_fraction")
        truths.append(truth if share is None else truth | {"visible_fraction": round(share * after / before, 4)})
    full = [instances.full_segmentations[i] for i in kept] if instances.full_segmentations else []
    return Instances(instances.size, instances.labels[kept], visible, full, truths)


def _stack(crops: list[Crop | None], size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """(H, W) number of particles over each pixel, and index + 1 of the topmost (0: none)."""
    covers, top = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    for index, crop in enumerate(crops):
        if crop is not None:
            covers[crop.window] += crop.values
            top[crop.window][crop.values] = index + 1
    return covers, top

"""What is known about a drawn particle: sizes in nm from its outline, masks from its outline's pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Instances, Particle, Rle, Scene
from tem_seg.data.rle import decode_crop, encode_crop, encode_crops
from tem_seg.generation.microscope.warp import Warp, warped_mask, warped_outlines
from tem_seg.generation.raster import Crop, cut, masks
from tem_seg.generation.scenes.shapes import area

TINY = np.float32(1e-30)
"""Length of sides that are none."""
AT_ONCE = 16
"""Hulls in every numpy call: their tables of distances stay in the processor's cache."""


def feret_nm(outline: NDArray[np.float64]) -> tuple[float, float]:
    """Smallest and largest distance of two parallel lines that touch the outline (K, 2), in its unit.

    The smallest one stands on a side of the convex hull (Shamos 1978), the largest joins two of its corners.
    """
    shortest, longest = _ferets([outline])[0]
    return shortest, longest


def _ferets(outlines: Sequence[NDArray[np.float64]]) -> list[tuple[float, float]]:
    """feret_nm of N outlines, AT_ONCE in every numpy call."""
    found: list[tuple[float, float]] = []
    for begin in range(0, len(outlines), AT_ONCE):
        some = [outline - outline[0] for outline in outlines[begin : begin + AT_ONCE]]
        corners = [cv2.convexHull(outline.astype(np.float32))[:, 0] for outline in some]
        hulls = np.empty((len(corners), max(len(hull) for hull in corners), 2), np.float32)
        for hull, own in zip(hulls, corners, strict=True):
            hull[: len(own)], hull[len(own) :] = own, own[0]
        sides = np.roll(hulls, -1, axis=1) - hulls
        lengths = np.hypot(sides[..., 0], sides[..., 1])
        normals = np.stack([-sides[..., 1], sides[..., 0]], axis=1) / np.maximum(lengths, TINY)[:, None]
        heights = hulls @ normals
        widths = np.where(lengths > 0, heights.max(axis=1) - heights.min(axis=1), np.float32(np.inf))
        x, y = hulls[..., 0], hulls[..., 1]
        squared = np.square(x[:, :, None] - x[:, None])
        squared += np.square(y[:, :, None] - y[:, None])
        found += zip(widths.min(axis=1).tolist(), np.sqrt(squared.max(axis=(1, 2))).tolist(), strict=True)
    return found


def true_sizes(particle: Particle) -> dict[str, Any]:
    """Annotation keys of the whole particle, also of what lies outside the image (docs/results-format.md)."""
    return _sizes(particle, *feret_nm(particle.outline_nm))


def _sizes(particle: Particle, shortest_nm: float, longest_nm: float) -> dict[str, Any]:
    area_nm2 = area(particle.outline_nm)
    return {
        "true_equivalent_diameter_nm": round(2.0 * math.sqrt(area_nm2 / math.pi), 4),
        "true_min_feret_nm": round(shortest_nm, 4),
        "true_max_feret_nm": round(longest_nm, 4),
        "true_height_nm": round(float(particle.height_nm), 4),
        "true_area_nm2": round(area_nm2, 4),
        "shape": particle.shape,
        **particle.notes,
    }


def instances_of(
    scene: Scene, hidden: NDArray[np.bool_], pixel_size_nm: float, categories: Sequence[str],
    occlusion: str, min_visible_px: int, warp: Warp | None = None,
) -> Instances:  # fmt: skip
    """Masks and truths of all particles of which at least min_visible_px pixels are visible.

    hidden (H, W) bool: pixels under an info bar or label, visible in no mask. occlusion: see recipe.Recipe.
    visible_fraction: pixels of ``segmentation`` over those of the whole particle, with its part outside the image.
    overlapped_fraction: share of the particle's pixels in the image that lie over or under other particles.
    pixel_size_nm: before the warp, which moves the outlines to where they are seen; sizes stay those of the particles.
    """
    size = (hidden.shape[0], hidden.shape[1])
    whole = masks(warped_outlines([particle.outline_nm / pixel_size_nm for particle in scene.particles], warp))
    crops = [cut(crop, size) for crop in whole]
    covers, top = _stack(crops, size, occlusion)
    shown = ~hidden
    chosen: list[int] = []
    full: list[Crop] = []
    visible: list[Crop] = []
    shares: list[dict[str, float]] = []
    for index, crop in enumerate(crops):
        if crop is None:
            continue
        seen = crop.values & shown[crop.window]
        if top is not None:
            seen &= top[crop.window] == index + 1
        count, inside = np.count_nonzero(seen), np.count_nonzero(crop.values)
        if count < max(1, min_visible_px):
            continue
        chosen.append(index)
        full.append(crop)
        visible.append(crop if count == inside else Crop(seen, crop.x0, crop.y0))
        shared = np.count_nonzero((covers[crop.window] > 1) & crop.values) / inside
        seen_share = round(count / np.count_nonzero(whole[index].values), 4)
        shares.append({"visible_fraction": seen_share, "overlapped_fraction": round(shared, 4)})
    found = [scene.particles[index] for index in chosen]
    labels = np.array([categories.index(particle.category) for particle in found], np.int64)
    ferets = _ferets([particle.outline_nm for particle in found])
    truths = [_sizes(one, *feret) | share for one, feret, share in zip(found, ferets, shares, strict=True)]
    encoded = _encoded(full, size)
    partly = iter(_encoded([seen for seen, crop in zip(visible, full, strict=True) if seen is not crop], size))
    seen_masks = [m if s is c else next(partly) for m, s, c in zip(encoded, visible, full, strict=True)]
    return Instances(size, labels, seen_masks, encoded, truths)


def _encoded(crops: list[Crop], size: tuple[int, int]) -> list[Rle]:
    x0, y0 = (np.array([getattr(crop, name) for crop in crops], np.int64) for name in ("x0", "y0"))
    return encode_crops([crop.values for crop in crops], x0, y0, size)


def without_hidden(
    instances: Instances, hidden: NDArray[np.bool_], min_visible_px: int, warp: Warp | None = None
) -> Instances:
    """The same as seen after the warp, with hidden (H, W) pixels cut out of every mask, in both if there is one.

    Particles of fewer than min_visible_px px are left out.
    """
    kept: list[int] = []
    visible: list[Rle] = []
    full: list[Rle] = []
    truths: list[dict[str, Any]] = []
    for index, mask in enumerate(instances.segmentations):
        placed = _as_seen(mask, warp)
        inside = cut(placed, instances.size)
        seen = inside.values & ~hidden[inside.window] if inside is not None else np.zeros((0, 0), bool)
        after = int(seen.sum())
        if inside is None or after < max(1, min_visible_px):
            continue
        kept.append(index)
        visible.append(encode_crop(seen, inside.x0, inside.y0, instances.size))
        if instances.full_segmentations:
            whole = _as_seen(instances.full_segmentations[index], warp)
            full.append(encode_crop(whole.values, whole.x0, whole.y0, instances.size))
        truth = instances.truths[index] if instances.truths else {}
        share = truth.get("visible_fraction")
        still = after / int(placed.values.sum())
        truths.append(truth if share is None else truth | {"visible_fraction": round(share * still, 4)})
    return Instances(instances.size, instances.labels[kept], visible, full, truths)


def _as_seen(mask: Rle, warp: Warp | None) -> Crop:
    crop = Crop(*decode_crop(mask))
    return crop if warp is None else warped_mask(crop, warp)


def _stack(
    crops: list[Crop | None], size: tuple[int, int], occlusion: str
) -> tuple[NDArray[np.uint8], NDArray[np.int32] | None]:
    """(H, W) number of particles over each pixel, and if opaque index + 1 of the topmost (0: none)."""
    covers = np.zeros(size, np.uint8)
    top = np.zeros(size, np.int32) if occlusion == "opaque" else None
    for index, crop in enumerate(crops):
        if crop is not None:
            covers[crop.window] += crop.values.view(np.uint8)
            if top is not None:
                np.copyto(top[crop.window], index + 1, where=crop.values)
    return covers, top

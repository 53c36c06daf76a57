"""Star-convex shapes as Schmidt et al. have them (MICCAI 2018, arXiv 1806.03535): distances along rays from a pixel.

Pixels are points at integer (row, column) here, as in the ``stardist`` package, whose C++ ``star_dist`` gives the same.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from tem_seg.models.contract import Target
from tem_seg.models.dense.base import masks_of
from tem_seg.models.dense.ground import depth_of, shared_out

Labels = NDArray[np.int32]
Rays = NDArray[np.float32]
AT_ONCE = 1024
"""Pixels whose rays are followed together: more do not fit a core's cache, and take twice as long."""


def directions(rays: int) -> Rays:
    """(rays, 2) float32: unit steps (row, column); the first points right, the second down from there."""
    angles = np.arange(rays) * (2 * np.pi / rays)
    return np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def star_distances(labels: Labels, rays: int, grid: int = 1) -> Rays:
    """labels (H, W) int32, 0 for ground → (ceil(H / grid), ceil(W / grid), rays) float32 px: how far a label reaches.

    From each pixel of the grid a step of one px is taken along each ray for as long as the nearest pixel has the same
    label; half a pixel of the last step counts. What leaves the image leaves the label; 0 on ground. Steps that cannot
    leave the label are taken at once (:func:`_free_steps`). As the package's, but for numbers of rays that 12 divides:
    there a step may end exactly between two pixels, and either may be the nearest.
    """
    here = labels[::grid, ::grid]
    found = np.zeros((*here.shape, rays), np.float32)
    inside = np.nonzero(here)
    if not len(inside[0]):
        return found
    around = np.pad(labels, 1, constant_values=-1)
    offsets = _offsets(rays, _longest(labels) + 1, around.shape[1])
    starts = (inside[0] * grid + 1) * around.shape[1] + inside[1] * grid + 1
    flat, free = around.ravel(), _free_steps(around).ravel()
    parts = [_steps(flat, free, starts[i : i + AT_ONCE], offsets) for i in range(0, len(starts), AT_ONCE)]
    found[inside] = np.concatenate(parts) + 0.5 / np.abs(directions(rays)).max(axis=1)
    return found


def _steps(
    labels: Labels, free: NDArray[np.int64], starts: NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Steps inside the label of each start (N,) along each ray (N, rays); places are indices of flat images.

    labels, free: flat; offsets (rays, most steps + 1): to the nearest pixel after so many steps.
    """
    going: NDArray[np.int64]
    start: NDArray[np.int64]
    rays, most = offsets.shape
    flat, taken = offsets.ravel(), np.zeros(len(starts) * rays, np.int64)
    going = np.arange(len(taken))
    start, ray = np.repeat(starts, rays), np.tile(np.arange(rays) * most, len(starts))
    own = labels.take(start)
    at, steps = start, taken
    while len(going):
        steps = steps + free.take(at)
        at = start + flat.take(ray + steps)
        still = np.flatnonzero(labels.take(at) == own)
        if len(still) < len(going):
            going, start, ray, at, steps = (each.take(still) for each in (going, start, ray, at, steps))
            own = own.take(still)
        taken[going] = steps
    return taken.reshape(len(starts), rays)


def _free_steps(labels: Labels) -> NDArray[np.int64]:
    """(H, W): how many steps may be taken from a pixel at once: all but the last are certain to stay in its label.

    The pixel after s more steps lies within s + √2 of this one (both are rounded), and what is nearer than the nearest
    border pixel of any label has this one's.
    """
    images = labels.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    inner = (cv2.erode(images, kernel) == images) & (cv2.dilate(images, kernel) == images)
    far = cv2.distanceTransform(inner.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    free: NDArray[np.int64] = np.maximum(far - 1.5, 1.0).astype(np.int64)
    return free


def _offsets(rays: int, most: int, width: int) -> NDArray[np.int64]:
    """(rays, most + 1) of a flat image so wide: to the nearest pixel after 0 to most steps along each ray."""
    way = np.arange(most + 1)[:, None, None] * directions(rays).astype(np.float64)
    pixels = np.trunc(way + np.copysign(0.5, way)).astype(np.int64)  # halves away from zero, as C++ does
    return np.ascontiguousarray((pixels[..., 0] * width + pixels[..., 1]).T)


def _longest(labels: Labels) -> int:
    """No ray inside a label is longer, px."""
    sides = [[side.stop - side.start for side in window] for window in find_objects(labels) if window]
    return int(np.ceil(np.hypot(*np.array(sides).T).max())) if sides else 0


def layers(masks: NDArray[np.uint8]) -> tuple[list[Labels], NDArray[np.int64]]:
    """masks (N, H, W) uint8 → label images in each of which nothing overlaps, and the image of each particle (N,)."""
    images: list[Labels] = []
    place = np.zeros(len(masks), np.int64)
    for index, mask in enumerate(masks):
        inside = mask.astype(bool)
        free = (number for number, image in enumerate(images) if not image[inside].any())
        place[index] = next(free, len(images))
        if place[index] == len(images):
            images.append(np.zeros(masks.shape[1:], np.int32))
        images[place[index]][inside] = index + 1
    return images, place


def encode(target: Target, *, rays: int, grid: int) -> Target:
    """Target → with maps (2 + rays, h, w) float32 of the grid in place of masks: class, object probability, distances.

    Class: 0 for ground or 1 + class. Object probability: depth, 1 at the deepest place. A pixel of several particles
    belongs to the one in which it lies deepest, and its distances reach to the border of all of that one: where
    particles overlap, each keeps its outline.
    """
    masks = masks_of(target)
    owner, _ = shared_out(masks)
    here = owner[::grid, ::grid]
    overlap = len(masks) and masks.sum(axis=0, dtype=np.uint16).max() > 1
    images, place = layers(masks) if overlap else ([owner], np.zeros(len(masks), np.int64))
    distances = np.zeros((*here.shape, rays), np.float32)
    for number, image in enumerate(images):
        own = np.concatenate([[False], place == number])[here]
        distances[own] = star_distances(image, rays, grid)[own]
    kinds = np.concatenate([[0], target["labels"].cpu().numpy() + 1])[here].astype(np.float32)
    maps = np.concatenate([kinds[None], depths(here)[None], distances.transpose(2, 0, 1)])
    return {"boxes": target["boxes"], "labels": target["labels"], "maps": torch.from_numpy(maps)}


def depths(labels: Labels) -> NDArray[np.float32]:
    """labels (h, w) int32 → (h, w) float32: depth of each pixel in its label (the package's ``edt_prob``)."""
    found = np.zeros(labels.shape, np.float32)
    for index, window in enumerate(find_objects(labels)):
        if window is not None:
            around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in window)
            own = labels[around] == index + 1
            found[around][own] = depth_of(own.view(np.uint8))[own]
    return found

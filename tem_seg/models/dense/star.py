"""Star-convex shapes as Schmidt et al. have them (MICCAI 2018, arXiv 1806.03535): distances along rays from a pixel.

Pixels are points at integer (row, column) here, as in the ``stardist`` package, whose C++ ``star_dist`` gives the same.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from tem_seg.models.contract import Target
from tem_seg.models.dense.base import masks_of
from tem_seg.models.dense.ground import depth_of, shared_out

Labels = NDArray[np.int32]
Rays = NDArray[np.float32]


def directions(rays: int) -> Rays:
    """(rays, 2) float32: unit steps (row, column); the first points right, the second down from there."""
    angles = np.arange(rays) * (2 * np.pi / rays)
    return np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def star_distances(labels: Labels, rays: int, grid: int = 1) -> Rays:
    """labels (H, W) int32, 0 for ground → (ceil(H / grid), ceil(W / grid), rays) float32 px: how far a label reaches.

    From each pixel of the grid a step of one px is taken along each ray for as long as the nearest pixel has the same
    label; half a pixel of the last step counts. What leaves the image leaves the label; 0 on ground. All pixels go in
    step: a step is one comparison of the image with itself, shifted. As the package's, but for numbers of rays that 12
    divides: there a step may end exactly between two pixels, and either may be the nearest.
    """
    here = labels[::grid, ::grid]
    reach = _longest(labels) + 1
    apart = [[_every(labels, row, column, grid, reach) for column in range(grid)] for row in range(grid)]
    found = np.zeros((*here.shape, rays), np.float32)
    rows, columns = here.shape
    for ray, (down, right) in enumerate(directions(rays).tolist()):
        alive, steps = here > 0, np.zeros(here.shape, np.uint16)
        for step in range(1, reach + 1):
            y, x = _nearest(step, down) + reach, _nearest(step, right) + reach
            seen = apart[y % grid][x % grid][y // grid : y // grid + rows, x // grid : x // grid + columns]
            alive &= seen == here
            if not alive.any():
                break
            steps += alive
        found[..., ray] = np.where(here > 0, steps + 0.5 / max(abs(down), abs(right)), 0)
    return found


def _nearest(step: int, along: float) -> int:
    """Pixels after so many steps; halves are rounded away from zero, as C++ does."""
    way = step * along
    return int(np.trunc(way + np.copysign(0.5, way)))


def _longest(labels: Labels) -> int:
    """No ray inside a label is longer, px."""
    sides = [[side.stop - side.start for side in window] for window in find_objects(labels) if window]
    return int(np.ceil(np.hypot(*np.array(sides).T).max())) if sides else 0


def _every(labels: Labels, row: int, column: int, grid: int, reach: int) -> Labels:
    """Every grid-th pixel from (row, column) of the labels with ``reach`` pixels of -1 around."""
    around = np.pad(labels, ((reach, reach + grid), (reach, reach + grid)), constant_values=-1)
    return np.ascontiguousarray(around[row::grid, column::grid])


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

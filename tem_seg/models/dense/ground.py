"""Which particle each pixel of a training crop belongs to, and how deep inside it lies."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Depth = NDArray[np.float32]
Owner = NDArray[np.int32]


def depth_of(mask: NDArray[np.uint8]) -> Depth:
    """mask (h, w) uint8 in {0, 1} of one particle → (h, w) float32: distance to its border over the largest; 0 outside.

    Distances are those between pixel centres (exact, Euclidean). The array's sides are no border of the particle,
    since a crop cuts it there, unless it fills the array.
    """
    if mask.all():
        return depth_of(np.pad(mask, 1))[1:-1, 1:-1]
    near = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    # Squares are whole numbers. OpenCV's roots of them differ in the last bit by where an array lies in memory, and a
    # training from the same seed becomes another one within twenty steps.
    distance = np.sqrt(np.rint(near * near))
    return np.asarray(distance / max(float(distance.max()), 1.0), np.float32)


def shared_out(masks: NDArray[np.uint8]) -> tuple[Owner, Depth]:
    """masks (N, H, W) uint8 in {0, 1} → owner (H, W) int32, 0 for ground, else 1 + index; depth (H, W) float32.

    A pixel of several particles belongs to the one in which it lies deepest, by :func:`depth_of`: discs that overlap
    share the lens equally. Depths are then those within what is left to each particle, so that they fall to the border
    between the two.
    """
    owner, depth = np.zeros(masks.shape[1:], np.int32), np.zeros(masks.shape[1:], np.float32)
    contested = np.zeros(masks.shape[1:], bool)
    windows = [_window(mask) for mask in masks]
    for index, window in enumerate(windows):
        own = depth_of(masks[index][window])
        contested[window] |= (own > 0) & (owner[window] > 0)
        deeper = own > depth[window]
        depth[window][deeper], owner[window][deeper] = own[deeper], index + 1
    for index in np.flatnonzero([bool((masks[i][w] & contested[w]).any()) for i, w in enumerate(windows)]).tolist():
        left = owner[windows[index]] == index + 1
        depth[windows[index]][left] = depth_of(left.view(np.uint8))[left]
    return owner, depth


def _window(mask: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Around a mask (H, W), with a pixel of ground where there is one."""
    x, y, width, height = cv2.boundingRect(mask)
    return slice(max(0, y - 1), y + height + 1), slice(max(0, x - 1), x + width + 1)

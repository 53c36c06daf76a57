"""Masks that hold several particles grown together, and their parts: watershed of the distance to the edge.

For round and compact particles that a model (or a threshold) took for one: two discs in one mask have a neck. What it
cannot do: faceted particles that lie side by side have no neck, and a single dumbbell or branched particle has one, so
look at the pictures. Overlapping particles that kept their own masks need no splitting.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from tem_seg.core.types import Rle
from tem_seg.data.rle import decode_crop, encode_crops

SMALLEST_RADIUS_PX = 2.0
"""Of the largest disc that a part holds: below, a bump of the outline or a crumb is no particle."""


def split_mask(mask: Rle, neck: float) -> list[Rle]:
    """A mask → the masks of its parts, largest first, which share all its pixels among them; [mask] where it is one.

    neck, in (0, 1): two parts are separate where the neck between them is narrower than this share of the smaller
    one's width (both as discs inside the mask). Loose parts are separate.
    """
    if not 0 < neck < 1:
        raise ValueError(f"neck is a share of the smaller part's width, between 0 and 1, got {neck}")
    crop, x0, y0 = decode_crop(mask)
    labels = _parts(crop, neck)
    count = int(labels.max(initial=0))
    if count < 2:
        return [mask]
    crops = [labels == label for label in range(1, count + 1)]
    crops.sort(key=np.count_nonzero, reverse=True)
    height, width = mask["size"]
    return encode_crops(crops, np.full(count, x0), np.full(count, y0), (height, width))


def _parts(crop: NDArray[np.bool_], neck: float) -> NDArray[np.int32]:
    """(h, w): 0 outside, parts from 1."""
    if not crop.any():
        return np.zeros(crop.shape, np.int32)
    padded = np.pad(crop, 1)
    radius = cv2.distanceTransform(padded.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # in the logarithm a neck that is a share of the width is a step of the same height at every size
    height = np.log(np.maximum(radius, 0.5))
    floor = reconstruction(height + np.log(neck), height)
    peaks = _regional_maxima(floor) & padded
    markers, count = ndimage.label(peaks, np.ones((3, 3)))
    wide = np.r_[False, ndimage.maximum(radius, markers, np.arange(1, count + 1)) >= SMALLEST_RADIUS_PX]
    markers = np.where(wide[markers], markers, 0)
    if not markers.any():
        return crop.astype(np.int32)
    labels = watershed(-radius, markers, mask=padded)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    labels = np.where(padded, labels[tuple(nearest)], 0)  # loose crumbs go to the nearest part
    numbered = np.unique(labels, return_inverse=True)[1]
    return numbered.reshape(padded.shape)[1:-1, 1:-1].astype(np.int32)


def _regional_maxima(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Plateaus that are higher than all around them: what a step down, filled up again, does not reach."""
    step = 1e-6
    return np.asarray(reconstruction(values - step, values) < values - step / 2, bool)

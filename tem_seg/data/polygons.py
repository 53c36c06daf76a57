"""Masks as polygons, for formats that know nothing else.

Coordinates are docs/conventions.md's: pixel (r, c) covers the square [c, c+1) × [r, r+1). A polygon covers a pixel when
it covers the pixel's centre; pycocotools and skimage.draw agree with that, up to rounding.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from skimage.measure import find_contours

from tem_seg.core.types import Rle
from tem_seg.data import rle

Ring = NDArray[np.float64]
"""(K, 2) float64: x, y px, closed by its first point, which is not repeated."""
SMOOTHING_PX = 0.3
"""Points within it of the line through the others go; a third do. Up to 0.3 px no pixel changes sides (measured)."""


def trace(segmentation: Rle, smoothing_px: float = SMOOTHING_PX) -> list[Ring]:
    """Polygons of a mask, one for each of its parts (4-connected); [] for an empty mask.

    Their union, rasterised by pycocotools, is the mask, pixel for pixel: where smoothing would change it, the polygon
    runs along the edges of the pixels. A hole is joined to its outline by a slit of no width, gone along there and
    back: rasterisers that count crossings leave it open.
    """
    return [joined(rings) for rings in trace_parts(segmentation, smoothing_px)]


def trace_parts(segmentation: Rle, smoothing_px: float = SMOOTHING_PX) -> list[list[Ring]]:
    """As :func:`trace`, with the rings of each part apart, for formats that know holes: the outline, then its holes."""
    crop, x0, y0 = rle.decode_crop(segmentation)
    if not crop.size:
        return []
    parts, corner = _parts(crop), np.array([x0, y0])
    smooth = [[_simplified(ring, smoothing_px) + corner for ring in _contours(part)] for part in parts]
    if _iou([joined(rings) for rings in smooth], segmentation) == 1.0:
        return smooth
    return [[ring + corner for ring in _edges(part)] for part in parts]


def joined(rings: list[Ring]) -> Ring:
    """One polygon of several rings (parts of a particle, or holes): each is tied to those before by a slit of no width.

    Even-odd filling of the result is that of all rings. Slits run between the nearest corners.
    """
    whole = rings[0]
    for ring in rings[1:]:
        distance = ((whole[:, None] - ring[None]) ** 2).sum(axis=2)
        at, begin = np.unravel_index(int(distance.argmin()), distance.shape)
        around = np.roll(ring, -int(begin), axis=0)
        whole = np.concatenate([whole[: at + 1], around, around[:1], whole[at:]])
    return whole


def _parts(crop: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The 4-connected parts of a mask, each with a rim of False one pixel wide, the largest first."""
    padded = np.pad(crop, 1)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(padded.view(np.uint8), connectivity=4)
    if count == 2:
        return [padded]
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    return [labels == label for label in order]


def _contours(part: NDArray[np.bool_]) -> list[Ring]:
    """Outline and holes of a part with a rim, halfway between the centres of inner and outer pixels; outline first."""
    found = find_contours(part.astype(np.float32), 0.5)  # type: ignore[no-untyped-call]
    # a centre is at index + 0.5, and the rim shifts by one
    rings = [contour[:-1, ::-1] - 0.5 for contour in found]
    return sorted(rings, key=lambda ring: -np.ptp(ring, axis=0).prod())


def _simplified(ring: Ring, tolerance_px: float) -> Ring:
    if len(ring) < 8:
        return ring
    return cv2.approxPolyDP(ring.astype(np.float32)[:, None], tolerance_px, True)[:, 0].astype(np.float64)


def _edges(part: NDArray[np.bool_]) -> list[Ring]:
    """Outline and holes of a part with a rim, along the edges of its pixels; outline first."""
    # twice the size, every pixel is 2 × 2, and the contour through the outermost ones turns only where the edge does
    doubled = np.kron(part, np.ones((2, 2), np.uint8)).astype(np.uint8)
    rings = []
    for contour in find_contours(np.pad(doubled, 1).astype(np.float32), 0.5):  # type: ignore[no-untyped-call]
        ring = np.rint((contour[:-1, ::-1] - 0.5) / 2.0) - 1.0  # cut corners go back to the corner
        rings.append(_corners(ring))
    return sorted(rings, key=lambda ring: -np.ptp(ring, axis=0).prod())


def _corners(ring: Ring) -> Ring:
    """Without points that repeat, or lie on the straight line between their neighbours."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return np.asarray(ring[turns])


def _iou(polygons: list[Ring], segmentation: Rle) -> float:
    """Of the polygons as pycocotools rasterises them and the mask."""
    drawn = rle.from_polygons([flat(ring) for ring in polygons], (segmentation["size"][0], segmentation["size"][1]))
    return float(coco_mask.iou([drawn], [segmentation], [0])[0, 0])


def flat(ring: Ring, decimals: int = 2) -> list[float]:
    """[x1, y1, x2, y2, …], as COCO writes a polygon."""
    return [round(float(value), decimals) for value in ring.ravel()]

"""Outlines on micrographs: as paths for the report, as pixels for a training logger. No matplotlib, no model."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from tem_seg.core.types import Rle
from tem_seg.data.rle import decode_crop

Colour = tuple[int, int, int]
"""Red, green, blue, 0-255."""

# After Okabe & Ito (2008), https://jfly.uni-koeln.de/color/ : colour-blind readers tell them apart; brighter, on grey.
PREDICTED: Colour = (44, 160, 235)
ANNOTATED: Colour = (240, 214, 40)

MIN_VIEW_PX = 512
"""Smaller micrographs are enlarged to this long side, so that a thin outline does not cover a small particle."""
MAX_VIEW_PX = 2048
MAX_PAGE_PX = 1100
"""Long side of a micrograph in a page, where outlines are vectors."""
_SUBPIXEL_BITS = 4
_GAP_PX = 6


def outlines(segmentation: Rle, tolerance_px: float = 0.2) -> list[NDArray[np.float64]]:
    """Closed outlines [(K, 2) float64 x, y px, ...] of a mask, along the edges of its pixels; [] for an empty mask.

    Frame and pixel edges as in docs/conventions.md; a one-pixel mask gives a diamond about its centre. Points that lie
    within ``tolerance_px`` of the line through the others are left out.
    """
    crop, x0, y0 = decode_crop(segmentation)
    if not crop.size:
        return []
    # Level 0.5 lies halfway between the centres of an inside and an outside pixel; a centre is at index + 0.5, and the
    # padding shifts by one. Unlike cv2.findContours this does not shrink the particle by half a pixel.
    found = find_contours(np.pad(crop, 1).astype(np.float32), 0.5)  # type: ignore[no-untyped-call]
    return [_simplified(contour[:, ::-1] + [x0 - 0.5, y0 - 0.5], tolerance_px) for contour in found]


def _simplified(contour: NDArray[np.float64], tolerance_px: float) -> NDArray[np.float64]:
    points = np.asarray(contour[:-1], np.float32)
    if len(points) < 8:
        return points.astype(np.float64)
    return cv2.approxPolyDP(points[:, None], tolerance_px, True)[:, 0].astype(np.float64)


def overlay(
    pixels: NDArray[np.float32], rles: Sequence[Rle], colours: Sequence[Colour], thickness_px: int = 1
) -> NDArray[np.uint8]:
    """Micrograph pixels (H, W) float32 in [0, 1] with one outline per mask → (h, w, 3) uint8 RGB.

    The long side is brought to 512 ... 2048 px, whatever the micrograph's, so that outlines stay thin and crisp.
    colours: one per mask. Raises ValueError where counts or frames disagree.
    """
    long_side = max(pixels.shape)
    return outlined(pixels, rles, colours, min(max(long_side, MIN_VIEW_PX), MAX_VIEW_PX) / long_side, thickness_px)


def outlined(
    pixels: NDArray[np.float32], rles: Sequence[Rle], colours: Sequence[Colour], scale: float, thickness_px: int = 1
) -> NDArray[np.uint8]:
    """As :func:`overlay`, enlarged by ``scale``."""
    if len(rles) != len(colours):
        raise ValueError(f"{len(rles)} masks need as many colours, got {len(colours)}")
    for index, segmentation in enumerate(rles):
        if tuple(segmentation["size"]) != pixels.shape:
            raise ValueError(f"mask {index} has size {segmentation['size']}, the micrograph {list(pixels.shape)}")
    return traced(pixels, [outlines(segmentation) for segmentation in rles], colours, scale, thickness_px)


def traced(
    pixels: NDArray[np.float32], paths: Sequence[Sequence[NDArray[np.floating]]], colours: Sequence[Colour],
    scale: float, thickness_px: int = 1,
) -> NDArray[np.uint8]:  # fmt: skip
    """As :func:`outlined`, of particles' closed outlines [(K, 2) x, y px, ...]."""
    canvas = cv2.cvtColor(_grey(_resized(pixels, scale)), cv2.COLOR_GRAY2RGB)
    for own, colour in zip(paths, colours, strict=True):
        # cv2 counts from pixel centres, we from corners
        points = [_fixed_point(path * scale - 0.5) for path in own]
        cv2.polylines(canvas, points, True, colour, thickness_px, cv2.LINE_AA, _SUBPIXEL_BITS)
    return canvas.astype(np.uint8)


def panel(pixels: NDArray[np.float32], predicted: Sequence[Rle], truth: Sequence[Rle]) -> NDArray[np.uint8]:
    """pixels (H, W) in [0, 1] → predictions (left, blue) and annotation (right, yellow), (h, 2 w + 6, 3) uint8 RGB."""
    left = overlay(pixels, predicted, [PREDICTED] * len(predicted))
    right = overlay(pixels, truth, [ANNOTATED] * len(truth))
    gap = np.full((left.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def svg_path(paths: Iterable[NDArray[np.floating]], step_px: float = 0.1) -> str:
    """Closed polygons (K, 2) x, y px → the ``d`` of one SVG path in units of ``step_px``: whole numbers, relative."""
    drawn = []
    for path in paths:
        places = np.rint(path / step_px).astype(np.int64)  # rounded before the difference: no error adds up
        moves = np.diff(places, axis=0, prepend=np.zeros((1, 2), np.int64)).ravel().tolist()
        drawn.append(f"M{moves[0]} {moves[1]}l{' '.join(map(str, moves[2:]))}z")
    return "".join(drawn)


def webp_uri(pixels: NDArray[np.float32], max_side_px: int = MAX_PAGE_PX, max_bytes: int = 180_000) -> str:
    """pixels (H, W) float32 in [0, 1] → a WebP data URI, scaled down to ``max_side_px``.

    Noise does not compress, so quality falls from 85 to 35 until the image fits ``max_bytes``; if it still does not,
    the last and smallest is returned.
    """
    grey = _grey(_resized(pixels, min(1.0, max_side_px / max(pixels.shape))))
    for quality in (85, 70, 50, 35):
        written, encoded = cv2.imencode(".webp", grey, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if not written:
            raise RuntimeError(f"OpenCV could not encode a {grey.shape} image as WebP")
        if encoded.size <= max_bytes:
            break
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def jpeg_uri(pixels: NDArray[np.float32], max_side_px: int) -> str:
    """pixels (H, W) float32 in [0, 1] → a JPEG data URI of at most ``max_side_px``.

    For files of their own: as large as a WebP of the same noise in a twentieth of the time; drawing programs read it.
    """
    grey = _grey(_resized(pixels, min(1.0, max_side_px / max(pixels.shape))))
    encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def colour_uri(picture: NDArray[np.uint8], quality: int = 80) -> str:
    """picture (h, w, 3) uint8 RGB → a WebP data URI."""
    encoded = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def png(picture: NDArray[np.uint8]) -> bytes:
    """picture (h, w, 3) uint8 RGB → a PNG, written soon: noise does not compress."""
    soon = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    return bytes(cv2.imencode(".png", picture[..., ::-1], soon)[1].tobytes())


def _resized(pixels: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    if scale == 1.0:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.asarray(resized, np.float32)


def _grey(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(pixels, 0.0, 1.0) * 255.0), np.uint8)


def _fixed_point(path: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.asarray(np.rint(path * (1 << _SUBPIXEL_BITS)), np.int32)

"""Where numbers stand beside particles, so that none covers another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

ROOMY = 1.5
"""A box of so many times its number's width and height has the number inside."""
Place = tuple[float, float]


def places(
    boxes: NDArray[np.floating], sizes: Sequence[tuple[float, float]], frame: tuple[int, int]
) -> list[Place | None]:
    """boxes (N, 4) xyxy px and the sizes (width, height) px of their N numbers, in a frame (H, W) → left top corners.

    In the middle of large boxes, else at a corner. None where every place would cover an earlier number.
    """
    taken = np.zeros((len(boxes), 4))
    found: list[Place | None] = []
    used = 0
    for box, (width, height) in zip(boxes.tolist(), sizes, strict=True):
        chosen = None
        for x, y in _candidates(box, width, height):
            own = (x, y, x + width, y + height)
            if _inside(own, frame) and not _covers(own, taken[:used]):
                chosen, taken[used] = (x, y), own
                used += 1
                break
        found.append(chosen)
    return found


def _candidates(box: Sequence[float], width: float, height: float) -> Iterator[Place]:
    x0, y0, x1, y1 = box
    middle = ((x0 + x1 - width) / 2, (y0 + y1 - height) / 2)
    if x1 - x0 >= ROOMY * width and y1 - y0 >= ROOMY * height:
        yield middle
    yield x1, y0 - height / 2
    yield x0 - width, y0 - height / 2
    yield x1, y1 - height / 2
    yield x0 - width, y1 - height / 2
    yield middle[0], y0 - height
    yield middle[0], y1
    yield middle


def _inside(own: tuple[float, float, float, float], frame: tuple[int, int]) -> bool:
    return own[0] >= 0 and own[1] >= 0 and own[2] <= frame[1] and own[3] <= frame[0]


def _covers(own: tuple[float, float, float, float], taken: NDArray[np.float64]) -> bool:
    x0, y0, x1, y1 = taken.T
    return bool(((x0 < own[2]) & (x1 > own[0]) & (y0 < own[3]) & (y1 > own[1])).any())

"""The strip that microscopes write below a micrograph (voltage, magnification, scale bar): no part of the field seen.

Letters in it look like particles, and what lies at its upper edge is cut by it as by the frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.data.scalebar import grey_levels

MOST_SHARE, LEAST_PX = 0.25, 12
"""Of the height at most; px at least."""
NEAR, FAR = 10, 60
"""Grey levels from the strip's ground: what still is ground, and what is writing."""
PLAIN = 0.5
"""Share of a row that is ground, at least: the rest is writing."""
LINE_PX = 3
"""A line across the whole strip is no thicker."""
JUMP = 0.3
"""By how much the share of ground grows where the micrograph ends."""
LETTERS, WRITTEN = 6, (0.005, 0.5)
"""Separate marks at least, and the share of the strip that is written on."""


def strip_px(pixels: NDArray[np.floating] | NDArray[np.integer]) -> int:
    """Rows at the lower end of a micrograph (H, W), as it was stored, that are a strip of writing; 0 where none is.

    Nothing is taken for a strip that does not end above in a straight edge across the picture.
    """
    grey = grey_levels(pixels).astype(np.int16)
    most = int(MOST_SHARE * grey.shape[0])
    if most <= LEAST_PX:
        return 0
    ground = int(np.bincount(grey[-LEAST_PX // 2 :].ravel()).argmax())
    share = (np.abs(grey[-most - 2 * LINE_PX :] - ground) <= NEAR).mean(axis=1)[::-1]  # from below
    rows = _reach(share >= PLAIN)
    if not LEAST_PX <= rows <= most:
        return 0
    inside, above = share[max(0, rows - LINE_PX) : rows], share[rows : rows + LINE_PX]
    if inside.mean() - above.mean() < JUMP:
        return 0
    return rows if _written(np.abs(grey[-rows:] - ground) > FAR) else 0


def _reach(plain: NDArray[np.bool_]) -> int:
    """How far plain rows reach from the first on, lines across them included."""
    rows = 0
    for place in np.flatnonzero(plain).tolist():
        if place - rows > LINE_PX:
            break
        rows = place + 1
    return rows


def _written(marks: NDArray[np.bool_]) -> bool:
    count, _ = cv2.connectedComponents(marks.astype(np.uint8))
    return bool(count > LETTERS and WRITTEN[0] <= marks.mean() <= WRITTEN[1])

"""Magnifications for a micrograph of unknown scale: where to look, and what the looks add up to.

A model sees particles of some sizes well, in px as shown. What it is shown therefore depends on the micrograph's own
size, not on its pixels' size in nm, which may be unknown: the whole of it small, then twice and four times as large,
and on while the particles found are small. The same micrograph stored at another resolution is shown the same way.
Each look is trusted with particles of a range of sizes alone (as SNIP trains, Singh and Davis, CVPR 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Prediction
from tem_seg.data.rle import area_px
from tem_seg.inference.instances import by_score, keep
from tem_seg.inference.merging import agreed

SHOWN_PX = (256, 512, 1024)
"""Longest side of the micrograph in the first looks."""
LARGEST_SHOWN_PX, LARGEST_MAGNIFICATION = 16384, 8.0
"""No look is larger: beyond the second there is nothing to be seen that the pixels hold."""
TRUSTED_PX = (11.0, 128.0)
"""Sizes (square root of area, px as shown) that a look is trusted with; at the ends of the pyramid all beyond, too."""
SMALL_PX, SMALL_SHARE, SURE = 15.0, 0.15, 0.5
"""A larger look follows where so many of the particles found with this score are smaller than that, px as shown."""


def looks(
    size: tuple[int, int], look: Callable[[float], Prediction]
) -> list[tuple[float, Prediction]]:  # fmt: skip
    """(magnification, prediction in the micrograph's frame) of every look at a micrograph ``size`` (H, W).

    look: what the model finds at a magnification.
    """
    longest = max(size)
    found = [(shown / longest, look(shown / longest)) for shown in SHOWN_PX if shown / longest <= LARGEST_MAGNIFICATION]
    if not found:  # a few pixels
        return [(LARGEST_MAGNIFICATION, look(LARGEST_MAGNIFICATION))]
    while _wants_larger(*found[-1]):
        scale = 2.0 * found[-1][0]
        if scale > LARGEST_MAGNIFICATION or scale * longest > LARGEST_SHOWN_PX:
            break
        found.append((scale, look(scale)))
    return found


def _wants_larger(scale: float, prediction: Prediction) -> bool:
    sizes = sizes_px(keep(prediction, prediction.scores >= SURE)) * scale
    return bool(len(sizes)) and float(np.mean(sizes < SMALL_PX)) > SMALL_SHARE


def settled(found: Sequence[tuple[float, Prediction]], threshold: float) -> Prediction:
    """What the looks add up to: each particle once.

    Its score is the sum of the scores that it has in the looks that are trusted with its size, over their number: what
    only one of three such looks sees is doubtful. ``threshold``: mask IoU from which two are the same.
    """
    scales = np.array([scale for scale, _ in found])
    trusted = [keep(one, _trusts(scales, sizes_px(one))[i]) for i, (_, one) in enumerate(found)]
    together = agreed(trusted, threshold)
    assert together.agreement is not None
    seen = together.agreement * len(found)
    expected = np.maximum(_trusts(scales, sizes_px(together)).sum(axis=0), seen)
    share = (seen / expected).astype(np.float32)
    return by_score(replace(together, scores=together.scores * share, agreement=share))


def _trusts(scales: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which looks (L, N) are trusted with particles of these sizes (N,), px of the frame."""
    shown = scales[:, None] * sizes[None]
    low, high = (np.full((len(scales), 1), limit) for limit in TRUSTED_PX)
    low[np.argmax(scales)], high[np.argmin(scales)] = 0.0, np.inf
    return np.asarray((shown >= low) & (shown <= high))


def sizes_px(prediction: Prediction) -> NDArray[np.float64]:
    """Square root of each particle's mask (or rotated box, or box) area, (N,) px."""
    if prediction.masks is not None:
        return np.sqrt(np.array([area_px(mask) for mask in prediction.masks], np.float64))
    if prediction.rotated_boxes is not None:
        turned: NDArray[np.float64] = prediction.rotated_boxes[:, 2:4].prod(axis=1, dtype=np.float64)
        return np.sqrt(turned)
    sides = prediction.boxes[:, 2:] - prediction.boxes[:, :2]
    areas: NDArray[np.float64] = sides.prod(axis=1, dtype=np.float64)
    return np.sqrt(areas)

"""The magnification for a micrograph of unknown scale: looks that choose it, one look that counts.

A network sees particles of some sizes well, in px as shown: smaller ones it misses, larger ones it takes for many. The
first look is small, and half of the area that it finds belongs to particles above some size; the look that counts shows
such a particle with WANTED_PX. Nothing depends on how many pixels the micrograph is stored with, as far as they hold
the particles. Where coarse things were found, fine particles may lie on them (catalysts on their support): the
micrograph is shown once more, with its own pixels, and that look counts where the coarse things hold fine ones. The
figures below are from EMPS's validation part and drawn catalysts (docs/results/2026-11-21-starter.md).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Prediction
from tem_seg.data.rle import area_px
from tem_seg.inference.instances import concatenate, keep
from tem_seg.inference.overlap import cover_of, pairs

FIRST_PX = 280.0
"""Side of the square with the area of the first look, px."""
LOWEST, STEPS_A_DOUBLING = -2, 2
"""Magnifications are the first look's times powers of √2, so that one look often serves twice; the lowest halves it."""
WANTED_PX = 36.0
"""Typical particles in the look that counts, square root of the area, px as shown."""
SURE, LOST_PX = 0.7, 8.0
"""Particles with this score say how large they are, unless that is below so many px as shown: most are lost then."""
SEARCHED_PX = 560.0
"""With particles lost the micrograph is shown twice as large, up to a square of this side, or all of its own pixels."""
MAGNIFIED_PX, LARGEST_MAGNIFICATION = 790.0, 8.0
"""A micrograph is magnified beyond its own pixels up to a square of this side alone, and by no more than that: twice
the pixels of a published figure showed no particle better."""
FINER_PX = 48.0
"""Typical particles below this, px as shown, ask for a look twice as fine: 24 px at a magnification of 2. Only of those
that are sure: grain of a substrate, seen as hundreds of specks with a score of 0.5, is not to be magnified
(docs/results/2026-11-22-dense.md)."""
COARSE = 0.75
"""A look that counts of at most this magnification may be blind to fine particles."""
FINE_PX, FINE_PART, HELD, SHARE = 24.0, 0.25, 3, 0.5
"""A support holds so many sure particles that are smaller than FINE_PX and that part of its own size. Where supports
have this share of the area of all that is sure, fine particles are what the micrograph shows. In EMPS's validation
part, at half to twice its size, it is 0.35 at most; in drawn catalysts that were looked at too coarsely 0.78 at least.
"""
DENSITY = 0.5e-4
"""And so many a px of its area: a texture shown four times as large has specks, up to 0.24e-4 where a few textured
things are all of a micrograph (28 of EMPS's validation part); the drawn catalysts' supports hold 2.9e-4 at least."""
FINE_WANTED_PX, LARGEST_FINE = 10.0, 2.0
"""Particles on supports in the look that counts, px as shown, and the largest magnification for that: of particles of
4 to 5 px in drawn catalysts more are found at 2 than at 1.5 or 3, of those of 6 to 12 px at 1.5."""


def found(size: tuple[int, int], look: Callable[[float], Prediction]) -> Prediction:
    """What the model finds in a micrograph ``size`` (H, W) at the magnification that its particles ask for.

    look: what the model finds at a magnification, in the micrograph's frame. Of all looks one counts, whole.
    """
    coarse, magnification = chosen(size, look)
    if magnification > COARSE:
        return coarse
    fine = look(1.0)
    if not (coarse.scores >= SURE).any():
        return fine
    held = _on_supports(fine, coarse)
    if not len(held):
        return coarse
    again = min(_step(FINE_WANTED_PX / float(np.median(held))), LARGEST_FINE)
    return fine if again <= 1 else look(again)


def chosen(size: tuple[int, int], look: Callable[[float], Prediction]) -> tuple[Prediction, float]:
    """The look that shows half of the particles' area with WANTED_PX and more, and its magnification."""
    side = float(np.sqrt(size[0] * size[1]))
    most = min(max(1.0, MAGNIFIED_PX / side), LARGEST_MAGNIFICATION)

    def steps(magnification: float) -> int:
        return ceil(STEPS_A_DOUBLING * log2(magnification * side / FIRST_PX) - 1e-6)

    def at(step: int) -> float:
        return float(min(FIRST_PX / side * 2 ** (step / STEPS_A_DOUBLING), most))

    last, search = steps(most), steps(min(most, max(1.0, SEARCHED_PX / side)))
    step = min(0, last)
    seen = look(at(step))
    while (typical := typical_px(seen) * at(step)) < LOST_PX and step < search:
        step = min(step + STEPS_A_DOUBLING, search)
        seen = look(at(step))
    if not typical:
        return seen, at(step)
    wanted = step + round(STEPS_A_DOUBLING * log2(WANTED_PX / typical))
    best = min(max(wanted, LOWEST), last)
    return seen if best == step else look(at(best)), at(best)


def _step(magnification: float) -> float:
    """The nearest power of √2."""
    return float(2 ** (round(STEPS_A_DOUBLING * log2(magnification)) / STEPS_A_DOUBLING))


def _on_supports(fine: Prediction, coarse: Prediction) -> NDArray[np.float64]:
    """Sizes (K,) px of what the finer of two looks is sure of on supports, if most of what the coarser one is sure of
    are such; else none."""
    fine, coarse = (keep(seen, seen.scores >= SURE) for seen in (fine, coarse))
    if not len(fine):
        return np.zeros(0)
    cover = cover_of(concatenate([fine, coarse]))
    sizes = np.concatenate([sizes_px(fine), sizes_px(coarse)])
    one, other = pairs(cover)
    small = (one < len(fine)) & (other >= len(fine)) & (sizes[one] < np.minimum(FINE_PX, FINE_PART * sizes[other]))
    one, other = one[small], other[small]
    on_it = cover.shared(one, other) > cover.areas(one) / 2
    one, other = one[on_it], other[on_it] - len(fine)
    held, areas = np.bincount(other, minlength=len(coarse)), sizes[len(fine) :] ** 2
    supports = (held >= HELD) & (held >= DENSITY * areas)
    found_on = sizes[np.unique(one[supports[other]])]
    return found_on if areas[supports].sum() >= SHARE * areas.sum() else np.zeros(0)


def asks_for_finer(prediction: Prediction, magnification: float) -> bool:
    """Whether a look twice as fine as one of this magnification would find more: see :data:`FINER_PX`."""
    return 0 < typical_px(prediction) * magnification < FINER_PX


def typical_px(prediction: Prediction) -> float:
    """The size, px of the frame, from which up particles have half of the area of all that are sure; 0 without any.

    Not the median particle: specks of texture are many, and have no area.
    """
    sizes = np.sort(sizes_px(prediction)[prediction.scores >= SURE])
    if not sizes.any():
        return 0.0
    area = np.cumsum(sizes**2)
    return float(sizes[np.searchsorted(area, area[-1] / 2)])


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

"""Were enough particles counted? What more images, or more particles in each, would bring.

Variance of a figure from G images with n particles each: τ² / G + σ² / (G n), τ² what differs between images, σ² within
them. More images shrink both parts, more particles in the same images only the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from tem_seg.core.errors import UserError
from tem_seg.measurement.budget import student
from tem_seg.measurement.intervals import Estimate

FEWEST_TO_PLAN = 5
"""Images from which the scatter between images is known well enough to plan by: from 3, a factor of 6 either way."""
MOST = 1_000_000
"""Images; a plan beyond is none."""


@dataclass(frozen=True, slots=True)
class Enough:
    """Whether k · u / value is at most ``target``, and how many images it takes.

    relative: what is reached, k · u / value; floor: what other components alone leave, however many images there are.
    images_needed: in all, with the particles per image as now; images_low, images_high: 95 % range of that, because the
    scatter between images is itself estimated. None where it cannot be said: ``reason`` says why; images_high alone is
    None where it is above a million.
    """

    quantity: str
    target: float
    relative: float | None
    met: bool | None
    floor: float
    images: int
    images_needed: int | None = None
    images_low: int | None = None
    images_high: int | None = None
    reason: str | None = None

    @property
    def more_images(self) -> int | None:
        """Images to take beside those there are; 0 where the target is met."""
        return None if self.images_needed is None else max(self.images_needed - self.images, 0)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What ``images`` with ``particles`` in all would reach: relative standard uncertainty, with k = 2, and of 95 %."""

    images: int
    particles: int
    standard: float
    expanded: float
    reach_95: float


def enough(estimate: Estimate, *, target: float = 0.05, others: float = 0.0, factor: float | None = 2.0) -> Enough:
    """Whether the figure's relative expanded uncertainty is at most ``target``, and if not, how many images it takes.

    others: relative standard uncertainty of all components but counting (pixel size, edges), which no image shrinks.
    factor: k; None: Student's, so that k · u covers 95 % also with few images.
    """
    if not (np.isfinite(target) and target > 0):
        raise UserError(f"a target of {target:g}: give a relative uncertainty above 0, such as 0.05 for 5 %")
    if not (np.isfinite(others) and others >= 0):
        raise UserError(f"other components of {others:g}: give their relative standard uncertainty, 0 or more")
    floor = (student(np.inf, 0.95) if factor is None else factor) * others
    found = Enough(estimate.quantity, target, None, None, floor, estimate.images)
    if reason := _unusable(estimate):
        return replace(found, reason=reason)
    counting = _relative(estimate)
    reached = _reached(estimate, counting, estimate.images, others, factor)
    found = replace(found, relative=reached, met=reached <= target)
    if floor >= target:
        return replace(
            found,
            reason=f"no number of images reaches ± {100 * target:.3g} %: what does not shrink with them is "
            f"± {100 * floor:.2g} % already",
        )
    if estimate.images < FEWEST_TO_PLAN and not found.met:
        return replace(
            found, reason=f"{estimate.images} images say too little of how images differ to plan by: take "
            f"{FEWEST_TO_PLAN - estimate.images} more and ask again"
        )  # fmt: skip
    return _planned(found, estimate, counting, others, factor)


def predicted(estimate: Estimate, images: Sequence[int], particles_per_image: float | None = None) -> list[Prediction]:
    """How counting's part shrinks with the number of images (each 3 or more), at a number of particles in each (as
    now).
    """
    if reason := _unusable(estimate):
        raise UserError(f"no prediction for {estimate.quantity}: {reason}")
    parts = estimate.components
    assert parts is not None or estimate.standard_uncertainty == 0
    now = estimate.particles / estimate.images
    per_image = now if particles_per_image is None else particles_per_image
    if not per_image > 0 or min(images, default=3) < 3:
        raise UserError(f"{min(images, default=3)} images with {per_image:g} particles each: give at least 3, and 1")
    change = 1.0
    if parts is not None and parts.between + parts.within > 0:
        change = (parts.between + parts.within / per_image) / (parts.between + parts.within / now)
    rows = []
    for count in images:
        standard = _relative(estimate) * np.sqrt(change * estimate.images / count)
        reach = student(_degrees(estimate, count), 0.95) * standard
        rows.append(Prediction(count, round(count * per_image), float(standard), float(2 * standard), float(reach)))
    return rows


def _unusable(estimate: Estimate) -> str | None:
    if estimate.standard_uncertainty is None:
        return f"there is no uncertainty to start from: {estimate.reason}"
    if not estimate.value > 0:
        return f"a figure of {estimate.value:g} has no relative uncertainty"
    return None


def _relative(estimate: Estimate) -> float:
    return (estimate.standard_uncertainty or 0.0) / estimate.value


def _degrees(estimate: Estimate, images: int) -> float:
    """Degrees of freedom grow as images less one do, images like these."""
    return (estimate.degrees or np.inf) * (images - 1) / (estimate.images - 1)


def _reached(estimate: Estimate, counting: float, images: int, others: float, factor: float | None) -> float:
    variance = counting**2 * estimate.images / images
    total = variance + others**2
    # Welch and Satterthwaite: the others are known
    effective = _degrees(estimate, images) * (total / variance) ** 2 if variance > 0 else np.inf
    return float((student(effective, 0.95) if factor is None else factor) * np.sqrt(total))


def _planned(found: Enough, estimate: Estimate, counting: float, others: float, factor: float | None) -> Enough:
    degrees = estimate.degrees or np.inf
    ends = [1.0, 1.0]
    if np.isfinite(degrees):
        # χ² of the variance that was estimated: what the true one may be, as a ratio of u
        ends = [float(np.sqrt(degrees / special.chdtri(degrees, tail))) for tail in (0.025, 0.975)]
    wanted = [_images_for(estimate, counting * end, found.target, others, factor) for end in (1.0, *ends)]
    needed, low, high = wanted
    if needed is None:
        return replace(found, reason=f"it takes more than {MOST:,} images")
    return replace(found, images_needed=needed, images_low=low, images_high=high)


def _images_for(estimate: Estimate, counting: float, target: float, others: float, factor: float | None) -> int | None:
    """Smallest number of images, 3 or more, that reaches the target: bisection, as more never reach less."""
    low, high = 2, MOST
    if _reached(estimate, counting, high, others, factor) > target:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        reached = _reached(estimate, counting, middle, others, factor) <= target
        low, high = (low, middle) if reached else (middle, high)
    return high

"""Imaging step of a lens that is not round."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.ranges import SHARE, Range, check, uniform

LEAST_PX = 0.5
"""A Gaussian that is narrower falls between the pixels, and would weigh them by chance."""


@dataclass(frozen=True)
class Astigmatism:
    """Two defoci at a right angle: edges of one direction are blurred and rimmed otherwise than those of the other.

    The image is blurred along one axis alone (``blur_px``), and the difference of blurring along it and across it is
    added with weight ``fringe``: edges get a bright rim in one direction and a dark one in the other, as between
    the two line foci. (Two-fold astigmatism adds cos 2(φ − φ₀) to the defocus: Williams & Carter, Transmission
    Electron Microscopy, 2nd ed., sections 6.5 and 28.) Film grain before this step is drawn out as well.
    """

    probability: float
    """Share 0-1 of the micrographs."""
    blur_px: Range
    """Standard deviation of the blur along the axis."""
    fringe: Range
    """Weight of the rims."""
    fringe_px: Range
    """Width of the rims: standard deviation of the two blurs whose difference they are."""

    def __post_init__(self) -> None:
        ranges: dict[str, Range] = {"blur_px": (0.0, 8.0), "fringe": (0.0, 2.0), "fringe_px": (0.1, 8.0)}
        check(self, ranges, {"probability": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        angle = rng.uniform(0.0, np.pi)
        blur_px, fringe, fringe_px = (uniform(rng, r) for r in (self.blur_px, self.fringe, self.fringe_px))
        kernel = line_blur(angle, blur_px, max(blur_px, fringe_px))
        along, across = (line_blur(turn, fringe_px, max(blur_px, fringe_px)) for turn in (angle, angle + np.pi / 2))
        kernel += np.float32(fringe) * (across - along)
        seen = cv2.filter2D(exposure.pixels, -1, kernel, borderType=cv2.BORDER_REFLECT)
        exposure.pixels = np.maximum(seen, np.float32(0.0))


def line_blur(angle: float, sigma_px: float, reach_px: float) -> NDArray[np.float32]:
    """Kernel (K, K) float32, sum 1: Gaussian of standard deviation sigma_px along one direction, LEAST_PX across it.

    angle in rad, counter-clockwise as displayed from the x axis. K covers 2.5 × reach_px on either side.
    """
    half = max(2, int(np.ceil(2.5 * reach_px)))
    axis = np.arange(-half, half + 1)
    along = axis[None, :] * np.cos(angle) - axis[:, None] * np.sin(angle)
    across = axis[None, :] * np.sin(angle) + axis[:, None] * np.cos(angle)
    kernel = np.exp(-0.5 * np.square(along / max(sigma_px, LEAST_PX)) - 0.5 * np.square(across / LEAST_PX))
    return np.asarray(kernel / kernel.sum(), np.float32)

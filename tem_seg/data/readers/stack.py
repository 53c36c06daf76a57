"""What every format reader yields: the frames of one open file, read one at a time, and their calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from tem_seg.core.units import to_nm

NO_UNIT = frozenset({"", "px", "pixel", "pixels", "<undefined>", "none", "dimensionless", "reference frame"})


class Calibration(NamedTuple):
    """Distance between pixel centres along x and y, nm, and where it was read."""

    x_nm: float
    y_nm: float
    source: str


@dataclass(frozen=True, slots=True)
class Stack:
    """The frames of one open file, valid while the file is open.

    pixels(i) → (H, W) or (H, W, S = 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA), any dtype, 0 <= i < frames.
    shape(i) → (H, W) as the file claims it, before anything is allocated.
    calibration(i) → None where the file has none; may raise UserError (unit that is no length).
    names: one name a frame where the file has names ("HAADF", "BF"), else empty.
    """

    frames: int
    pixels: Callable[[int], NDArray[Any]]
    shape: Callable[[int], tuple[int, int]]
    calibration: Callable[[int], Calibration | None]
    names: tuple[str, ...] = ()


def calibration_of(
    x: float | None, y: float | None, unit_x: str | None, unit_y: str | None, source: str
) -> Calibration | None:
    """Pixel sizes as a file states them → Calibration; None where one is missing, in pixels, or no positive number."""
    if x is None or y is None or not (0 < x < math.inf and 0 < y < math.inf):
        return None
    if {str(unit or "").strip().lower() for unit in (unit_x, unit_y)} & NO_UNIT:
        return None
    return Calibration(to_nm(float(x), str(unit_x)), to_nm(float(y), str(unit_y)), source)

"""What the person at a scanning microscope sets: black level and gain of the amplifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.ranges import Range, check, uniform


@dataclass(frozen=True)
class BrightnessAndContrast:
    """Puts grey levels 0 and 255 elsewhere. Comes after ToGreyLevels, before bars and labels."""

    black: Range
    """Grey level that 0 becomes; below 0 clips shadows."""
    white: Range
    """Grey level that 255 becomes; above 255 saturates the brightest."""

    def __post_init__(self) -> None:
        check(self, {"black": (-200.0, 127.0), "white": (128.0, 500.0)})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        black, white = uniform(rng, self.black), uniform(rng, self.white)
        exposure.pixels *= np.float32((white - black) / 255.0)
        exposure.pixels += np.float32(black)
        np.clip(np.rint(exposure.pixels, out=exposure.pixels), 0.0, 255.0, out=exposure.pixels)

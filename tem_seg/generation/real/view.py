"""A window of a real image, magnified, mirrored and turned to fill another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.generation.real.paste import Pose

QUARTERS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


@dataclass(frozen=True, slots=True)
class View:
    """A window of a source, magnified, mirrored and turned to fill an image of (H, W) px.

    x0, y0, width, height: of the window, in the source, px. quarters: counter-clockwise turns, after mirroring left and
    right.
    """

    x0: int
    y0: int
    width: int
    height: int
    mirrored: bool
    quarters: int
    image_size: tuple[int, int]

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) px before turning."""
        return self.image_size if self.quarters % 2 == 0 else (self.image_size[1], self.image_size[0])

    @property
    def magnification(self) -> float:
        """Output px per source px."""
        return math.sqrt(self.upright[0] * self.upright[1] / (self.height * self.width))

    def of(self, field: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """field (h, w) of the source → (H, W); in ``out``, if given."""
        part = field[self.y0 : self.y0 + self.height, self.x0 : self.x0 + self.width]
        turned = cv2.flip(part, 1) if self.mirrored else part
        if self.quarters:
            turned = cv2.rotate(turned, QUARTERS[self.quarters - 1])
        method = cv2.INTER_AREA if self.magnification < 1.0 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(turned, self.image_size[::-1], dst=out, interpolation=method), np.float32)

    def pose_of(self, x: float, y: float) -> Pose:
        """Pose of something that lies at (x, y) px in the source."""
        height, width = self.upright
        x, y = (x - self.x0) * width / self.width, (y - self.y0) * height / self.height
        x = width - x if self.mirrored else x
        for _ in range(self.quarters % 4):
            x, y, width, height = y, width - x, height, width
        return Pose(x, y, self.magnification, -0.5 * math.pi * self.quarters, self.mirrored)

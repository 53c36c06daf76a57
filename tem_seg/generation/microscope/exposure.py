"""A micrograph in the making, and the interfaces of what makes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Scene
from tem_seg.generation.microscope.warp import Warp

Box = tuple[int, int, int, int]


@dataclass(slots=True)
class Exposure:
    """A micrograph in the making. pixels (H, W) float32; hidden (H, W) bool: covered by an opaque bar or label.

    pixel_size_nm: None where the picture has no calibration. frame_rng: in a video, what differs from frame to frame
    is drawn from it, while the ``rng`` that steps get repeats itself (the microscope's settings stay); None in a still.
    sampled (H, W) bool: which pixels the beam visited; None: all. warp: where content went that steps have moved;
    None: it lies where it was. occupied: boxes x0, y0, x1, y1 px (half-open) that bars and labels have taken.
    """

    pixels: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    pixel_size_nm: float | None
    frame_rng: np.random.Generator | None = None
    sampled: NDArray[np.bool_] | None = None
    warp: Warp | None = None
    occupied: list[Box] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) px."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def moved(self, warp: Warp) -> None:
        """Notes that content has been moved; the pixels are the caller's business."""
        self.warp = warp if self.warp is None else self.warp.then(warp)

    def is_free(self, box: Box) -> bool:
        """Whether no bar or label has taken any part of the box."""
        x0, y0, x1, y1 = box
        return not any(x0 < right and left < x1 and y0 < low and up < y1 for left, up, right, low in self.occupied)


class Contrast(Protocol):
    """How a scene becomes intensity."""

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """Relative intensity (H, W) float32 >= 0 of a noise-free, sharp image."""


class Step(Protocol):
    """One thing that happens to the image on its way."""

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        """Changes exposure in place.

        Settings, and what stays the same over a video (film, dirt, labels), are drawn from rng; what is new in
        each frame (noise, jitter) from ``exposure.frame_rng or rng``.
        """

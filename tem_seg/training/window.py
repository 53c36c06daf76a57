"""Which part of a micrograph a training crop shows, and how it is laid into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a micrograph and how it is laid into the training crop.

    x0, y0, width, height: source px, inside the micrograph. out_width, out_height: px of the crop before turning.
    turn_deg: by any angle, counter-clockwise, about the window's centre, before the rest; what comes from beyond the
    micrograph is unknown. quarter_turns: counter-clockwise, after mirror (left-right).
    """

    x0: int
    y0: int
    width: int
    height: int
    out_width: int
    out_height: int
    mirror: bool
    quarter_turns: int
    turn_deg: float = 0.0

    @property
    def scales(self) -> tuple[float, float]:
        """Magnification along x and y of the micrograph."""
        return self.out_width / self.width, self.out_height / self.height

    def orient(self, array: NDArray[Any]) -> NDArray[Any]:
        """Mirrors and turns an array (out_height, out_width)."""
        return np.ascontiguousarray(np.rot90(array[:, ::-1] if self.mirror else array, self.quarter_turns))

    def orient_corner(self, x: int, y: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Top-left corner that a patch (h, w) at (x, y) has after mirroring and turning the whole."""
        (h, w), height, width = shape, self.out_height, self.out_width
        if self.mirror:
            x = width - x - w
        for _ in range(self.quarter_turns):
            x, y, w, h, width, height = y, width - x - w, h, w, height, width
        return x, y

    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): points (x, y, 1) of the micrograph, px between pixels, → points of the crop before orienting."""
        (scale_x, scale_y), turn = self.scales, np.deg2rad(self.turn_deg)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])  # y points down
        linear = rotation @ np.diag([scale_x, scale_y])
        centre = np.array([self.x0 + self.width / 2, self.y0 + self.height / 2])
        shift = np.array([self.out_width, self.out_height]) / 2 - linear @ centre
        return np.column_stack([linear, shift])

    def orient_points(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 2) x, y px of the crop before orienting → after mirroring and quarter turns."""
        x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
        width, height = self.out_width, self.out_height
        if self.mirror:
            x = width - x
        for _ in range(self.quarter_turns):
            x, y, width, height = y, width - x, height, width
        return np.stack([x, y], axis=-1)

    def place(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 2) x, y px of the micrograph → of the finished crop, also beyond its edges."""
        matrix = self.matrix()
        return self.orient_points(points @ matrix[:, :2].T + matrix[:, 2])

    def reach(self) -> tuple[int, int, int, int]:
        """x, y, width, height px of the upright part of the micrograph's plane that the crop may show."""
        if not self.turn_deg:
            return self.x0, self.y0, self.width, self.height
        matrix = self.matrix()
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * [self.out_width, self.out_height]
        seen = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        (x1, y1), (x2, y2) = np.floor(seen.min(axis=0)).astype(int), np.ceil(seen.max(axis=0)).astype(int)
        return int(x1), int(y1), int(x2 - x1), int(y2 - y1)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) px of the finished crop."""
        sides = (self.out_height, self.out_width)
        return sides[::-1] if self.quarter_turns % 2 else sides

"""Particles drawn for the tests of models of every pixel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tem_seg.models.contract import Target


def disc(size: tuple[int, int], x: float, y: float, radius: float) -> NDArray[np.uint8]:
    """A disc whose centre is the point (x, y) px, on a frame (H, W)."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)


def target_of(masks: list[NDArray[np.uint8]], labels: list[int] | None = None, size: int = 64) -> Target:
    """The target of these masks."""
    stack = np.stack(masks) if masks else np.zeros((0, size, size), np.uint8)
    boxes = [[np.nonzero(m.any(0))[0][0], np.nonzero(m.any(1))[0][0],
              np.nonzero(m.any(0))[0][-1] + 1, np.nonzero(m.any(1))[0][-1] + 1] for m in stack]  # fmt: skip
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [0] * len(masks), dtype=torch.int64),
        "masks": torch.from_numpy(stack),
    }


def ellipses(rng: np.random.Generator, count: int, size: int, low: float, high: float) -> NDArray[np.int32]:
    """A label image (size, size) of ellipses with half axes low … high px; later ones lie on top."""
    labels = np.zeros((size, size), np.int32)
    rows, columns = np.mgrid[:size, :size]
    for index in range(count):
        (x, y), (a, b), turn = rng.uniform(0, size, 2), rng.uniform(low, high, 2), rng.uniform(0, np.pi)
        along = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        across = -(columns - x) * np.sin(turn) + (rows - y) * np.cos(turn)
        labels[(along / a) ** 2 + (across / b) ** 2 < 1] = index + 1
    return labels

"""Particles of every awkward kind, for all formats."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tem_seg.data import rle
from tem_seg.data.formats.model import Annotated

SIZE = (90, 120)


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def particles() -> list[np.ndarray]:
    """A disc, a rod, a ring, one in two parts, one cut by the border, one pixel, an island in a ring's hole."""
    rod = np.zeros(SIZE, np.uint8)
    cv2.ellipse(rod, ((70.0, 30.0), (8.0, 40.0), 35.0), 1, -1)
    ring = disc(30, 60, 14) & ~disc(30, 60, 6)
    parts = disc(80, 70, 7) | disc(100, 75, 5)
    pixel = np.zeros(SIZE, bool)
    pixel[5, 5] = True
    return [disc(25, 22, 9), rod.astype(bool), ring, parts, disc(119, 10, 9), pixel, disc(30, 60, 3)]


@pytest.fixture
def apart() -> Annotated:
    """Particles that do not overlap, all with a class, two with a score, and a pixel size."""
    masks = [rle.encode(mask) for mask in particles()]
    kinds = ["särön", "rod", "ring", "particle", "particle", "particle", "particle"]
    return Annotated("probe é.tif", SIZE, masks, kinds, [0.5, None, 0.987654321, None, None, None, None], 0.4375, "x")


@pytest.fixture
def overlapping() -> Annotated:
    """Two discs that share pixels, and one that lies wholly under another."""
    masks = [rle.encode(disc(40, 40, 15)), rle.encode(disc(52, 40, 15)), rle.encode(disc(90, 40, 4)),
             rle.encode(disc(90, 40, 8))]  # fmt: skip
    return Annotated("b.tif", SIZE, masks, ["particle"] * 4, [None] * 4)

"""A small annotated dataset of discs on grainy film, as a reader: what recipes that take real material are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tem_seg.core.types import Instances
from tem_seg.data.rle import encode

FILM, PARTICLE = 170.0, 60.0


class Discs:
    """Keeps data.readers.protocol.Reader: ``count`` images of dark discs, written to root."""

    categories: tuple[str, ...] = ("particle",)
    splits: tuple[str, ...] = ("train", "test")

    def __init__(self, root: Path, count: int = 4, size: tuple[int, int] = (120, 160), radius: int = 12) -> None:
        self.root, self.count, self.size, self.radius = root, count, size, radius
        for index in range(count):
            cv2.imwrite(str(self._path(index)), self.pixels(index))

    def _path(self, index: int) -> Path:
        return self.root / f"{index}.png"

    def centres(self, index: int) -> list[tuple[int, int]]:
        return [(30 + 4 * index, 40), (110, 60 + 5 * index)]

    def mask(self, centre: tuple[int, int]) -> np.ndarray:
        y, x = np.mgrid[: self.size[0], : self.size[1]]
        return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= self.radius**2

    def pixels(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        found = np.full(self.size, FILM)
        for centre in self.centres(index):
            found[self.mask(centre)] = PARTICLE
        return np.clip(found + rng.normal(0, 5, self.size), 0, 255).astype(np.uint8)

    def identity(self) -> dict[str, Any]:
        return {"discs": self.count, "size": list(self.size)}

    def read(self, split: str) -> Iterator[tuple[dict[str, Any], Instances]]:
        for index in range(self.count):
            masks = [encode(self.mask(centre)) for centre in self.centres(index)]
            entry = {"file_name": str(self._path(index)), "height": self.size[0], "width": self.size[1],
                     "group_id": f"paper-{index}", "modality": "bright_field"}  # fmt: skip
            yield entry, Instances(self.size, np.zeros(len(masks), np.int64), masks)

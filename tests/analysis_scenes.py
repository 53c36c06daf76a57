"""Micrographs of bright discs of known size, and a model that finds them: what analyses are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from torch import Tensor, nn

from tem_seg.analysis.segment import Segmenter
from tem_seg.core.types import Prediction
from tem_seg.data.rle import encode
from tem_seg.inference.predict import Predictor
from tem_seg.models.contract import SegmentationModel

DIAMETERS = tuple(np.linspace(16, 28, 16))
"""Px."""


class Bright(SegmentationModel):
    """Particles are what is brighter than half; masks alone. looked: how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.looked = 0

    def losses(self, images: list[Tensor], targets: list) -> dict[str, Tensor]:  # type: ignore[type-arg]
        raise NotImplementedError

    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        self.looked += 1
        bright = (images[0][0].numpy() > 0.5).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(bright)
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in stats[1:]], np.float32).reshape(-1, 4)
        masks = [encode((labels == k).astype(np.uint8)) for k in range(1, count)]
        return [Prediction(boxes, np.zeros(count - 1, np.int64), np.full(count - 1, 0.9, np.float32), masks)]


def segmenter(model: SegmentationModel | None = None) -> Segmenter:
    """Of a model (Bright), whatever cap it is asked to have."""
    whole = (model or Bright()).eval()
    return Segmenter(lambda _: whole, Predictor(), ["particle"], {}, 0.5, "as in this test", {"sha256": "bright"})


def micrograph(
    path: Path, diameters: Sequence[float], *, size: int = 200, pixel_size_nm: float | None = None, frames: int = 1
) -> Path:
    """Discs of these diameters, px, in a grid; an ImageJ TIFF."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    picture = np.random.default_rng(len(diameters)).normal(200, 3, (size, size))
    cells = size // 40
    for k, diameter in enumerate(diameters):
        x, y = 20 + 40 * (k % cells), 20 + 40 * (k // cells)
        picture[(columns - x) ** 2 + (rows - y) ** 2 <= diameter**2 / 4] = 900
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = {} if pixel_size_nm is None else {"resolution": (1 / pixel_size_nm,) * 2, "metadata": {"unit": "nm"}}
    values = picture.astype(np.uint16)
    tifffile.imwrite(path, values if frames == 1 else np.stack([values] * frames), imagej=True, **scale)  # type: ignore[arg-type]
    return path


def five(folder: Path) -> Path:
    """Micrographs that differ a little."""
    for k in range(5):
        micrograph(folder / f"{k}.tif", [d + 0.2 * k for d in DIAMETERS], pixel_size_nm=0.5)
    return folder

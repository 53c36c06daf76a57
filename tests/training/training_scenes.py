"""A small dataset on disk and a model of milliseconds, for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tem_seg.core.types import Prediction, Rle
from tem_seg.data import coco, rle
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import write_png
from tem_seg.models.contract import SegmentationModel, Target


def disc_mask(x: float, y: float, radius: float, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels whose centre lies in the disc."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    found: NDArray[np.bool_] = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return found


def disc(x: float, y: float, radius: float, size: tuple[int, int]) -> Rle:
    return rle.encode(disc_mask(x, y, radius, size))


def write_discs(folder: Path, counts: list[int], size: tuple[int, int] = (90, 120), seed: int = 0) -> CocoDataset:
    """A dataset on disk: for each count a noisy micrograph with so many dark discs, of two classes in turn."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for index, count in enumerate(counts):
        pixels = rng.normal(170, 12, size)
        for number in range(count):
            x, y, radius = rng.uniform(0, size[1]), rng.uniform(0, size[0]), rng.uniform(4, 14)
            left, top, side = int(x - radius) - 1, int(y - radius) - 1, int(2 * radius) + 4
            segmentation = rle.encode_crop(disc_mask(x - left, y - top, radius, (side, side)), left, top, size)
            crop, x0, y0 = rle.decode_crop(segmentation)
            pixels[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]][crop] -= 90
            annotations.append(coco.annotation_of(segmentation, index + 1, 1 + number % 2, len(annotations) + 1))
        write_png(folder / f"{index}.png", np.clip(pixels, 0, 255).astype(np.uint8))
        images.append({"id": index + 1, "file_name": f"{index}.png", "height": size[0], "width": size[1]})
    coco.write(folder / "dataset.json", images, annotations, ["rod", "cube"])
    return coco.read(folder / "dataset.json")


class TinyModel(SegmentationModel):
    """Guesses how many particles a crop holds. Has what may go wrong on resuming: batch norm, dropout, random noise."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        self.guess = nn.Linear(4, 1)

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        guess = self.guess(self.features(torch.stack(images)).mean(dim=(2, 3)))[:, 0]
        truth = torch.tensor([len(target["boxes"]) / 10 for target in targets])
        return {"loss_count": (guess - truth).square().mean(), "loss_noise": (guess * torch.rand(())).square().mean()}

    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        return [
            Prediction(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), []) for _ in images
        ]


def equal_states(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    """Neither an Exception nor an interrupt: nothing in the loop may tidy up after it, as with kill -9."""


class KillAt(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        if trainer.global_step == self.step:
            raise Killed

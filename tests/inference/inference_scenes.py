"""Models whose answers are known, and squares and discs to be found by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label, regionprops
from torch import Tensor, nn

from tem_seg.core.types import Prediction, Rle
from tem_seg.data import rle
from tem_seg.models.contract import SegmentationModel, Target

SIZE = (80, 100)
GREY = np.full(SIZE, 0.5, np.float32)


def square(x: int, y: int, side: int, size: tuple[int, int] = SIZE) -> Rle:
    return rle.encode_crop(np.ones((side, side), bool), x, y, size)


def found(
    *rows: tuple[int, int, int, float, int], masks: bool = True, capped: bool = False, size: tuple[int, int] = SIZE
) -> Prediction:
    """rows: x, y, side, score, label of a square."""
    return Prediction(
        boxes=np.array([(x, y, x + s, y + s) for x, y, s, _, _ in rows], np.float32).reshape(-1, 4),
        labels=np.array([row[4] for row in rows], np.int64),
        scores=np.array([row[3] for row in rows], np.float32),
        masks=[square(x, y, s, size) for x, y, s, _, _ in rows] if masks else None,
        capped=capped,
    )


NOTHING = found()


def ids(prediction: Prediction) -> list[tuple[float, int]]:
    return [(round(float(s), 2), int(label)) for s, label in zip(prediction.scores, prediction.labels, strict=True)]


class Scripted(SegmentationModel):
    """Answers as told, and remembers what it was shown."""

    def __init__(self, answer: Callable[[Tensor], Prediction], size: tuple[int, int] | None = SIZE) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answer, self.size, self.shown = answer, size, []
        self.eval()

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        raise NotImplementedError

    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        assert len(images) == 1 and frames is not None and (self.size is None or frames == [self.size])
        self.shown.append(images[0])
        return [self.answer(images[0])]


def always(prediction: Prediction) -> Scripted:
    return Scripted(lambda image: prediction)


# --------------------------------------------------------------------------------------- particles by their grey


def painted(shapes: Sequence[NDArray[np.bool_]], size: tuple[int, int]) -> NDArray[np.float32]:
    """Masks (H, W) → an image in which particle k has a grey of its own, so that touching ones can be told apart."""
    image = np.zeros(size, np.float32)
    for number, shape in enumerate(shapes):
        image[shape] = (number + 1) / 1024
    return image


def disc(x: float, y: float, radius: float, size: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return np.asarray(np.hypot(columns - x, rows - y) < radius)


def seer(masks: bool = True, cap: int = 10_000) -> Scripted:
    """Finds every grey of :func:`painted` in what it is shown, exactly, cut where the view ends.

    Equivariant: it does not know where, or how turned, it looks. Scores follow the pixels that it sees: the more of a
    particle, the higher.
    """

    def answer(image: Tensor) -> Prediction:
        levels = np.rint(image[0].numpy() * 1024).astype(int)
        parts = regionprops(levels)
        boxes = np.array([[*part.bbox[1::-1], *part.bbox[:1:-1]] for part in parts], np.float32).reshape(-1, 4)
        corners = boxes[:, :2].astype(np.int64)
        size = (levels.shape[0], levels.shape[1])
        scores = np.array([1 - 1 / (2 + part.area) for part in parts], np.float32)
        found = Prediction(
            boxes=boxes,
            labels=np.zeros(len(parts), np.int64),
            scores=scores,
            masks=rle.encode_crops([p.image for p in parts], corners[:, 0], corners[:, 1], size) if masks else None,
            capped=len(parts) >= cap,
        )
        order = np.argsort(-scores, kind="stable")[:cap]
        return Prediction(
            found.boxes[order], found.labels[order], found.scores[order],
            None if found.masks is None else [found.masks[i] for i in order], capped=found.capped,
        )  # fmt: skip

    return Scripted(answer, size=None)


def blobs(image: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Connected bright regions, as masks."""
    regions = label(image > 0)
    return [regions == k for k in range(1, regions.max() + 1)]


def mask_set(prediction: Prediction) -> set[str]:
    """The masks, whatever their order."""
    assert prediction.masks is not None
    return {mask["counts"] for mask in prediction.masks}


def box_set(prediction: Prediction) -> set[tuple[float, ...]]:
    return {tuple(box) for box in prediction.boxes.tolist()}

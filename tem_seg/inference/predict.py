"""A model and a micrograph → one Prediction in the micrograph's frame, at one or several magnifications."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tem_seg.core.types import Prediction
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import HEADROOM, normalise, read_micrograph
from tem_seg.data.results import capped_flags, to_results
from tem_seg.inference import scales
from tem_seg.inference.instances import keep, turned_back
from tem_seg.inference.merging import agreed, merge
from tem_seg.inference.tiling import joined, tiles
from tem_seg.models.contract import SegmentationModel

SMALLEST_SIDE_PX = 32
"""A micrograph is never shrunk below this side: the pyramid's coarsest level needs it."""
VIEWS: Mapping[str, tuple[tuple[int, bool], ...]] = {
    "none": ((0, False),),
    "flip": ((0, False), (0, True)),
    "dihedral": tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4)),
}
"""How a micrograph is shown: quarter turns counter-clockwise, after mirroring left–right or not."""


See = Callable[[NDArray[np.float32]], Prediction]
"""Pixels (H, W), normalised with all headroom that a model may want → what is seen in them."""
CONFIDENT = 0.5
"""The score from which a particle counts where no other one is known."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """How a micrograph is looked at.

    scales: magnifications; of what overlaps with a mask IoU of ``merge_iou`` within a class, at one magnification or
    at two, the higher score wins. finest: where what is found is small, looks follow that are twice as fine each, of up
    to this magnification (``scales.asks_for_finer``); None: none. find_scale: one magnification, which follows from the
    particles of the micrograph; ``scales`` and ``finest`` are not used then. min_score: what is below is dropped.
    tile_px: a micrograph that is larger, at a magnification, is looked at in tiles of that size, which overlap by
    ``overlap_px`` (both in px as shown); None: never. augment: "none", "flip" (also mirrored) or "dihedral" (mirrored
    and turned by quarters, eight looks); scores are averaged over those that agree. max_instances: the most particles
    of a micrograph. tile_instances: the model's own cap, of what it is shown, where it is another (to be reported).
    precision: torch dtype of the network's arithmetic on this device.
    """

    scales: tuple[float, ...] = (1.0,)
    finest: float | None = None
    merge_iou: float = 0.5
    find_scale: bool = False
    min_score: float = 0.05
    max_instances: int = 1000
    precision: torch.dtype = torch.float32
    tile_px: int | None = None
    overlap_px: int = 256
    tile_instances: int | None = None
    augment: str = "none"

    @property
    def magnifications_and_views(self) -> dict[str, Any]:
        """What a calibration of scores and edges holds for, as JSON."""
        finest = {} if self.finest is None else {"finest": self.finest}
        return {"scales": None if self.find_scale else list(self.scales), **finest, "augment": self.augment}

    @torch.inference_mode()
    def __call__(self, model: SegmentationModel, pixels: NDArray[np.floating]) -> Prediction:
        """pixels (H, W), normalised with at least the model's headroom → Prediction."""
        image = np.ascontiguousarray(pixels, np.float32).clip(-model.headroom, 1 + model.headroom)
        if self.find_scale:
            size = (image.shape[0], image.shape[1])
            return self._together([scales.found(size, lambda scale: self._look(model, image, scale))])
        looks = [self._look(model, image, scale) for scale in self.scales]
        found, finer = self._together(looks), 2 * max(self.scales)
        while finer <= (self.finest or 0) and scales.asks_for_finer(found, finer / 2):
            looks.append(self._look(model, image, finer))
            found, finer = self._together(looks), 2 * finer
        return found

    def _together(self, looks: list[Prediction]) -> Prediction:
        return merge(looks, self.merge_iou, self.max_instances)

    def _look(self, model: SegmentationModel, image: NDArray[np.float32], scale: float) -> Prediction:
        """One magnification, mirrored and turned as asked for."""
        size = (image.shape[0], image.shape[1])
        looks = []
        for turns, mirrored in VIEWS[self.augment]:
            shown = np.rot90(image[:, ::-1] if mirrored else image, turns)
            looks.append(turned_back(self._scan(model, shown, scale), turns, mirrored, size))
        return agreed(looks, self.merge_iou) if len(looks) > 1 else looks[0]

    def _scan(self, model: SegmentationModel, image: NDArray[np.float32], scale: float) -> Prediction:
        """The whole micrograph in one piece, or tile by tile."""
        size = (image.shape[0], image.shape[1])
        if self.tile_px is None:
            return self._see(model, image, scale)
        windows = tiles(size, self.tile_px, self.overlap_px, scale)
        if len(windows) == 1:
            return self._see(model, image, scale)
        found = [self._see(model, image[y0:y1, x0:x1], scale) for x0, y0, x1, y1 in windows.tolist()]
        return joined(found, windows, size, self.merge_iou, scale)

    def _see(self, model: SegmentationModel, image: NDArray[np.float32], scale: float) -> Prediction:
        """What the model finds of at least ``min_score``, in the frame of ``image``."""
        frame = (image.shape[0], image.shape[1])
        with torch.autocast(model.device.type, self.precision, enabled=self.precision != torch.float32):
            found = model([_rescaled(np.ascontiguousarray(image), scale).to(model.device)], frames=[frame])
        return keep(found[0], found[0].scores >= self.min_score)  # type: ignore[index, union-attr]


def _rescaled(image: NDArray[np.float32], scale: float) -> Tensor:
    height, width = (max(SMALLEST_SIDE_PX, round(side * scale)) for side in image.shape)
    if (height, width) != image.shape:
        shrinks = scale < 1
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return torch.from_numpy(resized)[None]
    return torch.from_numpy(image)[None]


def _within(prediction: Prediction, classes: int) -> Prediction:
    """Labels that the dataset has; a model of more classes (class-agnostic evaluation) calls the others class 0."""
    labels = np.where(prediction.labels < classes, prediction.labels, 0)
    return dataclasses.replace(prediction, labels=labels)


def cap_cost(found: Prediction, more: Prediction, score: float) -> bool:
    """Whether a look with a larger cap (more) holds more particles of at least a score than one that reached its own.

    Proposals are capped before the heads judge them: what was dropped may be the parts and repetitions of particles
    that were found.
    """
    return int((more.scores >= score).sum()) > int((found.scores >= score).sum())


def confirmed(see: Callable[[int], See], score: float, pixels: NDArray[np.float32]) -> Prediction:
    """What is seen, ``capped`` only where twice as many would show more of at least a score. see: of a factor to all
    caps."""
    found = see(1)(pixels)
    if found.capped and not cap_cost(found, see(2)(pixels), score):
        return dataclasses.replace(found, capped=False)
    return found


@dataclass(frozen=True, slots=True)
class Predicted:
    """What became of one micrograph: COCO results, whether a cap was reached, and the seconds it took."""

    image_id: int
    rows: list[dict[str, Any]]
    capped: bool
    seconds: float


def predict_images(model: SegmentationModel, dataset: CocoDataset, predictor: Predictor) -> Iterator[Predicted]:
    """Predicts a dataset with a model, one micrograph at a time: nothing of the ones before is held."""
    return images_seen(partial(predictor, model.eval()), dataset)


def images_seen(see: See, dataset: CocoDataset) -> Iterator[Predicted]:
    """As :func:`predict_images`, with whatever makes a Prediction of a micrograph's pixels."""
    for image in dataset.images:
        pixels = normalise(read_micrograph(image.path).pixels, HEADROOM)
        start = time.perf_counter()
        prediction = see(pixels)
        seconds = time.perf_counter() - start
        rows = to_results(_within(prediction, len(dataset.category_ids)), image.id, dataset.category_ids)
        yield Predicted(image.id, rows, prediction.capped, seconds)


def prediction_info(
    dataset: CocoDataset, predictor: Predictor, capped_image_ids: list[int], seconds: float
) -> dict[str, Any]:
    """What predictions.json says of predictions of a whole dataset, which took so many seconds."""
    return {
        "dataset": str(dataset.path),
        "image_ids": [image.id for image in dataset.images],
        "categories": dataset.categories,
        "max_instances": predictor.max_instances,
        "tile_instances": predictor.tile_instances,
        "look": predictor.magnifications_and_views,
        "capped_image_ids": capped_image_ids,
        "red_flags": capped_flags(capped_image_ids, predictor.max_instances, predictor.tile_instances),
        "seconds_per_image": seconds / max(1, len(dataset)),
    }


def predict_dataset(
    model: SegmentationModel, dataset: CocoDataset, predictor: Predictor
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Predicts all micrographs of a dataset → (COCO results, info for predictions.json), all in memory."""
    found = list(predict_images(model, dataset, predictor))
    capped = [image.image_id for image in found if image.capped]
    seconds = sum(image.seconds for image in found)
    return [row for image in found for row in image.rows], prediction_info(dataset, predictor, capped, seconds)

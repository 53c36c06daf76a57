"""A label image → a Prediction: one soft mask a region, from the map that says how surely a pixel is a particle's."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tem_seg.core.types import Prediction
from tem_seg.models.postprocess import THRESHOLD, SoftCrops, soft_crops, to_rles, with_masks

RIM_PX = 3
"""The soft edge of a region reaches so far beyond it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Regions:
    """Particles as regions of an image (h, w) as shown, none of which overlap.

    labels (h, w) int32: 0 for ground, else 1 + index. soft (h, w) float32 in [0, 1]: at least one half inside.
    scores (N,) float32 in [0, 1]; classes (N,) int64.
    """

    labels: NDArray[np.int32]
    soft: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]


def to_prediction(
    found: Regions, frame: tuple[int, int], *, min_area_px: float, max_instances: int, edges: bool
) -> Prediction:
    """Regions → Prediction in a frame ``frame`` (H, W) that shows the same at another size, scores descending.

    min_area_px: smaller regions are dropped, px as shown. edges: contours and edge_sd_px are read from the soft map.
    """
    areas = np.bincount(found.labels.ravel(), minlength=len(found.scores) + 1)[1:]
    order = np.argsort(-found.scores, kind="stable")
    order = order[areas[order] >= max(1.0, min_area_px)]
    chosen = order[:max_instances]
    windows = ndimage.find_objects(found.labels)
    height, width = found.labels.shape
    stretch = (frame[1] / width, frame[0] / height)
    places = [_soft(found, index, windows[index]) for index in chosen.tolist()]
    shown = SoftCrops([p[0] for p in places], _integers([p[1] for p in places]), _integers([p[2] for p in places]))
    boxes = [[w[1].start, w[0].start, w[1].stop, w[0].stop] for w in (windows[i] for i in chosen.tolist())]
    prediction = Prediction(
        boxes=(np.array(boxes, np.float64).reshape(-1, 4) * np.tile(stretch, 2)).astype(np.float32),
        labels=found.classes[chosen],
        scores=found.scores[chosen].astype(np.float32),
        capped=len(order) > max_instances,
    )
    in_frame = shown if stretch == (1.0, 1.0) else _resized(shown, stretch, frame)
    if not edges:
        return dataclasses.replace(prediction, masks=to_rles(in_frame, frame))
    return with_masks(prediction, [(torch.arange(len(chosen)), in_frame)], frame)


def _integers(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _soft(found: Regions, index: int, window: tuple[slice, slice]) -> tuple[NDArray[np.float32], int, int]:
    """The region's soft mask and its top-left pixel: its own pixels, and the ground's near it."""
    y0, x0 = (max(0, side.start - RIM_PX) for side in window)
    around = (slice(y0, window[0].stop + RIM_PX), slice(x0, window[1].stop + RIM_PX))
    labels, soft = found.labels[around], found.soft[around]
    own = labels == index + 1
    near = ndimage.binary_dilation(own, iterations=RIM_PX) & (labels == 0) & (soft < THRESHOLD)
    return np.where(own | near, soft, np.float32(0)), x0, y0


def _resized(shown: SoftCrops, stretch: tuple[float, float], frame: tuple[int, int]) -> SoftCrops:
    """Soft masks at the pixels of the frame, as ``soft_crops`` samples them."""
    found = []
    for crop, x0, y0 in zip(shown.crops, shown.x0.tolist(), shown.y0.tolist(), strict=True):
        box = np.array([x0, y0, x0 + crop.shape[1], y0 + crop.shape[0]]) * np.tile(stretch, 2)
        found.append(soft_crops(torch.from_numpy(crop)[None], torch.from_numpy(box)[None], frame))
    x0s, y0s = [int(each.x0[0]) for each in found], [int(each.y0[0]) for each in found]
    return SoftCrops([each.crops[0] for each in found], _integers(x0s), _integers(y0s))

"""The U-Nets' way from pixels to particles: what a pixel is, whether in a core, and a watershed between the cores."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import find_objects, maximum
from skimage.segmentation import relabel_sequential, watershed
from torch import Tensor

from tem_seg.core.types import Prediction
from tem_seg.models.contract import Target
from tem_seg.models.dense.base import DenseModel, Trunk, masks_of
from tem_seg.models.dense.ground import shared_out
from tem_seg.models.postprocess import THRESHOLD
from tem_seg.models.regions import Regions, to_prediction

LEVEL_STEP = 0.1
"""Of core, from one look at whether a seed falls apart to the next."""
LEAST_PART = 0.1
"""Share of a seed's pixels at a level that a part has at least, to be a particle of its own."""
LEAST_PART_PX = 4
"""And pixels."""
CONVEX = 0.9
"""Share of its convex hull that one particle's core fills: those of neighbours that have run together have a neck. A
seed that fills more falls apart for its texture alone."""


def encode(target: Target) -> Target:
    """Target → with maps (2, H, W) float32 in place of masks: 0 for ground or 1 + class; core in [0, 1].

    Core: 0 at the border, 1 from half way to the deepest place on, so that small particles and long ones have one too.
    """
    owner, depth = shared_out(masks_of(target))
    kinds = np.concatenate([[0], target["labels"].cpu().numpy() + 1])[owner]
    maps = torch.from_numpy(np.stack([kinds.astype(np.float32), np.minimum(1, 2 * depth)]))
    return {"boxes": target["boxes"], "labels": target["labels"], "maps": maps}


class WatershedModel(DenseModel):
    """Classes of pixels (softmax with ground) and cores, from one trunk.

    A particle is where pixels are foreground with a probability of at least one half, around a place that is core to
    ``seed_level`` (:func:`seeds_of`): thresholds are absolute, so that an empty micrograph stays empty. Its score is
    its mean foreground probability times the most that a pixel of it is core: slivers between particles are foreground,
    but no core.
    min_area_px: smaller regions are dropped, px as shown.
    """

    def __init__(
        self, trunk: Trunk, *, num_classes: int, seed_level: float, min_area_px: float, max_instances: int
    ) -> None:
        super().__init__(trunk, num_classes + 1)
        self.seed_level, self.min_area_px, self.max_instances = seed_level, min_area_px, max_instances

    def encoder(self) -> Callable[[Target], Target]:
        """As in the base."""
        return encode

    def compare(self, said: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """loss_pixels: cross-entropy of classes; loss_core: binary cross-entropy of cores; loss_overlap: what misses to
        a Dice coefficient of 1, of particles' pixels and of cores, image by image, so that few and small particles
        count as much as many."""
        kinds = torch.cat([torch.zeros_like(said[:, :1]), said[:, :-1]], dim=1)
        inside = 1 - F.softmax(kinds, dim=1)[:, 0]
        return {
            "loss_pixels": F.cross_entropy(kinds, maps[:, 0].long()),
            "loss_core": F.binary_cross_entropy_with_logits(said[:, -1], maps[:, 1]),
            "loss_overlap": _unlike(inside, (maps[:, 0] > 0).float()) + _unlike(torch.sigmoid(said[:, -1]), maps[:, 1]),
        }

    def read(self, said: Tensor, shown: tuple[int, int], frame: tuple[int, int]) -> Prediction:
        """As in the base."""
        shares = F.softmax(torch.cat([torch.zeros_like(said[:1]), said[:-1]]), dim=0)[1:].cpu().numpy()
        found = separated(shares, torch.sigmoid(said[-1]).cpu().numpy(), self.seed_level)
        return to_prediction(found, frame, min_area_px=self.min_area_px, max_instances=self.max_instances, edges=True)


def _unlike(said: Tensor, true: Tensor) -> Tensor:
    """1 - soft Dice coefficient (Milletari et al. 2016, arXiv 1606.04797) of maps (B, h, w) in [0, 1]; mean over B.

    One pixel is added on either side, so that where nothing is, saying nothing is right.
    """
    both, all_ = (said * true).sum(dim=(1, 2)), (said.square() + true.square()).sum(dim=(1, 2))
    return 1 - ((2 * both + 1) / (all_ + 1)).mean()


def separated(classes: NDArray[np.float32], core: NDArray[np.float32], seed_level: float) -> Regions:
    """classes (C, h, w): probability of each class, core (h, w), both in [0, 1] → regions, one a seed."""
    soft = np.asarray(classes.sum(axis=0).clip(0, 1), np.float32)
    inside = soft >= THRESHOLD
    count, seeds = seeds_of(np.where(inside, core, 0), seed_level)
    if count == 1:  # watershed would make seeds of its own
        empty = np.zeros(0)
        return Regions(np.zeros_like(seeds), soft, empty.astype(np.float32), empty.astype(np.int64))
    labels = watershed(-core, seeds, mask=inside).astype(np.int32)
    sums = np.stack([np.bincount(labels.ravel(), each.ravel(), minlength=count)[1:] for each in classes])
    areas = np.bincount(labels.ravel(), minlength=count)[1:]
    deepest = maximum(core, labels, np.arange(1, count))
    scores = (deepest * sums.sum(axis=0) / areas).clip(0, 1)
    return Regions(labels, soft, scores.astype(np.float32), sums.argmax(axis=0))


def seeds_of(core: NDArray[np.float32], seed_level: float) -> tuple[int, NDArray[np.int32]]:
    """core (h, w) in [0, 1] → number of labels with the ground's, and seeds (h, w) int32, one a particle, 0 elsewhere.

    A seed is a connected place that is core to ``seed_level``. Of one that is not convex and at a higher level falls
    into parts, none of them a speck, each part is a seed, and so on up.
    """
    seeds: NDArray[np.int32]
    count, seeds = cv2.connectedComponents((core >= seed_level).view(np.uint8), connectivity=4)  # type: ignore[assignment]
    for level in np.arange(seed_level + LEVEL_STEP, 1 - LEVEL_STEP / 2, LEVEL_STEP):
        number, parts = cv2.connectedComponents(((seeds > 0) & (core >= level)).view(np.uint8), connectivity=4)
        of = np.zeros(number, np.int64)
        of[parts] = seeds
        areas = np.bincount(parts.ravel(), minlength=number)
        of[0] = areas[0] = 0
        large = areas >= np.maximum(LEAST_PART * np.bincount(of, areas, minlength=count)[of], LEAST_PART_PX)
        several = np.flatnonzero(np.bincount(of[large], minlength=count) > 1)
        apart = np.zeros(count, bool)
        apart[several[~_convex(seeds, several)]] = True
        chosen = np.flatnonzero(large & apart[of])
        new = np.zeros(number, np.int32)
        new[chosen] = count + np.arange(len(chosen))
        seeds = np.where(apart[seeds], new[parts], seeds)
        count += len(chosen)
    seeds = relabel_sequential(seeds)[0]
    return int(seeds.max()) + 1, seeds


def _convex(seeds: NDArray[np.int32], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the chosen ones (N,) of seeds (h, w) fill their convex hulls, or nearly."""
    windows = find_objects(seeds) if len(chosen) else []
    found = np.zeros(len(chosen), bool)
    for place, index in enumerate(chosen.tolist()):
        there = (seeds[windows[index - 1]] == index).view(np.uint8)
        corners = cv2.convexHull(cv2.findNonZero(there))
        hull = cv2.contourArea(corners) + cv2.arcLength(corners, True) / 2 + 1  # px are squares about their centres
        found[place] = there.sum() >= CONVEX * hull
    return found

"""The U-Nets' way from pixels to particles: what a pixel is, whether in a core, and a watershed between the cores."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import maximum
from skimage.segmentation import watershed
from torch import Tensor

from tem_seg.core.types import Prediction
from tem_seg.models.contract import Target
from tem_seg.models.dense.base import DenseModel, Trunk, masks_of
from tem_seg.models.dense.ground import shared_out
from tem_seg.models.postprocess import THRESHOLD
from tem_seg.models.regions import Regions, to_prediction


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
    ``seed_level``: thresholds are absolute, so that an empty micrograph stays empty. Its score is its mean foreground
    probability times the most that a pixel of it is core: slivers between particles are foreground, but no core.
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
    count, seeds = cv2.connectedComponents((inside & (core >= seed_level)).view(np.uint8), connectivity=4)
    if count == 1:  # watershed would make seeds of its own
        empty = np.zeros(0)
        return Regions(np.zeros_like(seeds), soft, empty.astype(np.float32), empty.astype(np.int64))
    labels = watershed(-core, seeds, mask=inside).astype(np.int32)
    sums = np.stack([np.bincount(labels.ravel(), each.ravel(), minlength=count)[1:] for each in classes])
    areas = np.bincount(labels.ravel(), minlength=count)[1:]
    deepest = maximum(core, labels, np.arange(1, count))
    scores = (deepest * sums.sum(axis=0) / areas).clip(0, 1)
    return Regions(labels, soft, scores.astype(np.float32), sums.argmax(axis=0))

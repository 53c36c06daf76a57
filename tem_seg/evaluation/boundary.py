"""How well the outlines of matched particles lie on the true ones: mask IoU hides it in large particles.

A disc of 300 px whose outline is 5 px off everywhere still has an IoU of 0.94, and a diameter that is 3 % wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import perimeter_crofton

from tem_seg.core.types import Rle
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import by_image
from tem_seg.data.rle import decode_crop
from tem_seg.evaluation.inputs import is_crowd
from tem_seg.evaluation.matching import Matching

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one particle's outlines. iou and f1 in [0, 1]; distance and bias in px (bias > 0: predicted too large)."""

    iou: float
    f1: float
    distance_px: float
    bias_px: float


def agreement(predicted: Rle, truth: Rle, width_px: float) -> Agreement:
    """Compares two masks of a frame, neither empty.

    iou: Boundary IoU (Cheng et al., CVPR 2021, eq. 1): of the pixels of either mask that lie within ``width_px`` of its
    outline (there 2 % of the image's diagonal, here px). f1: of outline pixels within ``width_px`` of the other outline
    (Csurka et al., BMVC 2013). distance: area of the symmetric difference over the length of the true outline
    (Crofton), the mean distance of two outlines close to each other; bias: the same of the difference of areas.
    The frame's edge is no outline: a particle cut there goes on outside.
    """
    found, wanted, inside = _on_one_crop(predicted, truth)
    length = _length(wanted)
    rims, lines = [], []
    for mask in (found, wanted):
        depth = _distance(mask, inside)
        rims.append(mask & (depth <= width_px))
        lines.append(mask & (depth <= 1))
    hits = [
        float((lines[one] & (_distance(~lines[other], None) <= width_px)).sum()) / max(1, int(lines[one].sum()))
        for one, other in ((0, 1), (1, 0))
    ]
    either = int((rims[0] | rims[1]).sum())
    return Agreement(
        iou=float((rims[0] & rims[1]).sum()) / either if either else float("nan"),
        f1=2 * hits[0] * hits[1] / sum(hits) if sum(hits) else 0.0,
        distance_px=float((found ^ wanted).sum()) / length,
        bias_px=(float(found.sum()) - float(wanted.sum())) / length,
    )


def _on_one_crop(first: Rle, second: Rle) -> tuple[Mask, Mask, Mask]:
    """Both masks on the smallest crop that holds them and a border of one pixel; which pixels the frame has."""
    parts = [decode_crop(rle) for rle in (first, second)]
    x0, y0 = min(x for _, x, _ in parts) - 1, min(y for _, _, y in parts) - 1
    x1 = max(x + crop.shape[1] for crop, x, _ in parts) + 1
    y1 = max(y + crop.shape[0] for crop, _, y in parts) + 1
    masks = []
    for crop, x, y in parts:
        mask = np.zeros((y1 - y0, x1 - x0), bool)
        mask[y - y0 : y - y0 + crop.shape[0], x - x0 : x - x0 + crop.shape[1]] = crop
        masks.append(mask)
    height, width = first["size"]
    rows, columns = np.arange(y0, y1), np.arange(x0, x1)
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
    return masks[0], masks[1], inside


def _distance(mask: Mask, inside: Mask | None) -> NDArray[np.float32]:
    """Of each pixel of the mask to the nearest one that is not in it (centres, px). inside: only such pixels count."""
    rest = mask if inside is None else mask | ~inside
    if rest.all():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform(rest.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float32)


def _length(mask: Mask) -> float:
    """Crofton perimeter, px; that of a pixel at least."""
    return max(float(perimeter_crofton(mask, directions=4)), 4.0)


def boundary_figures(
    dataset: CocoDataset, results: list[dict[str, Any]], matchings: dict[int, Matching], *, score: float,
    width_px: float,
) -> dict[str, Any]:  # fmt: skip
    """Means over the matched particles with at least this score; NaN where there are none.

    Returns iou, f1, distance_px, bias_px, what they rest on (n, width_px, score), and the same for particles of an
    equivalent diameter above 100 px (large), whose edges a coarse mask cannot follow.
    """
    grouped = by_image(results, [image.id for image in dataset.images])
    found: list[tuple[Agreement, bool]] = []
    for image_id, matching in matchings.items():
        truths = dataset.annotations[image_id]
        chosen = np.flatnonzero((matching.matched >= 0) & (matching.scores >= score))
        for index in chosen:
            row, truth = grouped[image_id][matching.positions[index]], truths[matching.matched[index]]
            if is_crowd(truth):
                continue
            large = truth["area"] > np.pi / 4 * 100**2
            found.append((agreement(row["segmentation"], truth["segmentation"], width_px), large))
    return {
        **_means(agreed for agreed, _ in found),
        "large": _means(agreed for agreed, large in found if large),
        "score": score,
        "width_px": width_px,
    }


def _means(found: Iterable[Agreement]) -> dict[str, Any]:
    each = list(found)
    names = ("iou", "f1", "distance_px", "bias_px")
    if not each:
        return dict.fromkeys(names, float("nan")) | {"n": 0}
    return {name: float(np.mean([getattr(one, name) for one in each])) for name in names} | {"n": len(each)}

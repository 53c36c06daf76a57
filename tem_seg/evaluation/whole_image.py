"""Image IoU, instance IoU and Youden's index as the authors of paper 002 compute them, for comparison with theirs.

Rühle, Krumrey and Hodoroaba 2021 (doi:10.1038/s41598-021-84287-6); the definitions are those of their published code,
github.com/BAMresearch/automatic-sem-image-segmentation, "Archive/Other Scripts/Calculate_Scores.py" (no code of it is
here). They compare images of particle and ground, in which a line of ground one pixel wide parts neighbours. Their
figures stand at the threshold that is best on the test images themselves, ours at the score chosen on validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Rle
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import by_image
from tem_seg.data.rle import decode_crop
from tem_seg.evaluation.inputs import check_results, is_crowd

Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one image, or means over some.

    image_iou: intersection over union of all particle pixels. instance_iou: mean over predicted particles of the best
    IoU with any annotated one; a missed particle costs nothing, so instance_iou_of_truths, the same the other way
    round (ours), stands beside it. youden: recall + specificity - 1 of pixels, in [-1, 1].
    """

    image_iou: float
    instance_iou: float
    instance_iou_of_truths: float
    youden: float


KEYS = tuple(field.name for field in fields(Scores))


def painted(masks: Sequence[Rle], size: tuple[int, int]) -> Labels:
    """Masks of a frame (H, W) → (H, W) int32, 0 = ground, 1…N the mask's place from 1; later masks cover earlier ones.

    A pixel whose right or lower neighbour is another particle's becomes ground: the line that parts them.
    """
    labels = np.zeros(size, np.int32)
    for number, mask in enumerate(masks, start=1):
        crop, x, y = decode_crop(mask)
        labels[y : y + crop.shape[0], x : x + crop.shape[1]][crop] = number
    line = np.zeros(size, bool)
    for here, there, at in ((labels[:, :-1], labels[:, 1:], line[:, :-1]), (labels[:-1], labels[1:], line[:-1])):
        at |= (here != there) & (here > 0) & (there > 0)
    labels[line] = 0
    return labels


def scores(predicted: Labels, truth: Labels) -> Scores:
    """Of two label images of one shape (:func:`painted`). What is divided by nothing counts 0, as in the authors' code;
    only the image IoU of two empty images is undefined: NaN.
    """
    found, wanted = predicted > 0, truth > 0
    both, either = int((found & wanted).sum()), int((found | wanted).sum())
    recall, specificity = _share(both, int(wanted.sum())), _share(wanted.size - either, int((~wanted).sum()))
    overlap = _overlaps(predicted, truth)
    return Scores(
        image_iou=both / either if either else float("nan"),
        instance_iou=_mean_best(overlap),
        instance_iou_of_truths=_mean_best(overlap.T),
        youden=recall + specificity - 1.0,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _overlaps(predicted: Labels, truth: Labels) -> NDArray[np.float64]:
    """IoU (N, M) of the particles that have a pixel, of two label images."""
    (names, first), (others, second) = (np.unique(labels, return_inverse=True) for labels in (predicted, truth))
    pairs = np.bincount(first.ravel() * len(others) + second.ravel(), minlength=len(names) * len(others))
    counts = pairs.reshape(len(names), len(others)).astype(np.float64)
    union = counts.sum(axis=1)[:, None] + counts.sum(axis=0)[None] - counts
    return np.asarray((counts / union)[names > 0][:, others > 0], np.float64)


def _mean_best(overlap: NDArray[np.float64]) -> float:
    return float(overlap.max(axis=1).mean()) if overlap.size else 0.0


def whole_image_figures(dataset: CocoDataset, results: list[dict[str, Any]], *, score: float) -> dict[str, Any]:
    """The block ``whole_image`` of metrics.json: means over the images with an annotated particle, NaN without any.

    Of predictions of at least ``score``, the best on top; classes are ignored, crowd regions left out. Raises
    UserError where predictions or annotations have no masks.
    """
    rows = by_image(check_results(dataset, results, "segm"), [image.id for image in dataset.images])
    found = []
    for image in dataset.images:
        truths = [entry["segmentation"] for entry in dataset.annotations[image.id] if not is_crowd(entry)]
        if truths:
            kept = [row["segmentation"] for row in reversed(rows[image.id]) if row["score"] >= score]
            size = (image.height, image.width)
            found.append(scores(painted(kept, size), painted(truths, size)))
    means = {key: float(np.mean([getattr(one, key) for one in found])) if found else float("nan") for key in KEYS}
    return means | {"score": score, "n_images": len(found)}

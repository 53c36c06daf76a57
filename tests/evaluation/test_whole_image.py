"""Image IoU, instance IoU and Youden's index (paper 002's authors), against closed forms and counts by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from evaluation_scenes import dataset_of, perfect, random_scene, result_of
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torchmetrics.functional.classification import binary_jaccard_index, binary_recall, binary_specificity

from tem_seg.core.errors import UserError
from tem_seg.core.types import Rle
from tem_seg.data import rle
from tem_seg.evaluation.metrics import compute_metrics
from tem_seg.evaluation.whole_image import KEYS, painted, scores, whole_image_figures

SIZE = (40, 60)


def box(x: int, y: int, width: int, height: int, size: tuple[int, int] = SIZE) -> Rle:
    return rle.encode_crop(np.ones((height, width), bool), x, y, size)


def labels(*boxes: tuple[int, int, int, int]) -> NDArray[np.int32]:
    return painted([box(*one) for one in boxes], SIZE)


def test_one_rectangle_shifted() -> None:
    """10 × 20 px moved by 5 of 20: 150 px shared, 250 in either; recall 150 / 200, specificity 1 - 50 / 2200."""
    found = scores(labels((5, 0, 20, 10)), labels((0, 0, 20, 10)))
    assert (found.image_iou, found.instance_iou, found.instance_iou_of_truths) == pytest.approx((0.6, 0.6, 0.6))
    assert found.youden == pytest.approx(150 / 200 - 50 / 2200)


def test_instances_are_those_that_were_predicted() -> None:
    """Two truths, one found exactly and one missed: the authors' figure does not see that one, ours does. A third
    prediction far away has a best IoU of 0."""
    truth = labels((0, 0, 10, 10), (20, 0, 10, 10))
    found = scores(labels((0, 0, 10, 10)), truth)
    assert (found.instance_iou, found.instance_iou_of_truths, found.image_iou) == (1.0, 0.5, 0.5)
    found = scores(labels((0, 0, 10, 10), (20, 30, 10, 10)), truth)
    assert (found.instance_iou, found.instance_iou_of_truths) == (0.5, 0.5)


def test_two_particles_taken_for_one() -> None:
    """Truths of 10 × 10 with a line between, prediction 21 × 10: IoU 100 / 210 with either, image 200 / 210."""
    found = scores(labels((0, 0, 21, 10)), labels((0, 0, 10, 10), (11, 0, 10, 10)))
    assert (found.instance_iou, found.image_iou) == pytest.approx((100 / 210, 200 / 210))


def test_neighbours_are_parted_by_a_line() -> None:
    """Side by side, and one above the other: the left and the upper one lose a line of a pixel; corners touch on."""
    assert np.bincount(labels((0, 0, 10, 10), (10, 0, 10, 10)).ravel())[1:].tolist() == [90, 100]
    assert np.bincount(labels((0, 0, 10, 10), (0, 10, 10, 10)).ravel())[1:].tolist() == [90, 100]
    assert np.bincount(labels((0, 0, 10, 10), (10, 10, 10, 10)).ravel())[1:].tolist() == [100, 100]
    parted = labels((0, 0, 10, 10), (11, 0, 10, 10))
    assert np.bincount(parted.ravel())[1:].tolist() == [100, 100], "what is parted stays as it is"


def test_later_masks_lie_on_top() -> None:
    assert np.bincount(labels((0, 0, 10, 10), (0, 0, 4, 10)).ravel())[1:].tolist() == [60, 30]


def test_pixels_against_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.random(SIZE) < share for share in (0.3, 0.6))
    found = scores(first.astype(np.int32), second.astype(np.int32))
    pair = torch.from_numpy(first), torch.from_numpy(second)
    assert found.image_iou == pytest.approx(float(binary_jaccard_index(*pair)))
    assert found.youden == pytest.approx(float(binary_recall(*pair) + binary_specificity(*pair)) - 1, abs=1e-6)


def test_instances_against_pycocotools() -> None:
    rng = np.random.default_rng(1)
    pair = [labels(*((*rng.integers(0, 25, 2), *rng.integers(4, 15, 2)) for _ in range(6))) for _ in range(2)]
    names = [[name for name in np.unique(one) if name] for one in pair]
    masks = [[rle.encode(one == name) for name in some] for one, some in zip(pair, names, strict=True)]
    overlap = np.asarray(coco_mask.iou(*masks, [0] * len(masks[1])))
    found = scores(*pair)
    assert found.instance_iou == pytest.approx(overlap.max(axis=1).mean())
    assert found.instance_iou_of_truths == pytest.approx(overlap.max(axis=0).mean())


def test_nothing() -> None:
    """As in the authors' code, but for the image IoU of two empty images, which divides by nothing there."""
    nothing, one = labels(), labels((0, 0, 10, 10))
    missed, invented, neither = scores(nothing, one), scores(one, nothing), scores(nothing, nothing)
    assert (missed.image_iou, missed.instance_iou, missed.instance_iou_of_truths, missed.youden) == (0, 0, 0, 0)
    assert (invented.image_iou, invented.instance_iou) == (0, 0)
    assert invented.youden == pytest.approx(0 + (1 - 100 / 2400) - 1)
    assert np.isnan(neither.image_iou) and neither.instance_iou == 0
    everything = scores(np.ones(SIZE, np.int32), np.ones(SIZE, np.int32))
    assert (everything.image_iou, everything.youden) == (1.0, 0.0)


def test_perfect_predictions_of_a_dataset() -> None:
    dataset = dataset_of({1: [(30, 40, 12, 0), (100, 60, 20, 1)], 2: [(60, 60, 30, 0)], 3: []})
    found = whole_image_figures(dataset, perfect(dataset, 0.9), score=0.5)
    assert found == dict.fromkeys(KEYS, 1.0) | {"score": 0.5, "n_images": 2}
    none = whole_image_figures(dataset, perfect(dataset, 0.4), score=0.5)
    assert (none["image_iou"], none["instance_iou"], none["youden"], none["n_images"]) == (0, 0, 0, 2)


def test_each_image_counts_the_same() -> None:
    dataset = dataset_of({1: [(30, 40, 12, 0), (80, 40, 12, 0), (130, 40, 12, 0)], 2: [(60, 60, 30, 0)]})
    found = whole_image_figures(dataset, [result_of(dataset.annotations[2][0], 0.9)], score=0.5)
    assert (found["image_iou"], found["instance_iou"], found["youden"]) == (0.5, 0.5, 0.5)


def test_a_dataset_without_particles_is_undefined() -> None:
    dataset = dataset_of({1: []})
    found = whole_image_figures(dataset, [], score=0.5)
    assert all(np.isnan(found[key]) for key in KEYS) and found["n_images"] == 0


def test_order_does_not_matter() -> None:
    dataset, results = random_scene(np.random.default_rng(3))
    found = whole_image_figures(dataset, results, score=0.1)
    assert found == whole_image_figures(dataset, results[::-1], score=0.1)


def test_in_metrics_json_where_it_is_asked_for() -> None:
    dataset = dataset_of({1: [(30, 40, 12, 0)]})
    given: dict[str, Any] = {"max_instances": 100, "best_score": 0.5}
    assert compute_metrics(dataset, perfect(dataset), {}, **given)["whole_image"] is None
    found = compute_metrics(dataset, perfect(dataset), {}, whole_image=True, **given)["whole_image"]
    assert (found["score"], found["youden"]) == (0.5, 1.0)


def test_boxes_are_refused() -> None:
    dataset = dataset_of({1: [(30, 40, 12, 0)]})
    boxes = [{key: value for key, value in row.items() if key != "segmentation"} for row in perfect(dataset)]
    with pytest.raises(UserError, match="has no mask"):
        whole_image_figures(dataset, boxes, score=0.5)

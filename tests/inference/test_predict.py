"""How a micrograph is looked at: magnifications, frames, repetitions, caps; with models whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction, Rle
from tem_seg.data import coco, rle
from tem_seg.data.images import write_png
from tem_seg.inference.predict import SMALLEST_SIDE_PX, Predictor, keep, merge, predict_dataset, sizes_px
from tem_seg.models.contract import SegmentationModel, Target

SIZE = (80, 100)


def square(x: int, y: int, side: int, size: tuple[int, int] = SIZE) -> Rle:
    return rle.encode_crop(np.ones((side, side), bool), x, y, size)


def found(*rows: tuple[int, int, int, float, int], masks: bool = True, capped: bool = False) -> Prediction:
    """rows: x, y, side, score, label of a square."""
    return Prediction(
        boxes=np.array([(x, y, x + s, y + s) for x, y, s, _, _ in rows], np.float32).reshape(-1, 4),
        labels=np.array([row[4] for row in rows], np.int64),
        scores=np.array([row[3] for row in rows], np.float32),
        masks=[square(x, y, s) for x, y, s, _, _ in rows] if masks else None,
        capped=capped,
    )


class Scripted(SegmentationModel):
    """Answers as told, and remembers what it was shown."""

    def __init__(self, answer: Callable[[Tensor], Prediction]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answer, self.shown = answer, []
        self.eval()

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        raise NotImplementedError

    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        assert len(images) == 1 and frames == [SIZE]
        self.shown.append(images[0])
        return [self.answer(images[0])]


GREY = np.full(SIZE, 0.5, np.float32)
NOTHING = found()


def always(prediction: Prediction) -> Scripted:
    return Scripted(lambda image: prediction)


# ------------------------------------------------------------------------------------------------- magnification


def test_the_micrograph_is_shown_at_each_magnification() -> None:
    model = always(NOTHING)
    Predictor(scales=(0.5, 1.0, 1.3))(model, np.random.default_rng(0).random(SIZE))
    assert [tuple(image.shape) for image in model.shown] == [(1, 40, 50), (1, 80, 100), (1, 104, 130)]
    assert all(image.dtype == torch.float32 for image in model.shown)


def test_at_magnification_1_it_is_shown_as_it_is() -> None:
    pixels = np.random.default_rng(0).random(SIZE, np.float32)
    model = always(NOTHING)
    Predictor()(model, pixels)
    np.testing.assert_array_equal(model.shown[0][0].numpy(), pixels)


def test_it_is_never_shrunk_below_what_the_pyramid_needs() -> None:
    model = always(NOTHING)
    Predictor(scales=(0.1,))(model, GREY)
    assert tuple(model.shown[0].shape) == (1, SMALLEST_SIDE_PX, SMALLEST_SIDE_PX)


def test_shrinking_averages() -> None:
    model = always(NOTHING)
    board = (np.indices(SIZE).sum(axis=0) % 2).astype(np.float32)
    Predictor(scales=(0.5,))(model, board)
    assert model.shown[0].numpy() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("sides", "scale"), [([10, 20, 30], 2.0), ([40], 1.0), ([80], 0.5), ([2], 4.0), ([], 1.0)],
    ids=["median", "as it is", "shrunk", "at most 4", "nothing seen"],
)  # fmt: skip
def test_target_px_brings_the_median_particle_to_a_size(sides: list[int], scale: float) -> None:
    model = always(found(*[(0, 0, side, 0.9, 0) for side in sides]))
    Predictor(scales=(1.0, 0.5), target_px=40.0)(model, GREY)
    expected = [(1, *(max(SMALLEST_SIDE_PX, round(side * s)) for side in SIZE)) for s in (1.0, scale, scale / 2)]
    assert [tuple(image.shape) for image in model.shown] == expected


def test_doubtful_and_empty_particles_do_not_set_the_magnification() -> None:
    doubtful = found((0, 0, 5, 0.4, 0), (9, 9, 20, 0.9, 0), (50, 50, 0, 0.8, 0))
    model = always(doubtful)
    Predictor(target_px=40.0)(model, GREY)
    assert tuple(model.shown[-1].shape) == (1, 160, 200)


def test_sizes_are_square_roots_of_areas() -> None:
    for masks in (True, False):
        assert sizes_px(found((0, 0, 7, 0.9, 0), (5, 5, 12, 0.8, 0), masks=masks)) == pytest.approx([7.0, 12.0])
    assert sizes_px(NOTHING).shape == (0,)


def test_mixed_precision_is_used_where_asked() -> None:
    seen: list[torch.dtype] = []

    def answer(image: Tensor) -> Prediction:
        seen.append(torch.nn.functional.linear(image, torch.ones(4, image.shape[-1])).dtype)
        return NOTHING

    Predictor()(Scripted(answer), GREY)
    Predictor(precision=torch.bfloat16)(Scripted(answer), GREY)
    assert seen == [torch.float32, torch.bfloat16]


# ------------------------------------------------------------------------------------------------------- merging


def ids(prediction: Prediction) -> list[tuple[float, int]]:
    return [(round(float(s), 2), int(label)) for s, label in zip(prediction.scores, prediction.labels, strict=True)]


@pytest.mark.parametrize("masks", [True, False])
def test_what_is_found_twice_is_kept_once_with_the_higher_score(masks: bool) -> None:
    """10 × 10 squares one px apart share 90 of 110 px, IoU 0.82; three apart 70 of 130, 0.54; four apart 60 of 140."""
    one = found((10, 10, 10, 0.7, 0), (50, 50, 10, 0.9, 0), (10, 40, 10, 0.6, 0), masks=masks)
    other = found((11, 10, 10, 0.8, 0), (53, 50, 10, 0.5, 0), (14, 40, 10, 0.55, 0), masks=masks)
    merged = merge([one, other], 0.5, 1000)
    assert ids(merged) == [(0.9, 0), (0.8, 0), (0.6, 0), (0.55, 0)]
    assert merged.boxes[1].tolist() == [11, 10, 21, 20]
    assert (merged.masks is not None) == masks and not merged.capped


def test_classes_are_merged_apart() -> None:
    assert len(merge([found((10, 10, 10, 0.7, 0)), found((10, 10, 10, 0.8, 1))], 0.5, 1000)) == 2


def test_order_of_the_looks_plays_no_part() -> None:
    rng = np.random.default_rng(0)
    rows = [(int(x), int(y), int(s), float(p), int(k)) for x, y, s, p, k in zip(
        rng.integers(0, 70, 60), rng.integers(0, 50, 60), rng.integers(5, 25, 60), rng.permutation(60) / 60,
        rng.integers(0, 2, 60), strict=True)]  # fmt: skip
    forth = merge([found(*rows[:30]), found(*rows[30:])], 0.5, 1000)
    back = merge([found(*rows[30:]), found(*rows[:30])], 0.5, 1000)
    np.testing.assert_array_equal(forth.boxes, back.boxes)
    assert (np.diff(forth.scores) <= 0).all() and len(forth) < 60
    again = merge([forth], 0.5, 1000)  # nothing is left to merge
    np.testing.assert_array_equal(again.boxes, forth.boxes)


def bar(x: float, y: float) -> tuple[NDArray[np.bool_], Rle]:
    """A thin bar at 45° through (x, y)."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    along, across = (columns - x) + (rows - y), (columns - x) - (rows - y)
    mask = (np.abs(along) < 50) & (np.abs(across) < 4)
    return mask, rle.encode(mask)


def test_rods_side_by_side_are_two_although_their_boxes_are_one() -> None:
    """Where masks are known boxes do not decide: boxes of IoU 0.7 and more, masks that do not touch."""
    masks = [bar(50, 40)[1], bar(54, 36)[1]]
    boxes = np.array([[25, 15, 75, 65], [29, 11, 79, 61]], np.float32)
    scores, labels = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64)
    assert len(merge([Prediction(boxes, labels, scores, masks)], 0.5, 1000)) == 2
    assert len(merge([Prediction(boxes, labels, scores, None)], 0.5, 1000)) == 1


def test_empty_masks_are_not_repetitions_of_each_other() -> None:
    assert len(merge([found((10, 10, 0, 0.9, 0), (10, 10, 0, 0.8, 0))], 0.5, 1000)) == 2


def test_rotated_boxes_travel_along() -> None:
    def turned(x: int, score: float) -> Prediction:
        plain = found((x, 10, 10, score, 0))
        return Prediction(plain.boxes, plain.labels, plain.scores, plain.masks, np.full((1, 5), x, np.float32))

    merged = merge([turned(10, 0.7), turned(60, 0.9), turned(11, 0.8)], 0.5, 1000)
    assert merged.rotated_boxes is not None and merged.rotated_boxes[:, 0].tolist() == [60, 11]


def test_merging_beyond_the_cap_is_said() -> None:
    looks = [found((0, 0, 10, 0.9, 0), (20, 0, 10, 0.8, 0)), found((40, 0, 10, 0.7, 0), (60, 0, 10, 0.6, 0))]
    assert ids(merge(looks, 0.5, 3)) == [(0.9, 0), (0.8, 0), (0.7, 0)] and merge(looks, 0.5, 3).capped
    assert not merge(looks, 0.5, 4).capped
    assert merge([looks[0], found(capped=True)], 0.5, 1000).capped, "one look may have missed some"


def test_nothing_at_any_magnification_is_a_legal_prediction() -> None:
    nothing = Predictor(scales=(0.5, 1.0))(always(NOTHING), GREY)
    assert len(nothing) == 0 and nothing.boxes.shape == (0, 4) and nothing.masks == [] and not nothing.capped
    without_masks = Predictor(scales=(0.5, 1.0))(always(found(masks=False)), GREY)
    assert without_masks.masks is None


def test_scores_below_the_threshold_are_dropped() -> None:
    model = always(found((0, 0, 10, 0.9, 0), (20, 0, 10, 0.3, 0), (40, 0, 10, 0.29, 0)))
    assert ids(Predictor(min_score=0.3)(model, GREY)) == [(0.9, 0), (0.3, 0)]


@pytest.mark.parametrize("chosen", [np.array([True, False, True]), np.array([0, 2])], ids=["mask", "index"])
def test_keep_takes_all_parts(chosen: NDArray[Any]) -> None:
    whole = found((0, 0, 10, 0.9, 0), (20, 0, 11, 0.8, 1), (40, 0, 12, 0.7, 0), capped=True)
    part = keep(whole, chosen)
    assert ids(part) == [(0.9, 0), (0.7, 0)] and part.capped
    assert part.masks == [square(0, 0, 10), square(40, 0, 12)] and part.boxes[1].tolist() == [40, 0, 52, 12]
    assert len(keep(whole, np.zeros(0, np.int64))) == 0


# ------------------------------------------------------------------------------------------------------ datasets


@pytest.fixture
def dataset(tmp_path: Path) -> coco.CocoDataset:
    images = []
    for number, name in enumerate(["a", "b"]):
        write_png(tmp_path / f"{name}.png", np.full(SIZE, 100 + number, np.uint8))
        images.append({"id": 10 + number, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]})
    coco.write(tmp_path / "dataset.json", images, [], ["rod", "cube"])
    return coco.read(tmp_path / "dataset.json")


def test_results_of_a_dataset(dataset: coco.CocoDataset) -> None:
    model = always(found((5, 6, 10, 0.9, 1), (50, 50, 8, 0.25, 0), capped=True)).train()
    results, info = predict_dataset(model, dataset, Predictor(max_instances=77))
    assert not model.training
    assert [(r["image_id"], r["category_id"], r["bbox"], r["score"]) for r in results] == [
        (10, 2, [5, 6, 10, 10], 0.9), (10, 1, [50, 50, 8, 8], 0.25),
        (11, 2, [5, 6, 10, 10], 0.9), (11, 1, [50, 50, 8, 8], 0.25),
    ]  # fmt: skip
    assert results[0]["segmentation"] == square(5, 6, 10)
    assert info["dataset"] == str(dataset.path) and info["image_ids"] == [10, 11]
    assert info["categories"] == ["rod", "cube"] and info["max_instances"] == 77
    assert info["capped_image_ids"] == [10, 11] and info["seconds_per_image"] > 0


def test_a_constant_micrograph_is_shown_as_zeros(dataset: coco.CocoDataset) -> None:
    model = always(NOTHING)
    results, info = predict_dataset(model, dataset, Predictor())
    assert results == [] and info["capped_image_ids"] == []
    assert all(not image.any() for image in model.shown)


def test_a_class_that_the_dataset_lacks_becomes_its_first(dataset: coco.CocoDataset) -> None:
    """Class-agnostic evaluation of a model with more classes: the particle counts, its name does not."""
    results, _ = predict_dataset(always(found((5, 6, 10, 0.9, 4))), dataset, Predictor())
    assert {row["category_id"] for row in results} == {1}


def test_an_empty_dataset(dataset: coco.CocoDataset) -> None:
    results, info = predict_dataset(always(NOTHING), dataset.only([]), Predictor())
    assert results == [] and info["image_ids"] == [] and info["seconds_per_image"] == 0


def test_a_zero_byte_micrograph_is_named(dataset: coco.CocoDataset) -> None:
    dataset.images[1].path.write_bytes(b"")
    with pytest.raises(UserError, match=r"b.png is empty \(0 bytes\)"):
        predict_dataset(always(NOTHING), dataset, Predictor())

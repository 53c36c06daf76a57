"""How a micrograph is looked at: magnifications, frames, caps, datasets; with models whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from inference_scenes import (
    GREY,
    NOTHING,
    SIZE,
    Scripted,
    always,
    box_set,
    disc,
    found,
    ids,
    mask_set,
    painted,
    seer,
    square,
)
from numpy.typing import NDArray
from skimage.measure import label, regionprops
from torch import Tensor

from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction
from tem_seg.data import coco
from tem_seg.data.images import write_png
from tem_seg.inference.predict import (
    SMALLEST_SIDE_PX,
    VIEWS,
    Predictor,
    See,
    confirmed,
    predict_dataset,
    predict_images,
)
from tem_seg.inference.scales import sizes_px

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


@pytest.mark.parametrize(
    ("side", "score", "looks"),
    [
        (30, 0.9, [0.5, 1, 2]),  # 30 px as shown at 1: looks on; 60 at 2
        (20, 0.7, [0.5, 1, 2, 4]),
        (5, 0.9, [0.5, 1, 2, 4]),  # 4 is the finest
        (48, 0.9, [0.5, 1]),
        (5, 0.69, [0.5, 1]),  # specks that are not sure
    ],
)
def test_where_particles_are_small_finer_looks_follow(side: int, score: float, looks: list[float]) -> None:
    model = always(found((10, 10, side, score, 0)))
    seen = Predictor(scales=(1.0, 0.5), finest=7.9)(model, GREY)
    assert [image.shape[1] / SIZE[0] for image in model.shown] == [1, 0.5, *looks[2:]]
    assert len(seen) == 1


def test_what_a_finer_look_finds_asks_for_the_next_one() -> None:
    """The larger ones are seen first; with the many small ones half of the area is below 12 px."""
    large, small = (4, 4, 20, 0.9, 0), [(30 + 8 * k, 8 * row, 7, 0.8, 0) for k in range(8) for row in range(8)]
    model = Scripted(lambda image: found(large) if image.shape[1] == SIZE[0] else found(large, *small))
    assert len(Predictor(finest=4.0)(model, GREY)) == 65
    assert [image.shape[1] / SIZE[0] for image in model.shown] == [1, 2, 4]
    assert len(Predictor(finest=1.9)(model, GREY)) == 1


def test_it_is_never_shrunk_below_what_the_pyramid_needs() -> None:
    model = always(NOTHING)
    Predictor(scales=(0.1,))(model, GREY)
    assert tuple(model.shown[0].shape) == (1, SMALLEST_SIDE_PX, SMALLEST_SIDE_PX)


def test_shrinking_averages() -> None:
    model = always(NOTHING)
    board = (np.indices(SIZE).sum(axis=0) % 2).astype(np.float32)
    Predictor(scales=(0.5,))(model, board)
    assert model.shown[0].numpy() == pytest.approx(0.5)


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


def test_nothing_at_any_magnification_is_a_legal_prediction() -> None:
    nothing = Predictor(scales=(0.5, 1.0))(always(NOTHING), GREY)
    assert len(nothing) == 0 and nothing.boxes.shape == (0, 4) and nothing.masks == [] and not nothing.capped
    without_masks = Predictor(scales=(0.5, 1.0))(always(found(masks=False)), GREY)
    assert without_masks.masks is None


def test_scores_below_the_threshold_are_dropped() -> None:
    model = always(found((0, 0, 10, 0.9, 0), (20, 0, 10, 0.3, 0), (40, 0, 10, 0.29, 0)))
    assert ids(Predictor(min_score=0.3)(model, GREY)) == [(0.9, 0), (0.3, 0)]


# --------------------------------------------------------------------------------- mirrored, turned, in tiles


def particles() -> list[NDArray[np.bool_]]:
    """None round, none in the middle: a view that came back wrongly would show."""
    rng = np.random.default_rng(0)
    shapes = [disc(*rng.uniform(0, 300, 2), rng.uniform(3, 25), (280, 330)) for _ in range(30)]
    for shape in shapes:
        rows, columns = np.nonzero(shape)
        shape[rows[: len(rows) // 3], columns[: len(rows) // 3]] = False
    return shapes


def test_the_views_are_all_that_there_are() -> None:
    """Eight ways to lay a square, each once; a corner marked on it lies elsewhere each time, or runs the other way."""
    marked = np.array([[1, 2], [3, 4]])
    shown = [np.rot90(marked[:, ::-1] if mirrored else marked, turns) for turns, mirrored in VIEWS["dihedral"]]
    assert len({view.tobytes() for view in shown}) == 8
    assert VIEWS["none"] == ((0, False),) and set(VIEWS["flip"]) < set(VIEWS["dihedral"])


@pytest.mark.parametrize("augment", ["flip", "dihedral"])
@pytest.mark.parametrize("tile_px", [None, 192])
@pytest.mark.parametrize("masks", [True, False])
def test_an_equivariant_model_finds_the_same_in_every_view(augment: str, tile_px: int | None, masks: bool) -> None:
    image = painted(particles(), (280, 330))
    once = Predictor()(seer(masks), image)
    model = seer(masks)
    often = Predictor(augment=augment, tile_px=tile_px, overlap_px=64)(model, image)
    assert len(model.shown) == len(VIEWS[augment]) * (1 if tile_px is None else len(model.shown) // len(VIEWS[augment]))
    assert len(once) > 15 and box_set(often) == box_set(once)
    np.testing.assert_allclose(often.scores, once.scores, rtol=1e-6)
    assert often.agreement is not None and (often.agreement == 1).all() and once.agreement is None
    if masks:
        assert mask_set(often) == mask_set(once)


def test_what_one_view_alone_shows_is_known_by_its_agreement() -> None:
    """A model that is blind whenever it is shown a landscape format."""
    model = Scripted(lambda image: found(size=SIZE) if image.shape[2] > image.shape[1] else upright, size=None)
    upright = found((10, 20, 12, 0.8, 0), size=(SIZE[1], SIZE[0]))
    seen = Predictor(augment="dihedral")(model, GREY)
    assert len(seen) == 4 and seen.agreement is not None and seen.agreement.tolist() == [0.125] * 4


@pytest.mark.parametrize("scale", [0.5, 0.7, 2.0])
def test_tiles_follow_the_magnification(scale: float) -> None:
    """No tile is shown larger than it may be; particles come back in the micrograph's frame, to the pixel."""
    places = [(x, y) for x in range(30, 640, 65) for y in range(30, 512, 65)]
    image = np.max([disc(x, y, 14, (512, 640)) for x, y in places], axis=0).astype(np.float32)

    def answer(image: Tensor) -> Prediction:
        parts = regionprops(label(image[0].numpy() > 0.5))
        boxes = np.array([[*part.bbox[1::-1], *part.bbox[:1:-1]] for part in parts], np.float32) / scale
        return Prediction(boxes, np.zeros(len(parts), np.int64), np.full(len(parts), 0.9, np.float32))

    model = Scripted(answer, size=None)
    tiled = Predictor(scales=(scale,), tile_px=256, overlap_px=64)(model, image)
    assert len(model.shown) >= 2 and max(max(shown.shape) for shown in model.shown) <= 257
    assert len(tiled) == len(places)
    centres = (tiled.boxes[:, :2] + tiled.boxes[:, 2:]) / 2
    distance = np.abs(centres[:, None] - np.array(places)[None]).max(axis=2).min(axis=1)
    assert distance.max() < 2.0


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
    assert len(info["red_flags"]) == 1 and "(max_instances = 77) in 2 images (10, 11)" in info["red_flags"][0]


@pytest.mark.parametrize(
    ("capped", "scores_with_room", "rooms", "told"),
    [
        (False, (0.9, 0.8), [1], False),
        (True, (0.9,), [1, 2], False),  # places were dropped, no particle
        (True, (0.9, 0.49), [1, 2], False),  # what comes to light does not count
        (True, (0.9, 0.5), [1, 2], True),
    ],
)
def test_a_cap_is_confirmed_by_what_it_cost(
    capped: bool, scores_with_room: tuple[float, ...], rooms: list[int], told: bool
) -> None:
    asked = []

    def see(room: int) -> See:
        asked.append(room)
        scores = (0.9,) if room == 1 else scores_with_room
        return lambda pixels: found(*((20 * k, 0, 10, s, 0) for k, s in enumerate(scores)), capped=capped)

    seen = confirmed(see, 0.5, GREY)
    assert ids(seen) == [(0.9, 0)], "the first look is what is kept"
    assert (asked, seen.capped) == (rooms, told)


def test_a_constant_micrograph_is_shown_as_zeros(dataset: coco.CocoDataset) -> None:
    model = always(NOTHING)
    results, info = predict_dataset(model, dataset, Predictor())
    assert results == [] and info["capped_image_ids"] == [] and info["red_flags"] == []
    assert all(not image.any() for image in model.shown)


@pytest.mark.parametrize("headroom", [0.0, 0.25])
def test_a_micrograph_is_shown_with_the_headroom_that_the_model_has(dataset: coco.CocoDataset, headroom: float) -> None:
    levels = np.random.default_rng(0).integers(100, 120, (80, 100)).astype(np.uint8)
    levels[10:12, 10:14], levels[20, 20:28] = 255, 0
    write_png(dataset.images[0].path, levels)
    model = always(NOTHING)
    model.headroom = headroom
    next(predict_images(model, dataset, Predictor()))
    assert (float(model.shown[0].min()), float(model.shown[0].max())) == (-headroom, 1 + headroom)


def test_a_class_that_the_dataset_lacks_becomes_its_first(dataset: coco.CocoDataset) -> None:
    """Class-agnostic evaluation of a model with more classes: the particle counts, its name does not."""
    results, _ = predict_dataset(always(found((5, 6, 10, 0.9, 4))), dataset, Predictor())
    assert {row["category_id"] for row in results} == {1}


def test_images_come_one_by_one(dataset: coco.CocoDataset) -> None:
    """The second is not read before the first is taken."""
    dataset.images[1].path.unlink()
    images = predict_images(always(found((5, 6, 10, 0.9, 0), capped=True)), dataset, Predictor())
    first = next(images)
    assert (first.image_id, len(first.rows), first.capped) == (10, 1, True) and first.seconds > 0
    with pytest.raises(UserError, match="no micrograph at"):
        next(images)


def test_an_empty_dataset(dataset: coco.CocoDataset) -> None:
    results, info = predict_dataset(always(NOTHING), dataset.only([]), Predictor())
    assert results == [] and info["image_ids"] == [] and info["seconds_per_image"] == 0


def test_a_zero_byte_micrograph_is_named(dataset: coco.CocoDataset) -> None:
    dataset.images[1].path.write_bytes(b"")
    with pytest.raises(UserError, match=r"b.png is empty \(0 bytes\)"):
        predict_dataset(always(NOTHING), dataset, Predictor())

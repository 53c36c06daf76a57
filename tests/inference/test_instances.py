"""Choosing, joining and moving predictions with all that is known of each particle."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from inference_scenes import NOTHING, SIZE, found, ids, square
from numpy.typing import NDArray

from tem_seg.core.geometry import rotated_box_corners
from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.inference.instances import PER_PARTICLE, by_score, concatenate, keep, shifted, turned_back


def complete(count: int = 3, seed: int = 0) -> Prediction:
    """Every field filled, lopsided masks."""
    rng = np.random.default_rng(seed)
    places = rng.integers(5, 40, (count, 2))
    crops = [rng.random((7, 12)) < 0.6 for _ in range(count)]
    for crop in crops:
        crop[[0, -1], 0] = crop[-1, -1] = True
    corners = np.concatenate([places, places + np.array([12, 7])], axis=1)
    turned = np.stack([places[:, 0] + 6, places[:, 1] + 3, np.full(count, 3), np.full(count, 12)], axis=1)
    return Prediction(
        boxes=corners.astype(np.float32),
        labels=rng.integers(0, 3, count),
        scores=np.linspace(0.9, 0.5, count).astype(np.float32),
        masks=rle.encode_crops(crops, places[:, 0], places[:, 1], SIZE),
        rotated_boxes=np.concatenate([turned, rng.uniform(-90, 90, (count, 1))], axis=1).astype(np.float32),
        contours=[(rng.random((int(k), 2)) * 40).astype(np.float32) for k in rng.integers(3, 9, count)],
        edge_sd_px=rng.random(count).astype(np.float32),
        agreement=np.full(count, 0.5, np.float32),
        agreement_iou=rng.random(count).astype(np.float32),
    )


def assert_same(one: Prediction, other: Prediction) -> None:
    for name in PER_PARTICLE:
        ours, theirs = getattr(one, name), getattr(other, name)
        if name == "contours" and ours is not None:
            assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))
        elif isinstance(ours, np.ndarray):
            np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=name)
        else:
            assert ours == theirs, name


def test_every_field_of_a_prediction_is_carried() -> None:
    names = {field.name for field in dataclasses.fields(Prediction)}
    assert set(PER_PARTICLE) == names - {"capped"}
    assert all(getattr(complete(), name) is not None for name in PER_PARTICLE), "complete() must fill new fields"


@pytest.mark.parametrize("chosen", [np.array([True, False, True]), np.array([0, 2])], ids=["mask", "index"])
def test_keep_takes_all_parts(chosen: NDArray[Any]) -> None:
    whole = found((0, 0, 10, 0.9, 0), (20, 0, 11, 0.8, 1), (40, 0, 12, 0.7, 0), capped=True)
    part = keep(whole, chosen)
    assert ids(part) == [(0.9, 0), (0.7, 0)] and part.capped
    assert part.masks == [square(0, 0, 10), square(40, 0, 12)] and part.boxes[1].tolist() == [40, 0, 52, 12]
    assert len(keep(whole, np.zeros(0, np.int64))) == 0


def test_what_is_cut_apart_is_put_together_again() -> None:
    whole = complete(5)
    parts = [keep(whole, np.array(index, np.int64)) for index in ([0, 1], [], [2, 3, 4])]
    assert_same(concatenate(parts), whole)
    assert concatenate([whole, dataclasses.replace(whole, capped=True)]).capped and not concatenate(parts).capped


def test_fields_that_only_some_have_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 predictions have masks"):
        concatenate([found((0, 0, 9, 0.5, 0)), found((0, 0, 9, 0.5, 0), masks=False)])


def test_by_score_is_stable() -> None:
    ordered = by_score(found((0, 0, 9, 0.5, 0), (1, 0, 9, 0.9, 1), (2, 0, 9, 0.5, 2)))
    assert ids(ordered) == [(0.9, 1), (0.5, 0), (0.5, 2)]


def test_a_window_is_put_into_its_micrograph() -> None:
    inside = complete()
    moved = shifted(inside, 100, 50, (300, 400))
    assert moved.masks is not None and inside.masks is not None and inside.rotated_boxes is not None
    for before, after in zip(inside.masks, moved.masks, strict=True):
        frame = np.zeros((300, 400), bool)
        frame[50 : 50 + SIZE[0], 100 : 100 + SIZE[1]] = rle.decode(before)
        np.testing.assert_array_equal(rle.decode(after), frame)
    np.testing.assert_allclose(moved.boxes, inside.boxes + np.array([100, 50, 100, 50]))
    assert moved.rotated_boxes is not None and moved.contours is not None and inside.contours is not None
    np.testing.assert_allclose(moved.rotated_boxes, inside.rotated_boxes + np.array([100, 50, 0, 0, 0]), atol=1e-4)
    np.testing.assert_allclose(moved.contours[1], inside.contours[1] + np.array([100, 50]), atol=1e-4)


VIEWS = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


def shown(mask: NDArray[np.bool_], turns: int, mirrored: bool) -> NDArray[np.bool_]:
    return np.rot90(mask[:, ::-1] if mirrored else mask, turns)


def disc_of(mask: NDArray[np.bool_], angle: float) -> Prediction:
    rows, columns = np.nonzero(mask)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return Prediction(
        np.array([[x0, y0, x1, y1]], np.float32), np.zeros(1, np.int64), np.ones(1, np.float32),
        [rle.encode(mask)], np.array([[(x0 + x1) / 2, (y0 + y1) / 2, 4, 9, angle]], np.float32),
        [np.array([[x0, y0], [x1, y0], [x1, y1]], np.float32)],
    )  # fmt: skip


@pytest.mark.parametrize(("turns", "mirrored"), VIEWS)
def test_a_view_is_brought_back_exactly(turns: int, mirrored: bool) -> None:
    """Pixels are the oracle: the mask found in np.rot90 and mirrored images, brought back, is the mask itself."""
    rng = np.random.default_rng(turns)
    mask = np.zeros(SIZE, bool)
    mask[11:19, 60:93] = rng.random((8, 33)) < 0.5
    truth = disc_of(mask, 0.0)
    back = turned_back(disc_of(shown(mask, turns, mirrored), 0.0), turns, mirrored, SIZE)
    assert back.masks == truth.masks
    np.testing.assert_array_equal(back.boxes, truth.boxes)
    assert back.rotated_boxes is not None and truth.rotated_boxes is not None
    np.testing.assert_array_equal(back.rotated_boxes[:, :4], truth.rotated_boxes[:, :4])


@pytest.mark.parametrize(("turns", "mirrored"), VIEWS)
def test_rotated_boxes_turn_with_their_corners(turns: int, mirrored: bool) -> None:
    """The corners of the box that is brought back are the corners, brought back."""
    given = complete(4, seed=turns)
    back = turned_back(given, turns, mirrored, SIZE)
    assert given.rotated_boxes is not None and back.rotated_boxes is not None
    assert (back.rotated_boxes[:, 4] >= -90).all() and (back.rotated_boxes[:, 4] < 90).all()
    corners = [rotated_box_corners(box).astype(np.float32) for box in given.rotated_boxes]
    moved = turned_back(dataclasses.replace(given, contours=corners), turns, mirrored, SIZE).contours
    assert moved is not None
    for box, expected in zip(back.rotated_boxes, moved, strict=True):
        ours = rotated_box_corners(box)
        distance = np.hypot(*(ours[:, None] - expected[None]).transpose(2, 0, 1))
        assert distance.min(axis=1).max() < 1e-3 and distance.min(axis=0).max() < 1e-3


def test_outlines_run_the_same_way_round_in_a_mirrored_view() -> None:
    def area(points: NDArray[np.float32]) -> float:
        x, y = points.T
        return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))

    given = complete()
    for turns, mirrored in VIEWS:
        back = turned_back(given, turns, mirrored, SIZE)
        assert given.contours is not None and back.contours is not None
        areas = [area(c) for c in given.contours], [area(c) for c in back.contours]
        np.testing.assert_allclose(areas[0], areas[1], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(("turns", "mirrored"), VIEWS)
def test_nothing_comes_back_as_nothing(turns: int, mirrored: bool) -> None:
    assert len(turned_back(NOTHING, turns, mirrored, SIZE)) == len(shifted(NOTHING, 5, 5, (200, 200))) == 0

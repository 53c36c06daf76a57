from __future__ import annotations

import cv2
import numpy as np
import pytest
from shapely.geometry import Polygon

from tem_seg.core.geometry import (
    box_of_crop,
    canonical_rotated_boxes,
    enclosing_boxes,
    pixel_corners,
    rotated_box_corners,
    rotated_box_of_points,
    rotated_boxes_corners,
    wrap_half_turn,
    xyxy_to_xywh,
)

ANGLES = [-90.0, -89.9, -60.0, -45.0, -12.5, 0.0, 0.1, 30.0, 45.0, 77.0, 89.9]


def test_box_of_crop_is_half_open() -> None:
    crop = np.zeros((5, 9), bool)
    crop[1:3, 3:6] = True
    assert box_of_crop(crop, 0, 0) == (3, 1, 6, 3)
    assert box_of_crop(crop, 10, 20) == (13, 21, 16, 23)


def test_box_of_one_pixel_and_of_nothing() -> None:
    assert box_of_crop(np.ones((1, 1), bool), 4, 7) == (4, 7, 5, 8)
    assert box_of_crop(np.zeros((3, 3), bool), 4, 7) == (0, 0, 0, 0)
    assert box_of_crop(np.zeros((0, 0), bool), 0, 0) == (0, 0, 0, 0)


def test_xyxy_to_xywh() -> None:
    assert xyxy_to_xywh(np.array([[3.0, 1.0, 6.0, 3.0]])).tolist() == [[3, 1, 3, 2]]
    assert xyxy_to_xywh(np.zeros((0, 4))).shape == (0, 4)


def test_pixel_corners_span_the_hull() -> None:
    rng = np.random.default_rng(0)
    crop = rng.random((9, 13)) < 0.2
    rows, columns = np.nonzero(crop)
    every = np.concatenate([np.stack([columns + dx, rows + dy], 1) for dx in (0, 1) for dy in (0, 1)]).astype(
        np.float32
    )
    assert cv2.contourArea(cv2.convexHull(pixel_corners(crop, 0, 0))) == cv2.contourArea(cv2.convexHull(every))
    assert pixel_corners(np.zeros((3, 3), bool), 0, 0).shape == (0, 2)


@pytest.mark.parametrize("angle", ANGLES)
def test_rotated_box_comes_back_from_its_corners(angle: float) -> None:
    box = np.array([40.0, 30.0, 6.0, 20.0, angle])
    found = rotated_box_of_points(rotated_box_corners(box))
    assert found[:4] == pytest.approx(box[:4], abs=1e-3)
    assert wrap_half_turn(found[4] - angle) == pytest.approx(0, abs=0.02)
    assert found[2] <= found[3] and -90 <= found[4] < 90


def test_angle_zero_stands_upright_and_counts_counter_clockwise_as_displayed() -> None:
    upright = rotated_box_corners(np.array([0.0, 0.0, 2.0, 10.0, 0.0]))
    assert np.ptp(upright[:, 0]) == pytest.approx(2) and np.ptp(upright[:, 1]) == pytest.approx(10)
    # the top end (y < 0) of an upright rod goes to the left (x < 0) when it turns counter-clockwise
    turned = rotated_box_corners(np.array([0.0, 0.0, 0.1, 10.0, 30.0]))
    top = turned[turned[:, 1] < 0].mean(axis=0)
    assert top == pytest.approx([-5 * np.sin(np.pi / 6), -5 * np.cos(np.pi / 6)], abs=1e-9)


@pytest.mark.parametrize("angle", [-70.0, -30.0, 20.0, 65.0])
def test_angle_sense_is_detectron2s(angle: float) -> None:
    """Its IoU of a turned and an upright box depends on the sense; shapely's, on our corners, agrees."""
    structures = pytest.importorskip("detectron2.structures", reason="detectron2 is not installed")
    import torch

    boxes = np.array([[50.0, 50.0, 10.0, 60.0, angle], [62.0, 32.0, 20.0, 30.0, 0.0]])
    theirs = structures.pairwise_iou_rotated(
        structures.RotatedBoxes(torch.tensor(boxes[:1])), structures.RotatedBoxes(torch.tensor(boxes[1:]))
    ).item()
    a, b = (Polygon(rotated_box_corners(box)) for box in boxes)
    assert theirs == pytest.approx(a.intersection(b).area / a.union(b).area, abs=1e-4)
    mirrored = Polygon(rotated_box_corners(np.array([50.0, 50.0, 10.0, 60.0, -angle])))
    assert abs(theirs - mirrored.intersection(b).area / mirrored.union(b).area) > 0.02


@pytest.mark.parametrize("angle", ANGLES)
def test_upright_box_of_a_rotated_one_is_detectron2s(angle: float) -> None:
    structures = pytest.importorskip("detectron2.structures", reason="detectron2 is not installed")
    box = [40.0, 30.0, 6.0, 20.0, angle]
    mode = structures.BoxMode
    theirs = mode.convert(box, mode.XYWHA_ABS, mode.XYXY_ABS)
    corners = rotated_box_corners(np.array(box))
    assert [*corners.min(axis=0), *corners.max(axis=0)] == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize(
    ("angle", "wrapped"),
    [
        (0, 0),
        (90, -90),
        (-90, -90),
        (180, 0),
        (270, -90),
        (-91, 89),
        (-90 - 1e-14, -90),
        (-90 - 1e-17, -90),
        (450, -90),
    ],
)
def test_wrap_half_turn(angle: float, wrapped: float) -> None:
    assert wrap_half_turn(angle) == wrapped


def test_wrap_half_turn_stays_in_range() -> None:
    angles = np.random.default_rng(0).uniform(-1e4, 1e4, 2000)
    edges = np.nextafter(np.array([-90.0, 90.0, 270.0, -270.0])[:, None], [-np.inf, np.inf]).ravel()
    assert all(-90 <= wrap_half_turn(float(a)) < 90 for a in [*angles, *edges])


def test_rotated_box_of_one_pixel() -> None:
    cx, cy, w, h, angle = rotated_box_of_points(pixel_corners(np.ones((1, 1), bool), 7, 3))
    assert (cx, cy, w, h) == pytest.approx((7.5, 3.5, 1, 1), abs=1e-5) and -90 <= angle < 90


@pytest.mark.parametrize("angle", [-90.0, -30.0, 0.0, 45.0, 89.9, 90.0, 179.0, 270.0, -450.5])
@pytest.mark.parametrize("sides", [(4.0, 10.0), (10.0, 4.0), (5.0, 5.0)])
def test_a_canonical_box_covers_the_same(sides: tuple[float, float], angle: float) -> None:
    box = np.array([[30.0, 20.0, *sides, angle]])
    made = canonical_rotated_boxes(box)
    assert made[0, 2] <= made[0, 3] and -90.0 <= made[0, 4] < 90.0
    ours, theirs = (corners[np.lexsort(corners.round(6).T)] for corners in
                    (rotated_boxes_corners(made)[0], rotated_boxes_corners(box)[0]))  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_allclose(canonical_rotated_boxes(made), made)


def test_upright_box_around_a_rotated_one() -> None:
    side = np.sqrt(50.0)
    found = enclosing_boxes(np.array([[30, 20, 10, 10, 45], [30, 20, 4, 10, 0], [30, 20, 4, 10, -90]]))
    expected = [[30 - side, 20 - side, 30 + side, 20 + side], [28, 15, 32, 25], [25, 18, 35, 22]]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert enclosing_boxes(np.zeros((0, 5))).shape == (0, 4)

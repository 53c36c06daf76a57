"""Measurands against scikit-image on ragged masks, closed forms and laws."""

from __future__ import annotations

import numpy as np
import pytest
from measurement_shapes import ANGLES_DEG, blobs, encoded, samples, shape
from skimage.measure import perimeter_crofton, regionprops

from tem_seg.data import rle
from tem_seg.measurement import measurands, moments
from tem_seg.measurement.runs import Runs, runs_of


def runs_for(*masks: np.ndarray) -> Runs:
    return runs_of(*encoded(list(masks)))


def orientation(*masks: np.ndarray) -> np.ndarray:
    return moments.orientation_deg(moments.of_runs(runs_for(*masks)))


@pytest.mark.parametrize("seed", range(4))
def test_equals_skimage(seed: int) -> None:
    masks = blobs(seed)
    runs = runs_for(*masks)
    area = measurands.area_px(runs)
    found = moments.of_runs(runs)
    x, y = found.x, found.y
    for index, mask in enumerate(masks):
        theirs = regionprops(mask.astype(int))[0]
        assert area[index] == theirs.area
        assert measurands.equivalent_diameter(area)[index] == pytest.approx(theirs.equivalent_diameter_area, abs=1e-9)
        # encoded() moved the mask by one pixel; a pixel's centre is at + 0.5
        assert (y[index] - 1.5, x[index] - 1.5) == pytest.approx(theirs.centroid, abs=1e-9)
        assert measurands.perimeter_px(runs)[index] == pytest.approx(perimeter_crofton(mask), abs=1e-6)
        # skimage counts from the row axis, counter-clockwise as displayed
        expected = (np.rad2deg(theirs.orientation) + 180.0) % 180.0 - 90.0
        if theirs.axis_major_length - theirs.axis_minor_length < 1e-9:  # a lone disc: skimage says 45, we say undefined
            expected = np.nan
        assert moments.orientation_deg(moments.of_runs(runs))[index] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_perimeter_at_the_frames_border_is_the_same() -> None:
    """The neighbour of a border pixel is outside, not the first pixel of the next column or particle."""
    masks = [np.ones((6, 5), bool), np.eye(6, 5, dtype=bool), np.ones((6, 5), bool)]
    free = runs_of(*encoded(masks))
    cut = runs_of([rle.encode(m) for m in masks], (6, 5))
    assert measurands.perimeter_px(cut).tolist() == measurands.perimeter_px(free).tolist()
    assert measurands.perimeter_px(cut) == pytest.approx([perimeter_crofton(m) for m in masks])


@pytest.mark.parametrize("size_px", [10.0, 20.0, 40.0, 80.0])
def test_discs(size_px: float) -> None:
    runs = runs_for(*samples("ellipse", size_px, size_px, 0.0, 32))
    area, perimeter = measurands.area_px(runs), measurands.perimeter_px(runs)
    assert measurands.equivalent_diameter(area).mean() == pytest.approx(size_px, abs=0.1)
    assert perimeter.mean() == pytest.approx(np.pi * size_px, rel=0.02)
    circularity = measurands.circularity(area, perimeter)
    assert circularity.mean() == pytest.approx(1.0, abs=0.02)
    assert circularity.max() <= 1.0


@pytest.mark.parametrize("angle_deg", ANGLES_DEG)
@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
def test_orientation_is_the_angle_drawn(kind: str, angle_deg: float) -> None:
    found = orientation(shape(kind, 40, 12, angle_deg, (0.3, 0.1)))[0]
    assert -90 <= found < 90
    assert abs((found - angle_deg + 90) % 180 - 90) < 1.0


def test_orientation_is_undefined_without_a_long_axis() -> None:
    disc = shape("ellipse", 21, 21, 0, (0.5, 0.5))
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    found = orientation(np.ones((1, 1), bool), np.ones((6, 6), bool), disc, cross)
    assert np.isnan(found).all()
    assert orientation(np.ones((1, 2), bool), np.ones((2, 1), bool)).tolist() == [0, -90]


@pytest.mark.parametrize("seed", range(2))
def test_rotation_by_a_right_angle_turns_only_the_orientation(seed: int) -> None:
    masks = blobs(seed)
    upright, turned = runs_for(*masks), runs_for(*[np.rot90(m) for m in masks])  # counter-clockwise as displayed
    for measure in (measurands.area_px, measurands.perimeter_px):
        assert measure(turned) == pytest.approx(measure(upright), abs=1e-9)
    difference = orientation(*[np.rot90(m) for m in masks]) - orientation(*masks)
    assert abs(difference) == pytest.approx(np.full(len(masks), 90.0))


def test_holes_lengthen_the_perimeter() -> None:
    solid = np.ones((9, 9), bool)
    pierced = solid.copy()
    pierced[4, 4] = False
    found = measurands.perimeter_px(runs_for(solid, pierced))
    assert found[1] - found[0] == pytest.approx(np.pi / 4 * (2 + np.sqrt(2)))  # that of one pixel


def test_single_pixel_and_empty_mask() -> None:
    runs = runs_for(np.zeros((3, 3), bool), np.ones((1, 1), bool))
    area = measurands.area_px(runs)
    assert area.tolist() == [0, 1]
    assert measurands.equivalent_diameter(area)[1] == pytest.approx(2 / np.sqrt(np.pi))
    assert measurands.circularity(area, measurands.perimeter_px(runs))[1] == 1.0
    undefined = [measurands.equivalent_diameter(area), moments.of_runs(runs).x, measurands.perimeter_px(runs)]
    assert all(np.isnan(values[0]) for values in undefined)
    assert np.isnan(moments.orientation_deg(moments.of_runs(runs))[0])
    assert measurands.touches_border(runs).tolist() == [False, False]


def test_border() -> None:
    pixel = np.ones((1, 1), bool)
    places = [(0, 3), (6, 3), (3, 0), (3, 4), (1, 1), (5, 3)]
    runs = runs_of([rle.encode_crop(pixel, x, y, (5, 7)) for x, y in places], (5, 7))
    assert measurands.touches_border(runs).tolist() == [True, True, True, True, False, False]

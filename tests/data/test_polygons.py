"""Polygons rasterise back to their masks: pycocotools and scikit-image are the oracles."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from skimage.draw import polygon2mask

from tem_seg.data import polygons, rle
from tem_seg.data.readers.emps import Emps

Mask = NDArray[np.bool_]


def by_coco(mask: Mask) -> Mask:
    """Traced, rounded as in a file, rasterised by pycocotools."""
    drawn = [polygons.flat(ring) for ring in polygons.trace(rle.encode(mask))]
    merged = coco_mask.merge(coco_mask.frPyObjects(drawn, *mask.shape))
    return coco_mask.decode(merged).astype(bool)


def by_centres(rings: list[polygons.Ring], shape: tuple[int, ...]) -> Mask:
    """Pixels whose centre lies in an odd number of the rings' windings."""
    filled = [polygon2mask(shape, ring[:, ::-1] - 0.5) for ring in rings]
    return np.any(filled, axis=0)


def ellipse(x: float, y: float, a: float, b: float, angle: float, size: tuple[int, int] = (120, 140)) -> Mask:
    canvas = np.zeros(size, np.uint8)
    cv2.ellipse(canvas, ((x, y), (2 * a, 2 * b), angle), 1, -1)
    return canvas.astype(bool)


@pytest.mark.parametrize("radius", [0.5, 1, 2, 3, 6, 12, 40, 90])
@pytest.mark.parametrize("ratio", [0.2, 0.6, 1.0])
def test_ellipses_of_all_sizes_come_back_whole(radius: float, ratio: float) -> None:
    """The largest are cut by the border."""
    mask = ellipse(61.3, 40.8, radius, max(0.5, radius * ratio), 27)
    np.testing.assert_array_equal(by_coco(mask), mask)
    np.testing.assert_array_equal(by_centres(polygons.trace(rle.encode(mask)), mask.shape), mask)


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=60, deadline=None)
def test_any_mask_comes_back_whole(mask: Mask) -> None:
    """One pixel, diagonal neighbours, holes, several parts, the whole frame."""
    if mask.any():
        np.testing.assert_array_equal(by_coco(mask), mask)


def test_an_empty_mask_has_no_polygon() -> None:
    assert polygons.trace(rle.encode(np.zeros((5, 5), bool))) == []


def test_a_rectangle_has_its_corners_and_area() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:15, 20:50] = True
    (ring,) = polygons.trace(rle.encode(mask))
    assert ring.min(axis=0) == pytest.approx([20, 5]) and ring.max(axis=0) == pytest.approx([50, 15])
    x, y = ring.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert area == pytest.approx(300, abs=0.5) and len(ring) <= 8


def test_each_part_has_a_polygon_and_a_hole_is_kept_open() -> None:
    mask = ellipse(30, 30, 20, 20, 0) | ellipse(90, 80, 25, 12, 30)
    mask &= ~ellipse(30, 30, 8, 8, 0)
    rings = polygons.trace(rle.encode(mask))
    assert len(rings) == 2
    np.testing.assert_array_equal(by_coco(mask), mask)
    np.testing.assert_array_equal(by_centres(rings, mask.shape), mask)


def test_parts_joined_in_one_polygon_cover_what_they_covered() -> None:
    """Slits have no width: pycocotools and even-odd filling by pixel centres do not see them."""
    mask = ellipse(30, 30, 20, 20, 0) | ellipse(90, 80, 25, 12, 30) | ellipse(100, 20, 9, 5, 70)
    mask &= ~ellipse(30, 30, 8, 8, 0)
    whole = polygons.joined(polygons.trace(rle.encode(mask)))
    np.testing.assert_array_equal(by_centres([whole], mask.shape), mask)
    drawn = coco_mask.decode(coco_mask.frPyObjects([polygons.flat(whole)], *mask.shape))[..., 0].astype(bool)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.99


def test_a_round_particle_has_fewer_points_than_its_outline_has_pixels() -> None:
    mask = ellipse(60, 60, 40, 40, 0)
    (ring,) = polygons.trace(rle.encode(mask))
    assert len(ring) < 0.5 * 2 * np.pi * 40


def test_polygons_move_with_the_mask() -> None:
    here, there = (polygons.trace(rle.encode(ellipse(x, y, 15, 9, 20))) for x, y in ((40, 40), (71, 63)))
    assert there[0] - [31, 23] == pytest.approx(here[0])


def test_real_particles_come_back_whole(data_dir: Path) -> None:
    """EMPS holds particles in several pieces, of one pixel's width, and with holes."""
    images = islice(Emps(data_dir / "emps").read("val"), 12)
    found = [mask for _, instances in images for mask in instances.segmentations]
    assert len(found) > 100
    for mask in found[:200]:
        drawn = rle.from_polygons([polygons.flat(ring) for ring in polygons.trace(mask)], tuple(mask["size"]))
        assert drawn["counts"] == mask["counts"]

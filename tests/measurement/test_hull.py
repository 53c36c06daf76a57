"""Feret diameters and convexity against closed forms: discs, ellipses, rectangles at 12 angles and 5 sizes.

A single sampled shape can be off by a pixel (a rectangle 10.5 px wide covers 10 or 11 columns of centres), so what
is held to half a pixel is the mean over places of the shape relative to the pixel grid.
"""

from __future__ import annotations

import numpy as np
import pytest
from measurement_shapes import ANGLES_DEG, SIZES_PX, blobs, encoded, samples, shape
from scipy.spatial.distance import pdist
from skimage.measure import regionprops
from skimage.morphology import convex_hull_image

from tem_seg.core.geometry import pixel_corners
from tem_seg.measurement import hull
from tem_seg.measurement.runs import runs_of


def ferets(masks: list[np.ndarray]) -> np.ndarray:
    """(N, 2) min and max Feret diameter."""
    polygons = hull.outlines(hull.centre_hulls(runs_of(*encoded(masks))))
    return np.stack([hull.min_feret(polygons), hull.max_feret(polygons)], axis=1)


def convex_areas(masks: list[np.ndarray]) -> np.ndarray:
    return hull.convex_area_px(hull.centre_hulls(runs_of(*encoded(masks))))


@pytest.mark.parametrize("size_px", SIZES_PX)
@pytest.mark.parametrize("ratio", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
def test_closed_forms_within_half_a_pixel(kind: str, ratio: float, size_px: float) -> None:
    long, short = ratio * size_px, size_px
    masks = [mask for angle in ANGLES_DEG for mask in samples(kind, long, short, angle)]
    true = [short, long if kind == "ellipse" else np.hypot(long, short)]
    errors = (ferets(masks) - true).reshape(len(ANGLES_DEG), -1, 2)
    by_angle = errors.mean(axis=1)
    assert abs(by_angle[:, 0]).max() < 0.55  # px, min Feret, at the worst angle
    assert abs(by_angle[:, 1]).max() < 0.75  # max Feret: a square's corners and small discs are the worst
    assert (abs(by_angle.mean(axis=0)) < 0.56).all()
    if ratio > 1:  # a disc and a square have no direction of their own, so extremes over all directions err one way
        assert (abs(by_angle.mean(axis=0)) < [0.1, 0.45]).all()
    assert abs(errors).max() < 1.6


def test_the_hull_of_pixel_corners_would_be_too_large() -> None:
    """Why the outline is not simply the hull of pixel corners."""
    masks = samples("rectangle", 60, 20, 30)
    corners = [pixel_corners(mask, 0, 0) for mask in masks]
    widths = [np.ptp(points @ [np.sin(np.deg2rad(30)), np.cos(np.deg2rad(30))]) for points in corners]
    assert np.mean(widths) - 20 > 1.0
    assert abs(ferets(masks)[:, 0].mean() - 20) < 0.1


def test_upright_rectangles_are_exact() -> None:
    masks = [np.ones(size, bool) for size in ((1, 1), (1, 7), (9, 1), (2, 2), (10, 10), (30, 7))]
    true = [[min(m.shape), np.hypot(*m.shape)] for m in masks]
    assert ferets(masks) == pytest.approx(np.array(true))


def test_small_shapes_by_hand() -> None:
    diagonal = np.eye(2, dtype=bool)
    corner = np.array([[1, 1], [1, 0]], bool)
    # the diagonal pair is as thin as one diagonal line of pixels, 1/√2; the corner has two such lines, and half a
    # spacing more towards its own tip
    expected = [[np.sqrt(0.5), np.sqrt(8)], [2.5 * np.sqrt(0.5), np.sqrt(8)]]
    assert ferets([diagonal, corner]) == pytest.approx(np.array(expected))


def test_an_empty_mask_is_undefined_among_others() -> None:
    found = ferets([np.ones((3, 3), bool), np.zeros((3, 3), bool), np.ones((4, 4), bool)])
    assert found[:, 0] == pytest.approx([3, np.nan, 4], nan_ok=True)
    assert convex_areas([np.zeros((3, 3), bool), np.ones((2, 3), bool)]).tolist() == [0, 6]


def test_max_feret_is_close_to_the_pixels_own_extent() -> None:
    """Never below the largest distance of pixel centres, never above that of pixel corners (√2 more)."""
    for mask in blobs(3):
        rows, columns = np.nonzero(mask)
        centres = pdist(np.stack([columns, rows], axis=1)).max()
        assert centres < ferets([mask])[0, 1] < centres + 1.5


@pytest.mark.parametrize("size_px", [10.0, 40.0])
@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_difference_to_skimage_is_the_documented_one(size_px: float, ratio: float) -> None:
    """skimage measures the convex hull image, which is up to 1.5 px too long."""
    masks = [mask for angle in ANGLES_DEG for mask in samples("ellipse", ratio * size_px, size_px, angle, 4)]
    ours = ferets(masks)[:, 1]
    theirs = np.array([regionprops(mask.astype(int))[0].feret_diameter_max for mask in masks])
    assert abs(ours - theirs).max() < 1.4
    assert abs(ours.mean() - ratio * size_px) < abs(theirs.mean() - ratio * size_px)


@pytest.mark.parametrize("seed", range(3))
def test_convex_area_counts_the_pixels_of_the_hull(seed: int) -> None:
    masks = blobs(seed)
    assert convex_areas(masks).tolist() == [convex_hull_image(m, offset_coordinates=False).sum() for m in masks]


def test_convex_shapes_fill_their_hull_at_any_size_and_angle() -> None:
    masks = [shape(kind, 1.5 * s, s, a) for kind in ("ellipse", "rectangle") for s in SIZES_PX for a in ANGLES_DEG]
    assert convex_areas(masks).tolist() == [mask.sum() for mask in masks]


def test_lines_and_single_pixels_are_convex() -> None:
    masks = [np.ones((1, 1), bool), np.ones((1, 9), bool), np.eye(6, dtype=bool)]
    assert convex_areas(masks).tolist() == [1, 9, 6]


def test_memory_is_bounded_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = [*blobs(0), *samples("ellipse", 80, 80, 0, 3)]
    whole = ferets(masks)
    monkeypatch.setattr(hull, "CHUNK", 500)
    assert (ferets(masks) == whole).all()

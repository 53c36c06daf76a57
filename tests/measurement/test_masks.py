"""All measurands of masks and of subpixel contours: closed forms, scikit-image, laws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from measurement_shapes import ANGLES_DEG, SIZES_PX, blobs, encoded, samples, shape
from scipy.special import erfc
from shapely.geometry import Polygon
from skimage.measure import find_contours, regionprops_table

from tem_seg.core.geometry import rotated_boxes_corners
from tem_seg.measurement import measurands, moments
from tem_seg.measurement.masks import LENGTHS, SHAPES, measure_masks, polygons_of

SHARED = {
    "area": "area_px", "equivalent_diameter_area": "equivalent_diameter_px", "axis_major_length": "ellipse_major_px",
    "axis_minor_length": "ellipse_minor_px", "perimeter_crofton": "perimeter_px", "extent": "extent",
}  # fmt: skip


def ellipse(long: float, short: float, angle_deg: float, corners: int = 720) -> np.ndarray:
    """Outline (K, 2) x, y px about (50, 60), long axis at angle_deg ccw as displayed."""
    t = np.arange(corners) / corners * 2 * np.pi
    a, b, turn = long / 2 * np.cos(t), short / 2 * np.sin(t), np.deg2rad(angle_deg)
    return np.stack([50 + a * np.cos(turn) + b * np.sin(turn), 60 - a * np.sin(turn) + b * np.cos(turn)], axis=1)


def rectangle(long: float, short: float, angle_deg: float) -> np.ndarray:
    return rotated_boxes_corners(np.array([[50, 60, long, short, angle_deg]]))[0]


@pytest.mark.parametrize("size_px", SIZES_PX)
@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
def test_closed_forms_within_half_a_pixel(kind: str, size_px: float) -> None:
    """At 12 angles, mean over places relative to the pixel grid (single shapes: test_hull.py)."""
    long, short = 1.5 * size_px, size_px
    masks = [mask for angle in ANGLES_DEG for mask in samples(kind, long, short, angle, 8)]
    found = measure_masks(*encoded(masks))
    angle = np.deg2rad(np.repeat(ANGLES_DEG, 8))
    cosine, sine = abs(np.cos(angle)), abs(np.sin(angle))
    if kind == "ellipse":
        true = {"rectangle_width_px": short, "rectangle_length_px": long, "ellipse_major_px": long,
                "ellipse_minor_px": short, "equivalent_diameter_px": np.sqrt(long * short),
                "max_feret_orthogonal_px": short, "x_size_px": np.hypot(long * cosine, short * sine),
                "y_size_px": np.hypot(long * sine, short * cosine)}  # fmt: skip
    else:
        true = {
            "rectangle_width_px": short,
            "rectangle_length_px": long,
            "ellipse_major_px": long * 2 / np.sqrt(3),
            "ellipse_minor_px": short * 2 / np.sqrt(3),
            "equivalent_diameter_px": np.sqrt(long * short * 4 / np.pi),
        }
    for name, value in true.items():
        errors = (found[name] - value).reshape(len(ANGLES_DEG), -1).mean(axis=1)
        # upright extents take the outermost of few pixel centres: at 45° up to half a spacing more is missing
        assert abs(errors.mean()) < 0.5, (name, errors)
        assert abs(errors).max() < 0.95, (name, errors)


def test_across_a_rectangles_diagonal_the_tips_of_corners_are_missing() -> None:
    """Of two diagonals the longer is taken, so the corners beside it are the ones that the pixel grid cut."""
    for size_px in SIZES_PX:
        masks = [mask for angle in ANGLES_DEG for mask in samples("rectangle", 1.5 * size_px, size_px, angle, 8)]
        errors = measure_masks(*encoded(masks))["max_feret_orthogonal_px"] - 3 * size_px / np.hypot(1.5, 1)
        assert -1.0 < errors.mean() < -0.5
        assert abs(errors.reshape(len(ANGLES_DEG), -1).mean(axis=1)).max() < 1.25


@pytest.mark.parametrize("seed", range(4))
def test_equals_skimage(seed: int) -> None:
    masks = blobs(seed)
    found = measure_masks(*encoded(masks))
    for index, mask in enumerate(masks):
        theirs = regionprops_table(mask.astype(int), properties=(*SHARED, "centroid", "bbox"))
        for name, ours in SHARED.items():
            assert found[ours][index] == pytest.approx(theirs[name][0], abs=1e-6), name
        box = [theirs[f"bbox-{k}"][0] for k in range(4)]
        assert (found["y_size_px"][index], found["x_size_px"][index]) == (box[2] - box[0], box[3] - box[1])


def test_upright_squares_and_lines_by_hand() -> None:
    found = measure_masks(*encoded([np.ones((10, 10), bool), np.ones((1, 7), bool), np.ones((4, 12), bool)]))
    assert found["x_size_px"].tolist() == [10, 7, 12]
    assert found["aspect_ratio_xy"].tolist() == [1, 7, 3]
    assert found["rectangle_width_px"] == pytest.approx([10, 1, 4])
    assert found["rectangle_length_px"] == pytest.approx([10, 7, 12])
    assert found["extent"].tolist() == found["solidity"].tolist() == found["convexity"].tolist() == [1, 1, 1]
    assert found["max_feret_orthogonal_px"][0] == pytest.approx(np.sqrt(200))
    assert found["roundness"][0] == pytest.approx(400 / (np.pi * 200))
    assert found["ellipse_minor_px"][1] == 0 and found["ellipse_ratio"][1] == 0
    assert found["form_factor"] == pytest.approx(found["circularity"] ** 2)


def test_a_dent_lowers_convexity_and_none_leaves_it_at_one() -> None:
    """The same estimate of both perimeters, so that no angle has more than 1."""
    convex = [shape(kind, 1.5 * s, s, a) for kind in ("ellipse", "rectangle") for s in SIZES_PX for a in ANGLES_DEG]
    found = measure_masks(*encoded(convex))
    assert found["convexity"] == pytest.approx(np.ones(len(convex)), abs=0.02)
    assert np.mean(found["convexity"]) > 0.999
    notched = np.ones((40, 40), bool)
    notched[10:, 18:22] = False  # 2 × 30 px more outline, 4 px less: over Crofton's scale, exact only upright
    assert measure_masks(*encoded([notched]))["convexity"][0] == pytest.approx(160 / 220, abs=0.02)


@pytest.mark.parametrize("angle_deg", ANGLES_DEG)
@pytest.mark.parametrize("size_px", SIZES_PX)
def test_contours_are_measured_exactly(size_px: float, angle_deg: float) -> None:
    """Polygons have closed forms: no half pixel to allow for, but for the tenth that files keep."""
    long, short = 1.5 * size_px, size_px
    masks = [shape(kind, long, short, angle_deg, (0.3, 0.4)) for kind in ("ellipse", "rectangle")]
    lines = [ellipse(long, short, angle_deg), rectangle(long, short, angle_deg)]
    found = measure_masks(*encoded(masks), lines)
    assert found["outline"].tolist() == ["contour", "contour"]
    for name, of_ellipse, of_rectangle in (
        ("area_px", np.pi / 4 * long * short, long * short),
        ("min_feret_px", short, short), ("max_feret_px", long, np.hypot(long, short)),
        ("max_feret_orthogonal_px", short, 2 * long * short / np.hypot(long, short)),
        ("rectangle_width_px", short, short), ("rectangle_length_px", long, long),
        ("ellipse_major_px", long, long * 2 / np.sqrt(3)), ("ellipse_minor_px", short, short * 2 / np.sqrt(3)),
        ("perimeter_px", np.nan, 2 * (long + short)), ("convexity", 1.0, 1.0), ("solidity", 1.0, 1.0),
        ("ellipse_ratio", 2 / 3, 2 / 3), ("roundness", 2 / 3, 4 * 1.5 / (np.pi * 3.25)),
        ("form_factor", np.nan, 4 * np.pi * 1.5 / 25), ("centroid_x_px", 50, 50), ("centroid_y_px", 60, 60),
    ):  # fmt: skip
        got, true = found[name].astype(float), np.array([of_ellipse, of_rectangle])
        assert got[~np.isnan(true)] == pytest.approx(true[~np.isnan(true)], rel=2e-4), name
    turned = (found["orientation_deg"] - angle_deg + 90) % 180 - 90
    assert turned == pytest.approx([0, 0], abs=1e-6)


def test_a_contour_rounded_to_a_tenth_is_as_good() -> None:
    lines = [np.round(ellipse(30, 20, angle, 90), 1) for angle in ANGLES_DEG]
    found = measure_masks(*encoded([shape("ellipse", 30, 20, angle) for angle in ANGLES_DEG]), lines)
    assert set(found["outline"]) == {"contour"}
    for name, true in (("min_feret_px", 20), ("max_feret_px", 30), ("equivalent_diameter_px", np.sqrt(600))):
        assert abs(found[name] - true).max() < 0.15


@pytest.mark.parametrize("size_px", [10.0, 40.0])
def test_contours_of_soft_masks_beat_their_masks(size_px: float) -> None:
    """As tem_seg.models.postprocess.outline makes them and predictions.json keeps them, of discs with a soft edge."""
    rng, masks, lines = np.random.default_rng(0), [], []
    for _ in range(32):
        extent = int(1.3 * size_px + 12)
        centre = extent / 2 + rng.uniform(-0.5, 0.5, 2)
        rows, columns = np.mgrid[:extent, :extent] + 0.5
        soft = 0.5 * erfc((np.hypot(rows - centre[0], columns - centre[1]) - size_px / 2) / np.sqrt(2))
        line = (find_contours(soft, 0.5)[0][:-1, ::-1] + 1.5).astype(np.float32)  # encoded() moves by a pixel
        lines.append(np.round(cv2.approxPolyDP(line[:, None], 0.05, True)[:, 0], 1).tolist())
        masks.append(soft >= 0.5)
    fine, coarse = measure_masks(*encoded(masks), lines), measure_masks(*encoded(masks))
    assert set(fine["outline"]) == {"contour"}
    for name in ("equivalent_diameter_px", "min_feret_px", "max_feret_px"):
        assert abs(fine[name] - size_px).max() < 0.25
        assert np.mean((fine[name] - size_px) ** 2) < np.mean((coarse[name] - size_px) ** 2)
    assert fine["form_factor"].min() > 0.98


def test_moments_of_polygons_are_shapelys() -> None:
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(20):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 12))
        reach = rng.uniform(20, 60, 12)
        lines.append(np.stack([9000 + reach * np.cos(angle), 8000 + reach * np.sin(angle)], axis=1))
    polygons = polygons_of(lines)
    found = moments.of_polygons(polygons)
    shapes = [Polygon(line) for line in lines]
    assert found.area == pytest.approx([s.area for s in shapes])
    assert found.x == pytest.approx([s.centroid.x for s in shapes])
    assert found.y == pytest.approx([s.centroid.y for s in shapes])
    assert measurands.polygon_perimeter(polygons) == pytest.approx([s.length for s in shapes])
    reverse = moments.of_polygons(polygons_of([line[::-1] for line in lines]))
    assert reverse.xx == pytest.approx(found.xx) and reverse.xy == pytest.approx(found.xy)


def test_masks_with_holes_or_parts_keep_their_own_measures() -> None:
    """A contour is the outer line of the largest part: it does not stand for such masks."""
    whole = shape("ellipse", 30, 30, 0)
    pierced, crumbed = whole.copy(), whole.copy()
    y, x = (int(places.mean()) for places in np.nonzero(whole))
    pierced[y - 4 : y + 4, x - 4 : x + 4] = False
    crumbed[:6, :6] = True
    lines = [(find_contours(whole.astype(float), 0.5)[0][:-1, ::-1] + 1.5).tolist()] * 3
    found = measure_masks(*encoded([whole, pierced, crumbed]), lines)
    assert found["outline"].tolist() == ["contour", "mask", "mask"]
    assert found["area_px"][1] == pierced.sum() and found["area_px"][2] == crumbed.sum()


@pytest.mark.parametrize("line", [None, [], [[1, 2]], [[1, 2], [3, 4]], [[5, 5], [5, 5], [5, 5]]])
def test_no_contour_leaves_the_mask(line: list[list[float]] | None) -> None:
    masks = [shape("rectangle", 20, 10, 30)]
    plain, found = measure_masks(*encoded(masks)), measure_masks(*encoded(masks), [line])
    assert all(np.array_equal(found[name], plain[name]) for name in plain)


def test_every_key_is_there_whatever_there_is() -> None:
    keys = {*(f"{name}_px" for name in LENGTHS), *SHAPES}
    assert set(measure_masks([], (9, 9))) == keys == set(measure_masks([], (9, 9), []))
    empty = measure_masks(*encoded([np.zeros((3, 3), bool)]))
    assert set(empty) == keys and empty["shape_class"].tolist() == [None]

"""Shape classes of shapes of known class."""

from __future__ import annotations

import numpy as np
import pytest
from measurement_shapes import ANGLES_DEG, encoded, samples
from skimage.draw import polygon2mask

from tem_seg.measurement.masks import measure_masks
from tem_seg.measurement.shape_class import rosin


def classes(masks: list[np.ndarray]) -> set[str | None]:
    return set(measure_masks(*encoded(masks))["shape_class"])


def ngons(corners: int, size_px: float) -> list[np.ndarray]:
    rng = np.random.default_rng(corners)
    extent, found = int(1.5 * size_px) + 6, []
    for turn in np.linspace(0, 2 * np.pi / corners, 13)[:-1]:
        angle = turn + np.arange(corners) * 2 * np.pi / corners
        points = extent / 2 + size_px / 2 * np.stack([np.sin(angle), np.cos(angle)], axis=1) + rng.uniform(0, 1, 2)
        found.append(polygon2mask((extent, extent), points))
    return found


@pytest.mark.parametrize("size_px", [16.0, 40.0])
@pytest.mark.parametrize(
    ("kind", "ratio", "expected"),
    [
        ("ellipse", 1.0, "round"), ("ellipse", 1.3, "round"), ("ellipse", 2.0, "elongated"), ("ellipse", 4.0, "rod"),
        ("rectangle", 1.0, "rectangular"), ("rectangle", 2.0, "rectangular"), ("rectangle", 4.0, "rod"),
    ],
)  # fmt: skip
def test_ellipses_and_rectangles_at_every_angle(kind: str, ratio: float, expected: str, size_px: float) -> None:
    masks = [mask for angle in ANGLES_DEG for mask in samples(kind, ratio * size_px, size_px, angle, 4)]
    assert classes(masks) == {expected}


@pytest.mark.parametrize(("corners", "expected"), [(3, "triangular"), (4, "rectangular"), (6, "round"), (8, "round")])
def test_polygons(corners: int, expected: str) -> None:
    assert classes(ngons(corners, 40.0)) == {expected}


def test_dents_are_irregular_and_few_pixels_are_nothing() -> None:
    rows, columns = np.mgrid[:50, :90]
    pair = np.hypot(rows - 25, columns - 25) <= 20
    pair |= np.hypot(rows - 25, columns - 65) <= 20
    assert classes([pair]) == {"irregular"}
    assert classes([np.ones((12, 12), bool), np.zeros((3, 3), bool)]) == {None}


def test_rosins_measures_of_ideal_shapes() -> None:
    invariant = np.array([1 / (16 * np.pi**2), 1 / 144, 1 / 108])
    filled, triangle, ellipse = rosin(np.array([np.pi / 4, 1.0, 0.5]), invariant)
    assert filled.tolist() == [np.pi / 4, 1, 0.5]
    assert triangle == pytest.approx([108 / (16 * np.pi**2), 0.75, 1])
    assert ellipse == pytest.approx([1, 144 / (16 * np.pi**2), 108 / (16 * np.pi**2)])

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import beta
from skimage.draw import polygon2mask

from tem_seg.core.types import Particle
from tem_seg.generation.raster import (
    Crop,
    bounds,
    cut,
    depths_px,
    fill,
    following,
    masks,
    thickness_nm,
    thicknesses_nm,
)
from tem_seg.generation.scenes.shapes import regular


@pytest.mark.parametrize("seed", range(8))
def test_fill_takes_pixels_whose_centre_is_inside_as_scikit_image_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 24))
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.uniform(3, 14, (24, 1)) + rng.uniform(14, 16, 2)
    # skimage samples at whole numbers, our centres lie at halves
    expected = polygon2mask((32, 32), outline[:, ::-1] - 0.5)
    np.testing.assert_array_equal(fill(outline, (0, 0, 32, 32)), expected)


def test_fill_of_a_rectangle_by_hand() -> None:
    # x from 1.6 to 4.4: centres 2.5, 3.5; y from 0.4 to 2.5: centres 0.5, 1.5 (2.5 lies on the border, outside)
    outline = np.array([[1.6, 0.4], [4.4, 0.4], [4.4, 2.5], [1.6, 2.5]])
    expected = np.zeros((3, 6), bool)
    expected[0:2, 2:4] = True
    np.testing.assert_array_equal(fill(outline, (0, 0, 6, 3)), expected)


def test_two_halves_of_a_square_share_no_pixel_and_miss_none() -> None:
    left, right = np.array([[0, 0], [2.5, 0], [2.5, 6], [0, 6]]), np.array([[2.5, 0], [6, 0], [6, 6], [2.5, 6]])
    masks = [fill(half.astype(float), (0, 0, 6, 6)) for half in (left, right)]
    assert (masks[0] ^ masks[1]).all()


def test_fill_in_a_cut_window_equals_the_whole_cut() -> None:
    outline = regular(7) * 9.0 + 10.0
    whole = fill(outline, (0, 0, 20, 20))
    np.testing.assert_array_equal(fill(outline, (5, 4, 12, 18)), whole[4:18, 5:12])


def test_finer_samples_average_to_the_area(disc: Callable[..., Particle]) -> None:
    outline = disc(5.3, 5.7, 8.0).outline_nm
    errors = [abs(fill(outline, (0, 0, 11, 11), n).sum() / n**2 - np.pi * 16) for n in (1, 16)]
    assert errors[1] < 0.05 and errors[0] < 3.0


def test_outline_smaller_than_a_pixel_is_no_error() -> None:
    speck = regular(5) * 0.1 + 3.2
    assert bounds(speck) == (3, 3, 4, 4)
    assert fill(speck, bounds(speck)).sum() == 0
    assert fill(regular(5) * 0.1 + 3.5, (3, 3, 4, 4)).sum() == 1


def many_outlines(rng: np.random.Generator) -> list[np.ndarray]:
    """Stars, among them some that cross themselves, lie on half pixels, or are smaller than a pixel."""
    found = []
    for index in range(150):
        angle = rng.uniform(0, 2 * np.pi, int(rng.integers(3, 80)))
        radius = rng.uniform(0.1, 20.0, (len(angle), 1))
        outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius + rng.uniform(-30, 60, 2)
        found.append(np.round(2 * outline) / 2 if index % 3 == 0 else outline)
    return found


def test_many_at_once_are_each_by_itself(disc: Callable[..., Particle]) -> None:
    outlines = many_outlines(np.random.default_rng(0))
    for outline, mask in zip(outlines, masks(outlines), strict=True):
        assert (mask.x0, mask.y0) == bounds(outline)[:2]
        np.testing.assert_array_equal(mask.values, fill(outline, bounds(outline)))
    particles = [disc(30, 40, size, bevel=0.6, edge_power=power) for size in (3, 20, 90) for power in (1.0, 1.5, 2.0)]
    whole = thicknesses_nm(particles, [particle.outline_nm for particle in particles])
    for particle, crop in zip(particles, whole, strict=True):
        np.testing.assert_array_equal(crop.values, thickness_nm(particle, particle.outline_nm).values)
    assert masks([]) == [] and list(thicknesses_nm([], [])) == []


@pytest.mark.parametrize("diameter", [9.0, 30.0, 150.0])
def test_depth_is_the_distance_to_the_edge(disc: Callable[..., Particle], diameter: float) -> None:
    # OpenCV's distances in a 5 × 5 mask are up to 2 % off (Borgefors 1986); the edge lies within half a pixel
    (crop,) = depths_px([disc(100.3, 100.6, diameter).outline_nm])
    y, x = np.mgrid[0 : crop.values.shape[0], 0 : crop.values.shape[1]] + 0.5
    expected = np.maximum(diameter / 2.0 - np.hypot(x + crop.x0 - 100.3, y + crop.y0 - 100.6), 0.0)
    errors = crop.values - expected
    assert (np.abs(errors) <= 0.5 + 0.022 * expected).all() and abs(errors.mean()) < 0.02 * expected.max()


def test_following_closes_the_outline() -> None:
    np.testing.assert_array_equal(following(np.array([1.0, 2.0, 3.0])), [2.0, 3.0, 1.0])


@pytest.mark.parametrize("diameter", [12.0, 40.0, 100.0])
def test_thickness_of_a_sphere_is_its_chord(disc: Callable[..., Particle], diameter: float) -> None:
    particle = disc(60.3, 60.6, diameter)
    crop = thickness_nm(particle, particle.outline_nm)
    y, x = np.mgrid[0 : crop.values.shape[0], 0 : crop.values.shape[1]] + 0.5
    radius = np.hypot(x + crop.x0 - 60.3, y + crop.y0 - 60.6)
    chord = 2.0 * np.sqrt(np.clip((diameter / 2) ** 2 - radius**2, 0, None))
    inner = radius < diameter / 2 - 1.5
    assert np.abs(crop.values - chord)[inner].max() < 0.06 * diameter
    assert crop.values.sum() == pytest.approx(np.pi / 6 * diameter**3, rel=0.04)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_volume_under_the_profile(disc: Callable[..., Particle], power: float) -> None:
    """∫ 2 r (1 − r^p)^(1/p) dr = 2/p · B(2/p, 1 + 1/p): a third for a cone, two thirds for a half sphere."""
    volume = 2.0 / power * beta(2.0 / power, 1.0 + 1.0 / power)
    particle = disc(50, 50, 80, edge_power=power)
    total = thickness_nm(particle, particle.outline_nm).values.sum()
    assert total / (np.pi * 40**2 * 80) == pytest.approx(volume, abs=0.02)


def test_plate_is_flat_inside(disc: Callable[..., Particle]) -> None:
    particle = disc(50, 50, 60, bevel=0.1)
    values = thickness_nm(particle, particle.outline_nm).values
    assert (values > 0.999 * 60).sum() / (np.pi * 900) == pytest.approx(0.81, abs=0.02)


def test_cut_keeps_what_lies_in_the_image() -> None:
    crop = Crop(np.arange(12).reshape(3, 4), -1, -2)
    inside = cut(crop, (10, 10))
    assert inside is not None and (inside.x0, inside.y0) == (0, 0)
    np.testing.assert_array_equal(inside.values, [[9, 10, 11]])
    assert inside.window == (slice(0, 1), slice(0, 3))
    assert cut(Crop(np.ones((2, 2)), 10, 0), (10, 10)) is None
    assert cut(Crop(np.ones((2, 2)), -2, 0), (10, 10)) is None

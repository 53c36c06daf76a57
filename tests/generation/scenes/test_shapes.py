from __future__ import annotations

import numpy as np
import pytest
from shapely import Polygon

from tem_seg.generation.scenes.shapes import (
    POINTS,
    SHAPES,
    Roughness,
    area,
    ellipse,
    irregular,
    normalised,
    regular,
    resampled,
    rounded,
    stadium,
)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rough", [Roughness(0.01, 0.0), Roughness(0.35, 0.035), Roughness(1.0, 0.2)])
def test_every_shape_has_unit_area_at_the_origin_and_does_not_cross_itself(name: str, rough: Roughness) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        shape = SHAPES[name](rng, rough)
        polygon = Polygon(shape.outline)
        assert shape.outline.shape == (POINTS, 2)
        assert polygon.is_valid or rough.irregularity > 0.1
        assert area(shape.outline) == pytest.approx(np.pi / 4)
        if polygon.is_valid:
            assert polygon.area == pytest.approx(np.pi / 4)
            assert np.hypot(polygon.centroid.x, polygon.centroid.y) < 1e-9
        assert 0.1 < shape.height < 1.5 and 0 < shape.bevel <= 1


@pytest.mark.parametrize("name", SHAPES)
def test_same_generator_same_shape(name: str) -> None:
    draws = [SHAPES[name](np.random.default_rng(5), Roughness(0.1, 0.02)).outline for _ in range(2)]
    np.testing.assert_array_equal(*draws)


def test_area_by_hand() -> None:
    assert area(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])) == 6.0
    assert area(np.array([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0]])) == 6.0


def test_ellipse_and_stadium_have_their_closed_forms() -> None:
    # a polygon on an ellipse of semi-axes a b = 1 has the area n/2 sin(2π/n)
    assert area(ellipse(3.0)) == pytest.approx(POINTS / 2 * np.sin(2 * np.pi / POINTS))
    assert np.ptp(ellipse(4.0), axis=0) == pytest.approx([4.0, 1.0])
    # 28 of the 64 chords span its round ends: they cut 1 - sin(2π/28) / (2π/28) = 0.8 % off the disc's π/4
    assert area(stadium(3.0)) == pytest.approx(2.0 + 0.9916 * np.pi / 4, rel=1e-3)
    assert np.ptp(stadium(3.0), axis=0) == pytest.approx([3.0, 1.0], rel=2e-3)
    assert area(stadium(1.0)) == pytest.approx(np.pi / 4, rel=3e-3)


def test_normalised_undoes_shift_and_scale() -> None:
    outline = regular(9) * 3.0
    np.testing.assert_allclose(normalised(outline * 7.0 + [5.0, -2.0]), normalised(outline), atol=1e-12)


def test_resampled_steps_are_equal() -> None:
    points = resampled(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0], [0.0, 1.0]]), 80)
    np.testing.assert_allclose(np.hypot(*(np.roll(points, -1, axis=0) - points).T), 0.1, atol=1e-12)


def test_rounding_goes_from_the_square_towards_the_disc() -> None:
    fullness = [Polygon(rounded(regular(4), corner)) for corner in (0.01, 0.2, 0.6)]
    roundness = [4 * np.pi * p.area / p.length**2 for p in fullness]
    assert roundness[0] == pytest.approx(np.pi / 4, abs=0.02)
    assert roundness[0] < roundness[1] < roundness[2] <= 1.0


def test_irregularity_is_its_relative_deviation() -> None:
    rng = np.random.default_rng(0)
    radius = np.concatenate([np.hypot(*irregular(ellipse(), 0.03, rng).T) for _ in range(300)])
    assert radius.std() == pytest.approx(0.03, rel=0.25)
    np.testing.assert_array_equal(irregular(ellipse(), 0.0, rng), ellipse())

"""Ripley's L and Clark and Evans' index: random points, grids, clusters, brute force."""

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.measurement.spatial import Pattern, clark_evans, ripley, ripley_l

EXTENT = (300.0, 200.0)


def at_random(rng: np.random.Generator, count: int) -> Pattern:
    return Pattern(rng.uniform((0, 0), EXTENT, (count, 2)), EXTENT)


def grid() -> Pattern:
    x, y = np.meshgrid(np.arange(15) * 20 + 10.0, np.arange(10) * 20 + 10.0)
    return Pattern(np.stack([x.ravel(), y.ravel()], axis=1), EXTENT)


def clusters(rng: np.random.Generator) -> Pattern:
    middle = rng.uniform((30, 30), (270, 170), (15, 1, 2))
    return Pattern((middle + rng.uniform(-8, 8, (15, 10, 2))).reshape(-1, 2), EXTENT)


def test_random_points_give_r() -> None:
    """K is estimated without bias: the mean of L² over 600 patterns is r² at every distance, up to the border."""
    rng, r = np.random.default_rng(0), np.linspace(5, 100, 40)
    squares = np.mean([ripley_l([at_random(rng, 50)], r) ** 2 for _ in range(600)], axis=0)
    assert np.sqrt(squares) == pytest.approx(r, rel=0.02)


def test_random_points_stay_within_their_envelope_as_often_as_they_should() -> None:
    rng = np.random.default_rng(1)
    found = [ripley([at_random(rng, 40)], rng, simulations=19) for _ in range(100)]
    assert np.mean([each.p <= 0.1 for each in found if each]) == pytest.approx(0.1, abs=0.07)
    inside = [((each.l_of_r >= each.low) & (each.l_of_r <= each.high)).mean() for each in found if each]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)  # between the extremes of 19, nearly


def test_a_grid_lies_below_and_clusters_above() -> None:
    rng = np.random.default_rng(2)
    regular, clustered = ripley([grid()], rng), ripley([clusters(rng)], rng)
    assert regular is not None and clustered is not None
    near = regular.r < 19
    assert (regular.l_of_r[near] == 0).all() and (regular.low[regular.r > 8] > 0).all()
    assert (regular.p, regular.clustered) == (0.005, False)
    near = (clustered.r > 3) & (clustered.r < 20)
    assert (clustered.l_of_r[near] > clustered.high[near]).all() and (clustered.l_of_r - clustered.r)[near].max() > 10
    assert (clustered.p, clustered.clustered) == (0.005, True)


def test_it_is_the_sum_over_pairs() -> None:
    pattern = at_random(np.random.default_rng(3), 30)
    r, total = np.array([5.0, 20.0, 60.0]), np.zeros(3)
    for i, a in enumerate(pattern.points):
        for j, b in enumerate(pattern.points):
            dx, dy = abs(a - b)
            if i != j:
                total += (np.hypot(dx, dy) <= r) / ((300 - dx) * (200 - dy))
    assert ripley_l([pattern], r) == pytest.approx(np.sqrt(total / (30 * 29) * (300 * 200) ** 2 / np.pi))


def test_pooling_images_of_different_density_makes_no_clusters() -> None:
    rng, r = np.random.default_rng(4), np.linspace(5, 50, 10)
    squares = np.mean([ripley_l([at_random(rng, 20), at_random(rng, 100)], r) ** 2 for _ in range(400)], axis=0)
    assert np.sqrt(squares) == pytest.approx(r, rel=0.02)


def test_clark_evans() -> None:
    rng = np.random.default_rng(5)
    found = [clark_evans([at_random(rng, 40), at_random(rng, 60)]) for _ in range(300)]
    assert np.mean([each.index for each in found if each]) == pytest.approx(1.0, abs=0.01)  # Donnelly's correction
    assert np.mean([each.p < 0.05 for each in found if each]) == pytest.approx(0.05, abs=0.035)
    regular, clustered = clark_evans([grid()]), clark_evans([clusters(rng)])
    assert regular is not None and regular.index > 1.8 and regular.p < 1e-6 and regular.n == 150
    assert clustered is not None and clustered.index < 0.5 and clustered.p < 1e-6


def test_the_unit_does_not_matter() -> None:
    pattern, r = at_random(np.random.default_rng(6), 30), np.linspace(5, 40, 8)
    double = Pattern(2 * pattern.points, (600.0, 400.0))
    assert ripley_l([double], 2 * r) == pytest.approx(2 * ripley_l([pattern], r))
    one, two = clark_evans([pattern]), clark_evans([double])
    assert one is not None and two is not None and one.index == pytest.approx(two.index)


@pytest.mark.parametrize("counts", [(), (0,), (1,), (5, 4), (1,) * 12])
def test_too_few_points_say_nothing(counts: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    patterns = [at_random(rng, count) for count in counts]
    assert ripley(patterns, rng) is None and clark_evans(patterns) is None


def test_no_pair_is_undefined() -> None:
    assert np.isnan(ripley_l([Pattern(np.array([[1.0, 1.0]]), EXTENT)], np.array([5.0]))).all()


def test_bad_frames_and_distances() -> None:
    with pytest.raises(ValueError, match="points lie outside their frame of 300 × 200"):
        Pattern(np.array([[301.0, 5.0]]), EXTENT)
    with pytest.raises(ValueError, match=r"expected points \(N, 2\)"):
        Pattern(np.zeros((3, 2)), (0.0, 5.0))
    with pytest.raises(ValueError, match="between 0 and the shortest side of the frames, 200"):
        ripley_l([grid()], np.array([250.0]))

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.imaging import Exposure
from tem_seg.generation.microscope.stigmator import Astigmatism, line_blur


def exposure(pixels: np.ndarray) -> Exposure:
    return Exposure(pixels.astype(np.float32), np.zeros(pixels.shape, bool), 0.5)


def covariance(kernel: np.ndarray) -> np.ndarray:
    """Second moments (2, 2) of x (right) and y (up), px²."""
    half = kernel.shape[0] // 2
    y, x = np.mgrid[half : -half - 1 : -1, -half : half + 1]
    return np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4, 1.3, 2.5])
def test_blur_has_its_variance_along_its_direction_and_next_to_none_across(angle: float) -> None:
    kernel = line_blur(angle, 2.0, 3.0)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    assert kernel.sum() == pytest.approx(1.0, abs=1e-6)
    assert along @ covariance(kernel) @ along == pytest.approx(4.0, rel=0.05)
    assert across @ covariance(kernel) @ across == pytest.approx(0.25, abs=0.06)


def test_a_point_becomes_a_line_in_a_direction_of_its_own_for_every_micrograph() -> None:
    angles = []
    for seed in range(12):
        point = np.zeros((41, 41))
        point[20, 20] = 1.0
        seen = exposure(point)
        Astigmatism(1.0, (2, 2), (0, 0), (1, 1))(seen, np.random.default_rng(seed))
        values, vectors = np.linalg.eigh(covariance(seen.pixels))
        assert values == pytest.approx([0.25, 4.0], abs=0.25)
        angles.append(np.arctan2(*vectors[::-1, 1]) % np.pi)
    assert np.ptp(angles) > 1.5


def test_rims_are_bright_in_one_direction_and_dark_across_it() -> None:
    """The difference of the two blurs has the sign of the intensity's curvature, which is + outside a dark disc."""
    y, x = np.mgrid[-30.0:31.0, -30.0:31.0]
    disc = np.where(np.hypot(x, y) < 15, 0.2, 1.0)
    rimmed, plain = exposure(disc), exposure(disc)
    Astigmatism(1.0, (0.5, 0.5), (1, 1), (1.5, 1.5))(rimmed, np.random.default_rng(1))
    Astigmatism(1.0, (0.5, 0.5), (0, 0), (1.5, 1.5))(plain, np.random.default_rng(1))
    change = (rimmed.pixels - plain.pixels)[np.abs(np.hypot(x, y) - 16.5) < 1.0]
    phase = np.exp(2j * np.arctan2(y, x)[np.abs(np.hypot(x, y) - 16.5) < 1.0])
    assert change.max() > 0.05 and change.min() < -0.05 and abs(change.mean()) < 0.02
    assert abs((change * phase).mean()) > 0.4 * np.abs(change).mean(), "two-fold"


def test_mean_is_kept_and_probability_zero_changes_nothing() -> None:
    noise = np.random.default_rng(0).random((64, 64)) + 5.0
    seen = exposure(noise)
    Astigmatism(1.0, (1, 2), (0.2, 0.5), (1, 2))(seen, np.random.default_rng(0))
    assert seen.pixels.mean() == pytest.approx(noise.mean(), rel=1e-3) and seen.pixels.std() < noise.std()
    seen = exposure(noise)
    Astigmatism(0.0, (1, 2), (0.2, 0.5), (1, 2))(seen, np.random.default_rng(0))
    np.testing.assert_array_equal(seen.pixels, noise.astype(np.float32))


def test_bad_parameters_are_named() -> None:
    with pytest.raises(UserError, match="Astigmatism.blur_px must lie between 0 and 8, got 9"):
        Astigmatism(1.0, (0, 9), (0, 0), (1, 1))
    with pytest.raises(UserError, match="Astigmatism.probability must lie between 0 and 1, got 3"):
        Astigmatism(3, (0, 1), (0, 0), (1, 1))

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.detector import Camera, Jpeg, ToGreyLevels
from tem_seg.generation.microscope.imaging import Exposure


def exposure(pixels: np.ndarray) -> Exposure:
    return Exposure(pixels.astype(np.float32), np.zeros(pixels.shape, bool), 0.5)


def test_grey_levels_clip_one_per_cent_on_either_side() -> None:
    seen = exposure(np.random.default_rng(0).normal(1.0, 0.1, (400, 400)))
    ToGreyLevels()(seen, np.random.default_rng(0))
    assert (seen.pixels == 0).mean() == pytest.approx(0.01, abs=0.003)
    assert (seen.pixels == 255).mean() == pytest.approx(0.01, abs=0.003)
    assert (seen.pixels == np.rint(seen.pixels)).all()


def test_flat_image_stays_finite() -> None:
    seen = exposure(np.ones((10, 10)))
    ToGreyLevels()(seen, np.random.default_rng(0))
    assert (seen.pixels == 0).all()


def test_camera_gamma_and_point_spread() -> None:
    seen = exposure(np.full((20, 20), 0.25))
    Camera(blur_px=(0, 0), gamma=(0.5, 0.5), sharpened=0.0)(seen, np.random.default_rng(0))
    np.testing.assert_allclose(seen.pixels, 0.5)
    spot = np.zeros((21, 21))
    spot[10, 10] = 1.0
    seen = exposure(spot)
    Camera(blur_px=(1, 1), gamma=(1, 1), sharpened=0.0)(seen, np.random.default_rng(0))
    assert seen.pixels.sum() == pytest.approx(1.0, abs=1e-3) and seen.pixels[10, 10] == pytest.approx(
        1 / (2 * np.pi), rel=0.05
    )


def test_sharpening_overshoots() -> None:
    edge = np.ones((40, 40))
    edge[:, 20:] = 0.5
    seen = exposure(edge)
    Camera(blur_px=(0, 0), gamma=(1, 1), sharpened=1.0)(seen, np.random.default_rng(0))
    assert seen.pixels.max() > 1.05


def test_jpeg_changes_little_and_only_when_drawn() -> None:
    noise = np.random.default_rng(0).integers(100, 150, (64, 64))
    seen = exposure(noise)
    Jpeg(1.0, (90, 90))(seen, np.random.default_rng(0))
    assert 0 < np.abs(seen.pixels - noise).mean() < 8
    seen = exposure(noise)
    Jpeg(0.0, (90, 90))(seen, np.random.default_rng(0))
    np.testing.assert_array_equal(seen.pixels, noise)


def test_bad_parameters_are_named() -> None:
    with pytest.raises(UserError, match="Camera.gamma must lie between"):
        Camera((0, 1), (0, 1), 0.1)
    with pytest.raises(UserError, match="ToGreyLevels.percentiles: min 99 is greater than max 1"):
        ToGreyLevels((99, 1))
    with pytest.raises(UserError, match="Jpeg.quality must lie between"):
        Jpeg(0.5, (0, 50))

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.generation.noise import count_electrons, film_grain, slow_field


def test_grain_has_mean_zero_and_spread_one() -> None:
    grain = film_grain((128, 200), 2.0, 0.5, np.random.default_rng(0))
    assert grain.shape == (128, 200) and grain.dtype == np.float32
    assert abs(grain.mean()) < 0.02 and grain.std() == pytest.approx(1.0, abs=1e-3)
    # the central limit theorem makes it normal: kurtosis 3
    assert (grain**4).mean() == pytest.approx(3.0, abs=0.3)


@pytest.mark.parametrize("fresnel_px", [3.0, 6.0])
def test_grain_spectrum_has_the_zeros_of_the_contrast_transfer(fresnel_px: float) -> None:
    """sin(π s² k²) is 1 at k = 1 / (√2 s) and 0 at k = 1 / s."""
    grain = film_grain((256, 256), fresnel_px, 0.0, np.random.default_rng(0))
    power = np.abs(np.fft.fft2(grain)) ** 2
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])

    def ring(at: float) -> float:
        return float(power[np.abs(k - at) < 0.006].mean())

    assert ring(1 / fresnel_px) < 0.05 * ring(1 / (np.sqrt(2) * fresnel_px))
    assert ring(0.01) < 0.05 * ring(1 / (np.sqrt(2) * fresnel_px))


def test_grain_without_defocus_in_one_pixel_is_still_finite() -> None:
    assert np.isfinite(film_grain((1, 1), 1.0, 0.0, np.random.default_rng(0))).all()


@pytest.mark.parametrize("electrons", [5.0, 29.0, 31.0, 1000.0])
def test_shot_noise_has_the_variance_of_poisson(electrons: float) -> None:
    flat = np.full((300, 300), 0.5, np.float32)
    counted = count_electrons(flat, electrons, np.random.default_rng(0))
    assert counted.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.5 / electrons) / 300)
    assert counted.var() == pytest.approx(0.5 / electrons, rel=0.03)


def test_dark_pixels_count_nothing() -> None:
    for electrons in (5.0, 500.0):
        counted = count_electrons(np.array([[0.0, -0.1]], np.float32), electrons, np.random.default_rng(0))
        np.testing.assert_array_equal(counted, 0.0)


def test_slow_field_is_smooth() -> None:
    field = slow_field((200, 300), 4, np.random.default_rng(0))
    assert field.shape == (200, 300)
    assert np.abs(np.diff(field, axis=0)).max() < 0.2 < np.ptp(field)

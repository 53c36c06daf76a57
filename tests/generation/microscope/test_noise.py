from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tem_seg.generation.microscope.noise import correlated, count_electrons, film_grain, normal, slow_field


def test_grain_has_mean_zero_and_spread_one() -> None:
    grain = film_grain((128, 200), 2.0, 0.5, np.random.default_rng(0))
    assert grain.shape == (128, 200) and grain.dtype == np.float32
    assert abs(grain.mean()) < 0.02 and grain.std() == pytest.approx(1.0, abs=3e-3)
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


def test_fast_normal_noise_is_white_and_normal() -> None:
    noise = normal((700, 600), np.random.default_rng(0))
    assert noise.dtype == np.float32 and noise.shape == (700, 600)
    assert abs(noise.mean()) < 0.006 and noise.std() == pytest.approx(1.0, abs=0.005)
    assert stats.kstest(noise.ravel()[::7], "norm").pvalue > 0.01
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.008 and abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.008


@pytest.mark.parametrize("electrons", [0.01, 0.3, 1.0, 2.47, 3.99, 4.0, 5.0, 12.0, 29.0])
def test_counts_have_poissons_distribution(electrons: float) -> None:
    """Chi-square over all counts that are expected 20 times or more."""
    counts = count_electrons(np.ones((200, 300), np.float32), electrons, np.random.default_rng(1)) * electrons
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)
    values = np.arange(100)
    expected = counts.size * stats.poisson.pmf(values, electrons)
    often = expected >= 20
    found = np.bincount(np.rint(counts).astype(int).ravel(), minlength=100)[:100]
    chi_square = ((found - expected)[often] ** 2 / expected[often]).sum()
    assert stats.chi2.sf(chi_square, often.sum() - 1) > 1e-3


def test_mean_count_follows_the_intensity() -> None:
    """From darkness to where counts are drawn as normal numbers, in one picture."""
    flat = np.repeat(np.linspace(0.0, 1.0, 25, dtype=np.float32), 20_000).reshape(500, 1000)
    counts = count_electrons(flat, 12.0, np.random.default_rng(0)).reshape(25, -1) * 12.0
    expected = 12.0 * np.linspace(0.0, 1.0, 25)
    assert (np.abs(counts.mean(axis=1) - expected) <= 4.0 * np.sqrt(expected / 20_000)).all()
    assert counts.var(axis=1) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 8.0])
def test_correlated_noise_has_spread_one_and_the_autocorrelation_of_its_gaussian(sigma: float) -> None:
    noise = correlated(60_000, sigma, np.random.default_rng(0))
    assert noise.shape == (60_000,) and noise.std() == pytest.approx(1.0, abs=0.03)
    expected = np.exp(-(2.0**2) / (4 * sigma**2)) if sigma else 0.0
    assert np.corrcoef(noise[:-2], noise[2:])[0, 1] == pytest.approx(expected, abs=0.03)
    assert correlated(1, 50.0, np.random.default_rng(0)).shape == (1,)

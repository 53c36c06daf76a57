from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.camera import BitDepth, ContrastInversion, DetectorMTF, GainAndDeadPixels
from tem_seg.generation.microscope.imaging import Exposure


def exposure(pixels: np.ndarray) -> Exposure:
    return Exposure(pixels.astype(np.float32), np.zeros(pixels.shape, bool), 0.5)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mtf(k: np.ndarray, blur_px: float, halo: float, halo_px: float) -> np.ndarray:
    return (1 - halo) * np.exp(-2 * (np.pi * blur_px * k) ** 2) + halo / (1 + (2 * np.pi * halo_px * k) ** 2)


def flat_gain(**changes: object) -> GainAndDeadPixels:
    nothing = dict.fromkeys(("pixel", "line", "tile", "bad_pixels", "bad_lines"), (0.0, 0.0))
    return GainAndDeadPixels(**{"probability": 1.0} | nothing | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("blur_px", "halo", "halo_px"), [(0.6, 0.0, 1.0), (0.3, 0.3, 2.5), (0.0, 1.0, 4.0)])
@pytest.mark.parametrize("turned", [False, True])
def test_transfer_measured_on_an_edge_is_the_formula(blur_px: float, halo: float, halo_px: float, turned: bool) -> None:
    """The derivative of the edge's image is the line spread function, whose Fourier transform is the MTF."""
    edge = np.zeros((48, 300))
    edge[:, 150:] = 1.0
    seen = exposure(edge.T.copy() if turned else edge)
    DetectorMTF(1.0, (blur_px, blur_px), (halo, halo), (halo_px, halo_px), (0, 0))(seen, rng())
    line = np.diff((seen.pixels.T if turned else seen.pixels)[24].astype(np.float64))
    measured = np.abs(np.fft.rfft(line))
    np.testing.assert_allclose(measured, mtf(np.fft.rfftfreq(len(line)), blur_px, halo, halo_px), atol=0.01)


def test_noise_power_is_that_of_the_blurred_electrons_and_of_the_readout() -> None:
    seen = exposure(1.0 + 0.1 * rng().standard_normal((400, 400)))
    DetectorMTF(1.0, (0.7, 0.7), (0.2, 0.2), (2, 2), (0.03, 0.03))(seen, rng(1))
    k = np.hypot(np.fft.fftfreq(400)[:, None], np.fft.fftfreq(400)[None])
    power = np.abs(np.fft.fft2(seen.pixels - seen.pixels.mean())) ** 2 / seen.pixels.size
    for at in (0.05, 0.15, 0.3, 0.45):
        ring = np.abs(k - at) < 0.01
        expected = 0.1**2 * mtf(k[ring], 0.7, 0.2, 2.0) ** 2 + 0.03**2
        assert power[ring].mean() == pytest.approx(expected.mean(), rel=0.08)


def test_mtf_keeps_the_mean_and_does_not_join_the_borders() -> None:
    ramp = np.tile(np.linspace(0.0, 1.0, 200), (64, 1))
    seen = exposure(ramp)
    DetectorMTF(1.0, (0.5, 0.5), (0.3, 0.3), (3, 3), (0, 0))(seen, rng())
    assert seen.pixels.mean() == pytest.approx(0.5, abs=1e-3)
    assert seen.pixels[:, 0].max() < 0.03 and seen.pixels[:, -1].min() > 0.97


@pytest.mark.parametrize("size", [(1, 1), (16, 17), (40, 300)])
def test_mtf_at_every_size(size: tuple[int, int]) -> None:
    seen = exposure(np.ones(size))
    DetectorMTF(1.0, (0.5, 0.5), (0.3, 0.3), (3, 3), (0, 0))(seen, rng())
    assert seen.pixels.shape == size and seen.pixels.dtype == np.float32
    np.testing.assert_allclose(seen.pixels, 1.0, atol=1e-4)


def test_gain_has_mean_one_and_its_spreads() -> None:
    pixel = flat_gain(pixel=(0.03, 0.03)).gain((300, 400), rng())
    assert pixel.mean() == pytest.approx(1.0, abs=1e-5) and pixel.std() == pytest.approx(0.03, rel=0.02)
    line = flat_gain(line=(0.02, 0.02)).gain((2000, 2000), rng())
    assert line.mean() == pytest.approx(1.0, abs=1e-5) and line.std() == pytest.approx(0.02, rel=0.1)
    assert min(line.std(axis=0).max(), line.std(axis=1).max()) < 1e-4, "whole rows or whole columns"


def test_tiles_are_flat_and_few() -> None:
    for seed in range(8):
        tiles = flat_gain(tile=(0.1, 0.1)).gain((37, 53), rng(seed))
        assert len(np.unique(tiles)) in (1, 2, 4, 16) and tiles.mean() == pytest.approx(1.0, abs=1e-5)


def test_bad_pixels_and_lines_are_dead_or_hot() -> None:
    seen = exposure(np.ones((200, 200)))
    flat_gain(bad_pixels=(1000, 1000))(seen, rng())
    broken = seen.pixels != 1.0
    assert 35 <= broken.sum() <= 40 and set(np.unique(seen.pixels[broken])) == {0.0, seen.pixels.max()}
    seen = exposure(np.ones((200, 200)))
    flat_gain(bad_lines=(2, 2))(seen, rng())
    assert (seen.pixels != 1.0).sum() in (200, 400)  # two may be one and the same


def test_a_camera_keeps_its_pattern_over_a_video() -> None:
    frames = []
    for frame in (1, 2):
        seen = exposure(np.ones((64, 64)))
        seen.frame_rng = rng(frame)
        flat_gain(pixel=(0.05, 0.05), bad_pixels=(500, 500))(seen, rng(7))
        frames.append(seen.pixels)
    np.testing.assert_array_equal(*frames)


@pytest.mark.parametrize("bits", [1, 3, 7, 8])
def test_number_of_grey_levels(bits: int) -> None:
    seen = exposure(np.tile(np.arange(256.0), (4, 1)))
    BitDepth(1.0, (bits, bits), (0, 0))(seen, rng())
    levels = np.unique(seen.pixels)
    assert len(levels) == 2**bits and levels[0] == 0 and levels[-1] == 255
    assert (levels == np.rint(levels)).all() and (np.diff(seen.pixels[0]) >= 0).all()
    assert np.ptp(np.diff(levels)) <= 1, "evenly spread"
    if bits == 8:
        np.testing.assert_array_equal(seen.pixels[0], np.arange(256))


def test_clipped_share_becomes_black_and_white() -> None:
    seen = exposure(rng().integers(0, 256, (300, 300)))
    BitDepth(1.0, (8, 8), (0.1, 0.1))(seen, rng())
    assert (seen.pixels == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (seen.pixels == 255).mean() == pytest.approx(0.1, abs=0.01)


def test_flat_pictures_survive_few_levels() -> None:
    seen = exposure(np.full((20, 20), 90.0))
    BitDepth(1.0, (2, 2), (0.1, 0.1))(seen, rng())
    np.testing.assert_array_equal(seen.pixels, 85.0)


def test_inversion_twice_is_identity() -> None:
    before = rng().integers(0, 256, (30, 30)).astype(np.float32)
    seen = exposure(before.copy())
    ContrastInversion(1.0)(seen, rng())
    np.testing.assert_array_equal(seen.pixels, 255 - before)
    ContrastInversion(1.0)(seen, rng())
    np.testing.assert_array_equal(seen.pixels, before)


def test_probability_is_the_share_of_micrographs() -> None:
    changed = 0
    for seed in range(400):
        seen = exposure(np.zeros((2, 2)))
        ContrastInversion(0.3)(seen, rng(seed))
        changed += seen.pixels[0, 0] == 255
    assert 90 <= changed <= 150  # 120 ± 3 standard deviations of a binomial


@pytest.mark.parametrize(
    "step",
    [
        DetectorMTF(0.0, (1, 1), (0.3, 0.3), (2, 2), (0.1, 0.1)),
        GainAndDeadPixels(0.0, (0.1, 0.1), (0.1, 0.1), (0.1, 0.1), (99, 99), (2, 2)),
        BitDepth(0.0, (1, 1), (0.1, 0.1)),
        ContrastInversion(0.0),
    ],
)
def test_probability_zero_changes_nothing(step: Callable[[Exposure, np.random.Generator], None]) -> None:
    before = rng().random((20, 20)).astype(np.float32)
    seen = exposure(before.copy())
    step(seen, rng())
    np.testing.assert_array_equal(seen.pixels, before)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DetectorMTF(0.5, (1, 0), (0, 0), (1, 1), (0, 0)), "DetectorMTF.blur_px: min 1 is greater than max 0"),
        (lambda: DetectorMTF(0.5, (0, 1), (0, 2), (1, 1), (0, 0)), "DetectorMTF.halo must lie between 0 and 1, got 2"),
        (lambda: DetectorMTF(2, (0, 1), (0, 1), (1, 1), (0, 0)), "DetectorMTF.probability must lie between 0 and 1"),
        (lambda: flat_gain(pixel=(0, 3)), "GainAndDeadPixels.pixel must lie between 0 and 0.5, got 3"),
        (lambda: flat_gain(bad_lines=(-1, 3)), "GainAndDeadPixels.bad_lines must lie between"),
        (lambda: BitDepth(1.0, (2.5, 4), (0, 0)), "BitDepth.bits must be whole numbers, got \\[2.5, 4.0\\]"),
        (lambda: BitDepth(1.0, (0, 4), (0, 0)), "BitDepth.bits must lie between 1 and 8, got 0"),
        (lambda: ContrastInversion(-1), "ContrastInversion.probability must lie between 0 and 1, got -1"),
    ],
)
def test_bad_parameters_are_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()

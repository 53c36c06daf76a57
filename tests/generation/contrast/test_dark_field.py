from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.contrast.dark_field import DarkField, Probe, elliptic_kernel, through_probe
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.microscope.imaging import Imaging

Disc = Callable[..., Particle]
LINEAR = DarkField(background=(0, 0), saturation=(0, 0))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_empty_scene_is_the_background() -> None:
    image = DarkField(background=(0.1, 0.1), saturation=(0.2, 0.2))(Scene((), (50.0, 50.0)), (64, 64), rng())
    np.testing.assert_allclose(image, 0.1, rtol=1e-6)
    assert image.dtype == np.float32


def test_brightest_is_about_one_whatever_the_material(disc: Disc) -> None:
    for signal in (1e-3, 1.0, 80.0):
        image = LINEAR(Scene((disc(25, 25, 30, signal_per_nm=signal),), (50.0, 50.0)), (100, 100), rng())
        assert image.max() == pytest.approx(1.0, abs=0.02) and image[0, 0] == 0


def test_saturation_bends_only_the_bright_end(disc: Disc) -> None:
    scene = Scene((disc(25, 25, 30, signal_per_nm=1.0), disc(5, 5, 4, signal_per_nm=0.2)), (50.0, 50.0))
    straight = LINEAR(scene, (100, 100), rng())
    bent = DarkField(background=(0, 0), saturation=(0.3, 0.3))(scene, (100, 100), rng())
    faint, bright = (straight > 0) & (straight < 0.05), np.abs(straight - 1.0) < 0.05
    assert (np.diff(bent.ravel()[np.argsort(straight, axis=None)]) > -1e-5).all(), "brighter stays brighter"
    assert np.median(bent[faint] / straight[faint]) == pytest.approx(1 / 0.7, rel=0.03)
    assert np.median(bent[bright] / straight[bright]) == pytest.approx(1.0, rel=0.06)


def test_probe_keeps_the_intensity_and_is_as_wide_as_it_says() -> None:
    point = np.zeros((101, 101), np.float32)
    point[50, 50] = 1.0
    for astigmatism in (0.0, 0.5):
        seen = Exposure(point.copy(), np.zeros(point.shape, bool), 0.5)
        Probe(blur_px=(2, 2), astigmatism=(astigmatism,) * 2, tails=(0, 0), tails_px=(5, 5))(seen, rng())
        y, x = np.indices(point.shape) - 50
        variance = (seen.pixels * (x * x + y * y)).sum() / 2.0
        assert seen.pixels.sum() == pytest.approx(1.0, abs=1e-3)
        # axes of 2 √(1 + a) and 2 / √(1 + a)
        assert variance == pytest.approx(2.0 * ((1 + astigmatism) + 1 / (1 + astigmatism)), rel=0.06)


def test_tails_lay_a_haze_around_bright_things() -> None:
    point = np.zeros((201, 201), np.float32)
    point[100, 100] = 1.0
    seen = Exposure(point, np.zeros(point.shape, bool), 0.5)
    Probe(blur_px=(1, 1), astigmatism=(0, 0), tails=(0.2, 0.2), tails_px=(10, 10))(seen, rng())
    assert seen.pixels.sum() == pytest.approx(1.0, abs=0.02)
    assert seen.pixels[92:109, 92:109].sum() == pytest.approx(0.8 + 0.2 * 0.365, abs=0.05)


def test_kernel_is_turned_and_normalised() -> None:
    kernel = elliptic_kernel(3.0, 1.5, 0.0)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(elliptic_kernel(3.0, 1.5, np.pi / 2), kernel.T, atol=1e-7)
    half = kernel.shape[0] // 2
    assert kernel[half, half + 2] > kernel[half + 2, half], "long axis along x"


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2])
def test_an_astigmatic_probe_is_the_ellipse_it_says(angle: float) -> None:
    point = np.zeros((61, 61), np.float32)
    point[30, 30] = 1.0
    seen = through_probe(point, 2.0, 0.5, angle)
    y, x = np.indices(point.shape) - 30
    moments = np.array([[(seen * a * b).sum() for a in (x, y)] for b in (x, y)])
    u, v = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    assert u @ moments @ u == pytest.approx(4.0 * 1.5, rel=0.07)
    assert v @ moments @ v == pytest.approx(4.0 / 1.5, rel=0.07)
    assert u @ moments @ v == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DarkField(background=(0.2, 0.1), saturation=(0, 0)), "DarkField.background: min 0.2 is greater"),
        (lambda: DarkField(background=(0, 0), saturation=(0, 0.9)), "DarkField.saturation must lie between"),
        (
            lambda: Probe(blur_px=(0, 1), astigmatism=(0, 0), tails=(0, 0), tails_px=(1, 1)),
            "Probe.blur_px must lie between",
        ),
        (
            lambda: Probe(blur_px=(1, 1), astigmatism=(0, 0), tails=(0, 2), tails_px=(1, 1)),
            "Probe.tails must lie between 0 and 1",
        ),
    ],
)
def test_bad_ranges_are_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


def test_identity_of_the_contrast_is_json() -> None:
    import json

    assert "DarkField" in json.dumps(Imaging("haadf", LINEAR, {}).identity())

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.contrast.mass_thickness import MassThickness
from tem_seg.generation.microscope.imaging import Exposure, Illumination, Imaging, Optics, ShotNoise

Disc = Callable[..., Particle]


def exposure(pixels: np.ndarray) -> Exposure:
    return Exposure(pixels.astype(np.float32), np.zeros(pixels.shape, bool), 0.5)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_beer_lambert_in_the_middle_of_a_sphere(disc: Disc) -> None:
    image = MassThickness()(Scene((disc(25, 25, 20),), (50.0, 50.0)), (100, 100), rng())
    assert image[50, 50] == pytest.approx(np.exp(-0.05 * 20), rel=0.02)
    assert image[0, 0] == 1.0 and image.dtype == np.float32


def test_overlap_multiplies_transmission(disc: Disc) -> None:
    size = (100, 100)
    first, second = disc(40, 50, 30, bevel=0.1), disc(55, 50, 30, bevel=0.1)
    alone = [MassThickness()(Scene((p,), (100.0, 100.0)), size, rng()) for p in (first, second)]
    both = MassThickness()(Scene((first, second), (100.0, 100.0)), size, rng())
    np.testing.assert_allclose(both, alone[0] * alone[1], rtol=1e-5)


def test_particle_outside_and_empty_scene_leave_the_background(disc: Disc) -> None:
    assert (MassThickness()(Scene((disc(-60, 50, 30),), (100.0, 100.0)), (64, 64), rng()) == 1).all()
    assert (MassThickness()(Scene((), (100.0, 100.0)), (64, 64), rng()) == 1).all()


def test_optics_keeps_the_mean_and_underfocus_gives_a_bright_rim() -> None:
    edge = np.ones((80, 80))
    edge[:, 40:] = 0.1
    optics = Optics(fresnel_px=(3, 3), fringe=(0.5, 0.5), grain=(0, 0), unevenness=(0, 0), blur_px=(0.4, 0.4))
    seen = exposure(edge)
    optics(seen, rng())
    assert seen.pixels[40, 36:40].max() > 1.1 and seen.pixels[40, 5] == pytest.approx(1.0, abs=1e-3)
    assert seen.pixels.min() >= 0


def test_grain_has_its_standard_deviation() -> None:
    optics = Optics(fresnel_px=(4, 4), fringe=(0, 0), grain=(0.1, 0.1), unevenness=(0, 0), blur_px=(0.1, 0.1))
    seen = exposure(np.ones((200, 200)))
    optics(seen, rng())
    assert seen.pixels.std() == pytest.approx(0.1, rel=0.02)


def test_ramp_goes_from_side_to_side() -> None:
    seen = exposure(np.ones((101, 101)))
    Illumination(ramp=(0.3, 0.3), bulge=(0, 0))(seen, rng())
    gradient = np.hypot(seen.pixels[50, 100] - seen.pixels[50, 0], seen.pixels[100, 50] - seen.pixels[0, 50])
    assert gradient == pytest.approx(0.3, rel=1e-3) and seen.pixels[50, 50] == pytest.approx(1.0)


def test_steps_run_in_order_and_null_leaves_one_out() -> None:
    def times(factor: float) -> Callable[[Exposure, np.random.Generator], None]:
        def step(seen: Exposure, rng: np.random.Generator) -> None:
            seen.pixels = seen.pixels * factor + 1

        return step

    imaging = Imaging("bright_field", MassThickness(), {"a": times(2), "b": None, "c": times(10)})
    seen = imaging.expose(Scene((), (10.0, 10.0)), (20, 20), rng())
    assert (seen.pixels == 31).all() and seen.pixel_size_nm == 0.5


def test_identity_tells_steps_values_and_order() -> None:
    noise, ramp = ShotNoise((10, 20)), Illumination((0, 0), (0, 0))
    one = Imaging("bright_field", MassThickness(), {"n": noise, "r": ramp}).identity()
    assert one["steps"][0][1]["electrons_per_px"] == (10.0, 20.0)
    assert one != Imaging("bright_field", MassThickness(), {"r": ramp, "n": noise}).identity()
    assert one != Imaging("bright_field", MassThickness(), {"n": ShotNoise((10, 21)), "r": ramp}).identity()


def test_shipped_steps_happen_alone_and_together_without_changing_the_others(bright_field: Imaging) -> None:
    """Every step with a probability, made certain: finite whole grey levels, and the size stays."""
    certain = {
        name: replace(step, probability=1.0) if hasattr(step, "probability") else step  # type: ignore[type-var]
        for name, step in bright_field.steps.items()
    }
    assert sum(hasattr(step, "probability") for step in certain.values()) >= 13
    seen = Imaging("bright_field", MassThickness(), certain).expose(Scene((), (60.0, 80.0)), (120, 160), rng())
    assert seen.pixels.shape == seen.hidden.shape == (120, 160) and seen.pixels.dtype == np.float32
    assert (seen.pixels == np.rint(seen.pixels)).all() and seen.pixels.min() >= 0 and seen.pixels.max() <= 255
    assert seen.sampled is not None and seen.warp is not None and seen.occupied


def test_scan_steps_are_off_in_a_camera_s_microscope(bright_field: Imaging) -> None:
    scanned = ("charging", "scan_distortion", "scan_jitter", "line_noise", "sub_sampling")
    assert {getattr(bright_field.steps[name], "probability", None) for name in scanned} == {0.0}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ShotNoise((0, 5)), "ShotNoise.electrons_per_px must lie between"),
        (lambda: ShotNoise((9, 5)), "ShotNoise.electrons_per_px: min 9 is greater than max 5"),
        (lambda: Optics((1, 2), (0, 0), (0, 2), (0, 0), (1, 1)), "Optics.grain must lie between 0 and 1, got 2"),
        (lambda: Illumination((-1, 0), (0, 0)), "Illumination.ramp must lie between"),
        (lambda: Imaging("xray", MassThickness(), {}), "imaging.modality must be one of bright_field, haadf"),
        (
            lambda: Imaging("haadf", MassThickness(), {"a": {"b": 1}}),
            "imaging: a must be built from a _target_, got dict",
        ),  # type: ignore[dict-item]
    ],
)
def test_bad_parameters_are_named(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.contrast.membranes import VesicleFilm, chord_nm, depth_nm, lumps, shell_nm

PLAIN: dict[str, Any] = {
    "density": (0.5, 0.5), "texture": (0, 0), "texture_nm": (10, 10), "unevenness": (0, 0), "halo": (0, 0),
    "halo_nm": (20, 20),
}  # fmt: skip
CUT = {"film_nm": 60.0}
RING = {"leaflets": 1.0, "membrane_nm": 8.0, "leaflet_step_nm": 0.0, "membrane_per_nm": 0.01}


def disc(diameter: float, **contrast: float) -> Particle:
    angle = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * diameter / 2.0 + 200.0
    return Particle(outline, min(diameter, 60.0), "vesicle", "large_vesicle", contrast)


def image(*particles: Particle, size: int = 400, **changes: Any) -> np.ndarray:
    """Of a field of 400 nm."""
    return VesicleFilm(**PLAIN | changes)(Scene(particles, (400.0, 400.0)), (size, size), child_rng(0, "contrast"))


def radial(radius: float, step: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Rings of a disc: their depth below the edge, and their area."""
    r = np.arange(step / 2, radius, step)
    return (radius - r).astype(np.float32), 2 * np.pi * r * step


def test_chord_of_a_sphere_and_of_its_slab() -> None:
    depth, ring = radial(100.0)
    assert (chord_nm(depth, 100.0, 1e9) * ring).sum() == pytest.approx(4 / 3 * np.pi * 100.0**3, rel=1e-3)
    middle = chord_nm(depth, 100.0, 60.0)
    assert middle.max() == 60.0
    volume = np.pi * 60.0 * (100.0**2 - 60.0**2 / 12)  # of the slice between −30 and 30 nm
    assert (middle * ring).sum() == pytest.approx(volume, rel=1e-3)
    assert chord_nm(np.array([-5.0, 0.0], np.float32), 100.0, 60.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("start", "width"), [(0.0, 8.0), (5.0, 3.0)])
def test_shell_holds_the_volume_between_two_spheres(start: float, width: float) -> None:
    depth, ring = radial(100.0)
    shell = shell_nm(depth, 100.0, start, width, 1e9)
    outer, inner = 100.0 - start, 100.0 - start - width
    assert (shell * ring).sum() == pytest.approx(4 / 3 * np.pi * (outer**3 - inner**3), rel=3e-3)
    assert depth[np.argmax(shell)] == pytest.approx(start + width, abs=0.1), "darkest at its inner edge"
    assert shell[0] == pytest.approx(2 * width, rel=1e-3), "in the middle the beam crosses it twice"


def test_a_section_shows_a_ring_with_nothing_inside() -> None:
    depth, _ = radial(100.0)
    shell = shell_nm(depth, 100.0, 0.0, 8.0, 60.0)
    assert shell.max() == pytest.approx(60.0, rel=1e-3) and shell[depth > 20.0].max() == 0.0
    full = shell_nm(depth, 3.0, 0.0, 8.0, 60.0)
    np.testing.assert_array_equal(full, chord_nm(depth, 3.0, 60.0))


@pytest.mark.parametrize("pixel_nm", [1.0, 5.0])
def test_depth_of_a_disc(pixel_nm: float) -> None:
    crop = depth_nm(disc(150.0), pixel_nm)
    y, x = np.mgrid[: crop.values.shape[0], : crop.values.shape[1]]
    distance = 75.0 - np.hypot((x + crop.x0 + 0.5) * pixel_nm - 200.0, (y + crop.y0 + 0.5) * pixel_nm - 200.0)
    inside = distance > 2 * pixel_nm
    # OpenCV's distances are within 3 % of the Euclidean ones
    np.testing.assert_allclose(crop.values[inside], distance[inside], rtol=0.03, atol=0.75 * pixel_nm)


def test_a_hole_takes_everything_away() -> None:
    under = disc(160.0, core_per_nm=0.02, **CUT)
    pixels = image(under, disc(80.0, open=1.0, soft_nm=2.0), halo=(0.3, 0.3))
    assert pixels[200, 200] == 1.0 and pixels[200, 235] == 1.0
    assert pixels[200, 250] == pytest.approx(image(under, halo=(0.3, 0.3))[200, 250])
    assert pixels[5, 5] == pytest.approx(np.exp(-0.5), rel=1e-3)


def test_a_large_vesicle_is_light_and_its_membrane_dark() -> None:
    pixels = image(disc(200.0, lumen=0.4, **CUT, **RING))
    film, middle = np.exp(-0.5), np.exp(-0.5 * (1 - 0.4))
    assert pixels[200, 200] == pytest.approx(middle, rel=1e-3)
    profile = pixels[200, 300:270:-1]  # from just outside inwards
    assert profile.min() < film < middle
    # where the outer chord fills the slab of 60 nm, √(d (200 − d)) = 30 nm, and the inner one has not begun
    assert 4.6 - 1.0 <= np.argmin(profile) <= 8.0 + 1.0


def test_two_leaflets_are_two_dark_lines() -> None:
    bilayer = {"leaflets": 2.0, "membrane_nm": 3.0, "leaflet_step_nm": 9.0, "membrane_per_nm": 0.02}
    profile = image(disc(200.0, lumen=0.0, **CUT, **bilayer), size=1600)[800, 1204:1120:-1]
    smooth = np.convolve(profile, np.ones(3) / 3, "valid")
    darkest = [
        i for i in range(2, len(smooth) - 2) if smooth[i] < np.exp(-0.55) and smooth[i] == smooth[i - 2 : i + 3].min()
    ]
    assert len(darkest) >= 2 and (darkest[-1] - darkest[0]) / 4.0 == pytest.approx(9.0, abs=1.5)


def test_a_membrane_thinner_than_a_pixel_keeps_its_mass() -> None:
    thin = RING | {"membrane_nm": 1.0}
    fine, coarse = (-np.log(image(disc(200.0, **CUT, **thin), size=size)) - 0.5 for size in (1600, 100))
    assert coarse.mean() == pytest.approx(fine.mean(), rel=0.15)


def test_a_small_vesicle_is_dark() -> None:
    pixels = image(disc(50.0, core_per_nm=0.02, **CUT))
    assert -np.log(pixels[200, 200]) == pytest.approx(0.5 * (1 + 0.02 * 50.0), rel=0.04), "through a sphere of 50 nm"


def test_stain_pools_around_light_vesicles() -> None:
    plain, stained = (image(disc(100.0, lumen=0.3, **CUT), halo=(h, h)) for h in (0.0, 0.5))
    assert stained[200, 255] < 0.95 * plain[200, 255]
    assert stained[10, 10] == pytest.approx(plain[10, 10], rel=1e-3)


@pytest.mark.parametrize("width_px", [2.0, 12.0, 40.0])
def test_lumps_are_normalised_and_as_wide_as_asked(width_px: float) -> None:
    field = lumps((600, 500), width_px, child_rng(0, "lumps"))
    assert field.shape == (600, 500) and field.dtype == np.float32
    assert field.mean() == pytest.approx(0.0, abs=1e-4) and field.std() == pytest.approx(1.0, rel=1e-3)
    correlation = np.fft.irfft2(np.abs(np.fft.rfft2(field)) ** 2, s=field.shape)[0]
    half = np.interp(-0.5, -correlation[:100] / correlation[0], np.arange(100))
    assert half == pytest.approx(width_px / np.sqrt(2), rel=0.3)


def test_nothing_in_the_film_is_a_plain_film() -> None:
    assert np.allclose(image(), np.exp(-0.5))
    assert image(texture=(0.1, 0.1)).std() > 0.01
    np.testing.assert_array_equal(image(texture=(0.1, 0.1)), image(texture=(0.1, 0.1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": (1, 0.5)}, "VesicleFilm.density: min 1 is greater than max 0.5"),
        ({"texture": (0, 2)}, "VesicleFilm.texture must lie between 0 and 1, got 2"),
        ({"texture_nm": (0, 2)}, "VesicleFilm.texture_nm must lie between"),
        ({"halo_nm": (float("nan"), 2)}, "VesicleFilm.halo_nm must be a finite number"),
    ],
)
def test_bad_parameters_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        image(**changes)

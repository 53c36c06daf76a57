from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.contrast.holey_carbon import HoleyCarbon
from tem_seg.generation.contrast.mass_thickness import granules
from tem_seg.generation.scenes.shapes import area

PLAIN: dict[str, Any] = {
    "hole_nm": (400, 400), "spread": (0.2, 0.2), "open_share": (0.35, 0.35), "aspect": (1.3, 1.3), "lattice": 0.0,
    "web_density": (0.4, 0.4), "film_density": (0.05, 0.05), "edge_nm": (2, 2), "rim": (0, 0), "unevenness": (0, 0),
}  # fmt: skip
SIZE = (400, 600)


def carbon(**changes: Any) -> HoleyCarbon:
    return HoleyCarbon(**PLAIN | changes)


def image(support: HoleyCarbon, *particles: Particle, pixel_nm: float = 5.0, seed: int = 0) -> np.ndarray:
    field = (SIZE[0] * pixel_nm, SIZE[1] * pixel_nm)
    return support(Scene(particles, field), SIZE, child_rng(seed, "contrast"))


def test_holes_show_the_film_alone_and_the_web_both() -> None:
    pixels = image(carbon())
    assert pixels.dtype == np.float32 and pixels.shape == SIZE
    assert pixels.max() == pytest.approx(np.exp(-0.05), rel=1e-6), "only the ultra-thin film lies in a hole"
    assert pixels.min() == pytest.approx(np.exp(-0.45), rel=1e-3)
    between = (pixels < 0.99 * np.exp(-0.05)) & (pixels > 1.01 * np.exp(-0.45))
    assert between.mean() < 0.12, "edges are a few pixels wide"


def test_share_of_holes() -> None:
    for wanted in (0.15, 0.35):
        share = [
            (image(carbon(open_share=(wanted, wanted)), pixel_nm=10.0, seed=s) > np.exp(-0.25)).mean() for s in range(8)
        ]
        assert np.mean(share) == pytest.approx(wanted, abs=0.05)
    assert np.allclose(image(carbon(open_share=(0, 0))), np.exp(-0.45))


def test_no_two_holes_touch_and_their_sizes_are_as_asked() -> None:
    outlines = carbon(open_share=(0.2, 0.2)).holes((8000.0, 8000.0), child_rng(0, "holes"))
    centres = np.array([one.mean(axis=0) for one in outlines])
    diameters = np.array([2 * np.sqrt(area(one) / np.pi) for one in outlines])
    i, j = np.triu_indices(len(outlines), 1)
    assert (np.hypot(*(centres[i] - centres[j]).T) > (diameters[i] + diameters[j]) / 2).all()
    assert np.median(diameters) == pytest.approx(400, rel=0.05)
    assert np.log(diameters).std() == pytest.approx(0.2, abs=0.04)


def test_lattice_has_equal_holes_at_equal_steps() -> None:
    outlines = carbon(lattice=1.0, open_share=(0.3, 0.3)).holes((4000.0, 4000.0), child_rng(0, "holes"))
    centres = np.array([one.mean(axis=0) for one in outlines])
    between = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(centres))
    pitch = 400 * np.sqrt(np.pi / 4 / 0.3)  # one hole of π/4 d² in every pitch² leaves 0.3 open
    np.testing.assert_allclose(between.min(axis=1), pitch, rtol=0.02)
    areas = np.array([area(one) for one in outlines])
    np.testing.assert_allclose(areas, areas.mean(), rtol=0.02)


def test_a_field_may_lie_inside_one_hole_or_on_the_web() -> None:
    means = np.array([image(carbon(), pixel_nm=0.02, seed=s).mean() for s in range(40)])
    assert np.isclose(means, np.exp(-0.05), rtol=1e-3).any() and np.isclose(means, np.exp(-0.45), rtol=0.05).any()


def test_web_rises_from_the_edge_and_may_have_a_rim() -> None:
    """1 − exp(−3 x) + rim · x exp(1 − x) has the value 1 − e⁻³ + rim at x = 1, which is near its largest."""
    flat, rimmed = (image(carbon(edge_nm=(40, 40), rim=(rim, rim))) for rim in (0.0, 0.5))
    assert -np.log(flat.min()) <= 0.45 + 1e-6
    highest = (-np.log(rimmed.min()) - 0.05) / 0.4
    assert 1.0 - np.exp(-3.0) + 0.5 <= highest < 1.0 + 0.5


def test_particles_multiply_with_what_lies_under_them(disc: Callable[..., Particle]) -> None:
    """Beer-Lambert: seen against its surroundings, a particle is the same over a hole and over the web."""
    empty, full = (image(carbon(), *particles) for particles in ((), (disc(1500.0, 1000.0, 900.0),)))
    ratio = (full / empty)[100:300, 200:400]
    assert np.ptp(empty[100:300, 200:400]) > 0.2, "there is web and hole under it"
    assert ratio.min() == pytest.approx(np.exp(-0.05 * 900.0), rel=0.05)
    y, x = (np.arange(100, 300) + 0.5) * 5.0 - 1000.0, (np.arange(200, 400) + 0.5) * 5.0 - 1500.0
    chord = 2 * np.sqrt(np.maximum(450.0**2 - y[:, None] ** 2 - x**2, 0))
    inside = chord > 300
    np.testing.assert_allclose(-np.log(ratio[inside]), 0.05 * chord[inside], rtol=0.04)


def test_all_lengths_scale_together() -> None:
    larger = carbon(hole_nm=(4000, 4000), edge_nm=(20, 20))
    np.testing.assert_allclose(image(carbon()), image(larger, pixel_nm=50.0), atol=1e-5)


def test_granules_have_mean_one_and_the_given_spread_and_size() -> None:
    field = granules((400, 400), {"granular": 0.2, "grain_nm": 20.0}, 2.0, child_rng(0, "g"))
    assert field is not None
    assert field.mean() == pytest.approx(1.0, abs=0.02) and field.std() == pytest.approx(0.2, rel=0.02)
    power = np.abs(np.fft.rfft2(field - field.mean())) ** 2
    along = np.fft.irfft2(power)[0, :20] / np.fft.irfft2(power)[0, 0]
    # a Gaussian of full width 10 px correlates as one that is √2 wider: 1/2 at 5 √2 px
    assert np.interp(5 * np.sqrt(2), np.arange(20), along) == pytest.approx(0.5, abs=0.08)
    assert granules((9, 9), {}, 1.0, child_rng(0, "g")) is None


def test_same_seed_same_support() -> None:
    np.testing.assert_array_equal(image(carbon(), seed=3), image(carbon(), seed=3))
    assert (image(carbon(), seed=3) != image(carbon(), seed=4)).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hole_nm": (900, 300)}, "HoleyCarbon.hole_nm: min 900 is greater than max 300"),
        ({"hole_nm": (0, 300)}, "HoleyCarbon.hole_nm must lie between"),
        ({"open_share": (0.2, 0.9)}, "HoleyCarbon.open_share must lie between 0 and 0.75, got 0.9"),
        ({"aspect": (0.5, 1)}, "HoleyCarbon.aspect must lie between 1 and 3"),
        ({"lattice": 2}, "HoleyCarbon.lattice must lie between 0 and 1"),
        ({"web_density": (-1, 1)}, "HoleyCarbon.web_density must lie between"),
        ({"edge_nm": 3}, r"HoleyCarbon.edge_nm must be two numbers \[min, max\], got 3"),
    ],
)
def test_bad_parameters_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        carbon(**changes)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Particle, Scene
from tem_seg.generation.contrast.secondary_electrons import SecondaryElectrons, occlusion
from tem_seg.generation.contrast.transmission import TransmittedElectrons
from tem_seg.generation.microscope.amplifier import BrightnessAndContrast
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.scenes.facets import Body, Habit, draw_forms
from tem_seg.generation.scenes.sintering import grown_together

PLAIN: dict[str, Any] = {
    "level": [2, 2], "level_spread": [0, 0], "tilt": [0, 0], "edge": [0, 0], "edge_px": [1, 1], "side": [0, 0],
    "shadow": [1e-9, 1e-9], "reach": [0.5, 0.5], "tops": [0, 0], "texture": [0, 0], "texture_px": [8, 8], "ripples": 0,
}  # fmt: skip
FILM: dict[str, Any] = {
    "optical_density": [2, 2], "density_spread": [0, 0], "floor": [0, 0], "film": [0, 0], "residue": [0, 0],
    "residue_share": 0,
}  # fmt: skip


def contrast(**changes: Any) -> SecondaryElectrons:
    return SecondaryElectrons(**(PLAIN | changes))


def ball(x: float, y: float, diameter: float, rough: float = 0.0, seed: int = 0) -> Body:
    form = draw_forms(["smooth"], Habit((1, 1), (1, 1), 0.0, 0.0, 0.0, rough), child_rng(seed, "ball"))[0]
    return Body(form.outline * diameter + [x, y], form.height * diameter, "smooth", "particle", form=form)


def seen(how: SecondaryElectrons, *particles: Particle, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    scene = Scene(tuple(particles), (float(size[0]), float(size[1])))
    return how(scene, size, child_rng(0, "contrast"))


def test_bare_substrate_is_1_and_texture_has_its_standard_deviation() -> None:
    np.testing.assert_array_equal(seen(contrast()), 1.0)
    rough = seen(contrast(texture=[0.1, 0.1]), size=(400, 400))
    assert rough.mean() == pytest.approx(1.0, abs=0.02) and rough.std() == pytest.approx(0.1, rel=0.5)
    ridges = seen(contrast(ripples=1.0), size=(400, 400))
    assert ridges.min() > 0.93 and ridges.max() > 1.02, "ridges are bright"


def test_yield_follows_the_secant_of_the_tilt() -> None:
    """On a ball of radius R, at distance r from the middle: sec φ = 1 / √(1 − (r / R)²)."""
    image = seen(contrast(tilt=[0.5, 0.5]), ball(80.0, 60.0, 100.0))
    for share in (0.0, 0.3, 0.6, 0.8):
        secant = 1.0 / np.sqrt(1.0 - share**2)
        assert image[60, 80 + round(50 * share)] == pytest.approx(2.0 * (1.0 + 0.5 * (secant - 1.0)), rel=0.03)


def test_outlines_are_bright_and_the_surroundings_are_not() -> None:
    image = seen(contrast(edge=[1, 1], edge_px=[2, 2]), ball(80.0, 60.0, 80.0))
    assert image[60, 80] == pytest.approx(2.0, rel=1e-3)
    assert image[60, 80 - 39] == pytest.approx(2.0 * (1.0 + np.exp(-1.5 / 2.0)), rel=0.1)
    assert image[60, 80 - 42] == pytest.approx(1.0, rel=1e-3)


def test_a_detector_on_one_side_sees_one_flank_brighter_and_one_in_the_lens_does_not() -> None:
    profiles = []
    for side in (0.0, 0.4):
        image = seen(contrast(side=[side, side]), ball(80.0, 60.0, 80.0))
        angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        ring = image[(60 + 25 * np.sin(angle)).astype(int), (80 + 25 * np.cos(angle)).astype(int)]
        profiles.append(ring.max() - ring.min())
    assert profiles[0] < 0.01 and profiles[1] > 0.4


def test_occlusion_darkens_pits_brightens_tops_and_leaves_planes_alone() -> None:
    flat = np.full((80, 80), 7.0, np.float32)
    np.testing.assert_allclose(occlusion(flat, 10.0, 1.0, 1.0), 1.0, atol=1e-5)
    step = flat.copy()
    step[:, 40:] += 10.0
    factor = occlusion(step, 10.0, 1.0, 0.5)
    assert factor[40, 38] < 0.8 < 1.05 < factor[40, 42]
    assert factor[40, 2] == pytest.approx(1.0, abs=0.02)
    assert (occlusion(step, 10.0, 2.0, 0.5)[:, :40] <= factor[:, :40] + 1e-6).all()
    # lengths × 2: the same picture, twice as large
    large = occlusion(2.0 * np.kron(step, np.ones((2, 2), np.float32)), 20.0, 1.0, 0.5)
    assert large[80, 70] == pytest.approx(float(factor[40, 35]), abs=0.05)
    with pytest.raises(ValueError, match="reach_px must be positive"):
        occlusion(flat, 0.0, 1.0, 1.0)


def test_what_lies_on_top_hides_what_lies_under_it() -> None:
    lower, upper = ball(70.0, 60.0, 60.0), ball(95.0, 60.0, 50.0)
    rim = contrast(edge=[2, 2], edge_px=[1, 1])
    image = seen(rim, lower, upper)
    assert image[60, 71] > 2.7, "rim of the upper one, within the lower one's outline"
    assert image[60, 97] == pytest.approx(2.0, rel=0.01), "no trace of the lower one's rim"


def test_rough_surfaces_vary_and_spread_makes_particles_differ() -> None:
    smooth, rough = (seen(contrast(tilt=[0.5, 0.5]), ball(80.0, 60.0, 80.0, r)) for r in (0.0, 0.02))
    middle = (slice(55, 66), slice(75, 86))
    assert rough[middle].std() > 3 * smooth[middle].std()
    image = seen(contrast(level_spread=[0.3, 0.3]), *(ball(20.0 + 30.0 * i, 60.0, 20.0, seed=i) for i in range(5)))
    assert 0.05 < np.log(image[60, 20:150:30]).std() < 0.6


def test_grains_that_have_grown_together_are_of_one_level() -> None:
    forms = draw_forms(["smooth"] * 2, Habit((1, 1), (1, 1), 0.0, 0.0, 0.0, 0.0), child_rng(0, "pair"))
    diameters, centres = np.array([60.0, 50.0]), np.array([[50.0, 60.0], [90.0, 60.0]])
    for share, alike in ((0.0, False), (1.0, True)):
        grown = grown_together(forms, diameters, centres, share, child_rng(0, "grown"))
        pair = [
            Body(form.outline * d + c, form.height * d, "smooth", "particle", form=form)
            for form, d, c in zip(grown, diameters, centres, strict=True)
        ]
        image = seen(contrast(level_spread=[0.3, 0.3]), *pair)
        assert np.isclose(image[60, 50], image[60, 90], rtol=1e-3) == alike


def test_particles_of_other_recipes_are_seen_too(disc: Callable[..., Particle]) -> None:
    image = seen(contrast(), disc(80.0, 60.0, 50.0))
    assert image[60, 80] == pytest.approx(2.0, rel=1e-3) and image[10, 10] == 1.0


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (SecondaryElectrons, PLAIN | {"level": [3, 2]}, "SecondaryElectrons.level: min 3 is greater than max 2"),
        (SecondaryElectrons, PLAIN | {"side": [0, 1]}, "SecondaryElectrons.side must lie between"),
        (SecondaryElectrons, PLAIN | {"ripples": 2}, "SecondaryElectrons.ripples must lie between"),
        (SecondaryElectrons, PLAIN | {"edge_px": [0, 1]}, "SecondaryElectrons.edge_px must lie between"),
        (TransmittedElectrons, FILM | {"floor": [0, 1]}, "TransmittedElectrons.floor must lie between"),
        (BrightnessAndContrast, {"black": [0, 200], "white": [255, 255]}, "BrightnessAndContrast.black must lie"),
    ],
)
def test_bad_ranges_are_named(kind: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(**changes)


def transmitted(*particles: Particle, **changes: Any) -> np.ndarray:
    scene = Scene(particles, (120.0, 160.0))
    return TransmittedElectrons(**(FILM | changes))(scene, (120, 160), child_rng(0, "film"))


def test_transmission_is_that_of_the_bodys_thickness() -> None:
    """The median particle's optical density is 2 at its thickest point; thicknesses add up, also in a pile."""
    image = transmitted(ball(80.0, 60.0, 80.0))
    assert image[60, 80] == pytest.approx(np.exp(-2.0), rel=0.01)
    assert image[60, 80 + 32] == pytest.approx(np.exp(-2.0 * np.sqrt(1.0 - (32.5 / 40.0) ** 2)), rel=0.03)
    assert image[5, 5] == 1.0
    two = transmitted(ball(80.0, 60.0, 80.0), ball(80.0, 60.0, 80.0))
    np.testing.assert_allclose(two, image**2, rtol=1e-4)
    assert transmitted(ball(80.0, 60.0, 80.0), floor=[0.1, 0.1], optical_density=[50, 50]).min() == pytest.approx(0.1)


def test_film_without_particles_and_with_residue() -> None:
    np.testing.assert_array_equal(transmitted(), 1.0)
    dirty = transmitted(residue=[0.3, 0.3], residue_share=1.0)
    assert np.exp(-0.3) - 1e-4 <= dirty.min() <= dirty.max() <= 1.0


def test_black_level_and_gain_are_whole_grey_levels() -> None:
    exposure = Exposure(np.array([[0.0, 100.0, 255.0]], np.float32), np.zeros((1, 3), bool), None)
    BrightnessAndContrast(black=(20, 20), white=(275, 275))(exposure, child_rng(0, "a"))
    np.testing.assert_array_equal(exposure.pixels, [[20.0, 120.0, 255.0]])

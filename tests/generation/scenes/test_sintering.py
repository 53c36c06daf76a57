from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.seeds import child_rng
from tem_seg.generation.scenes.facets import RAYS, Form, Habit, draw_forms
from tem_seg.generation.scenes.shapes import area
from tem_seg.generation.scenes.sintering import grown_together

BALL = Habit((1.0, 1.0), (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)
GRAIN = Habit((1.1, 1.7), (0.6, 1.0), 0.9, 0.02, 0.04, 0.0)
HALF_TURN = RAYS // 2


def balls(diameters: list[float], centres: list[list[float]], share: float = 1.0) -> list[Form]:
    forms = draw_forms(["smooth"] * len(diameters), BALL, child_rng(0, "balls"))
    return grown_together(forms, np.array(diameters), np.array(centres), share, child_rng(0, "sinter"))


def test_balls_are_cut_where_their_surfaces_are_equally_high() -> None:
    """At x from the first centre: r₁² − x² = r₂² − (d − x)²; the first loses the segment of its disc beyond x."""
    first, second = balls([100.0, 80.0], [[0.0, 0.0], [70.0, 0.0]])
    x = (70.0**2 + 50.0**2 - 40.0**2) / 140.0
    assert first.radii[0] * 100.0 == pytest.approx(x, rel=3e-3)
    assert second.radii[HALF_TURN] * 80.0 == pytest.approx(70.0 - x, rel=3e-3)
    segment = 50.0**2 * np.arccos(x / 50.0) - x * np.sqrt(50.0**2 - x**2)
    assert area(first.outline * 100.0) == pytest.approx(np.pi * 50.0**2 - segment, rel=5e-3)
    cut = first.free == 0
    angles = np.abs((2 * np.pi * np.arange(RAYS) / RAYS + np.pi) % (2 * np.pi) - np.pi)
    np.testing.assert_array_equal(cut, angles < np.arccos(x / 50.0) - 1e-6)
    np.testing.assert_allclose(first.radii[cut] * 100.0 * np.cos(angles[cut]), x, rtol=3e-3)
    np.testing.assert_allclose(first.radii[~cut], 0.5, rtol=2e-3)


def test_grains_lose_only_what_lies_in_the_other() -> None:
    forms = draw_forms(["irregular", "block"] * 6, GRAIN, child_rng(0, "grains"))
    diameters = np.full(2, 60.0)
    rays = np.stack([np.cos(2 * np.pi * np.arange(RAYS) / RAYS), np.sin(2 * np.pi * np.arange(RAYS) / RAYS)], 1)
    for number in range(0, 12, 2):
        pair, centres = forms[number : number + 2], np.array([[0.0, 0.0], [35.0, 20.0]])
        grown = grown_together(pair, diameters, centres, 1.0, child_rng(0, "g"))
        for one, other, before, after in ((0, 1, pair[0], grown[0]), (1, 0, pair[1], grown[1])):
            assert (after.radii <= before.radii).all() and after.radii.min() > 0.05
            lost = after.free == 0
            ends = rays[lost] * before.radii[lost, None] * 60.0 + centres[one] - centres[other]
            reach = np.interp(
                np.arctan2(ends[:, 1], ends[:, 0]) % (2 * np.pi), 2 * np.pi * np.arange(RAYS + 1) / RAYS,
                np.append(pair[other].radii, pair[other].radii[0]) * 60.0,
            )  # fmt: skip
            assert lost.any() and (np.hypot(*ends.T) < reach).all()
            np.testing.assert_array_equal(after.radii[~lost], before.radii[~lost])


@pytest.mark.parametrize(
    ("centres", "share"),
    [
        ([[0.0, 0.0], [70.0, 0.0]], 0.0),  # none is asked for
        ([[0.0, 0.0], [120.0, 0.0]], 1.0),  # apart
        ([[0.0, 0.0], [12.0, 0.0]], 1.0),  # one on the other
        ([[5.0, 5.0], [5.0, 5.0]], 1.0),  # no direction
    ],
)
def test_what_does_not_grow_together_stays_whole(centres: list[list[float]], share: float) -> None:
    for form in balls([100.0, 80.0], centres, share):
        np.testing.assert_allclose(form.radii, 0.5, rtol=2e-3)
        assert (form.free == 1).all()


def test_scale_and_position_change_nothing_and_the_second_is_cut_as_the_first() -> None:
    here = balls([100.0, 80.0, 90.0], [[0.0, 0.0], [70.0, 10.0], [20.0, 75.0]])
    there = balls([1.0, 0.8, 0.9], [[5.0, -2.0], [5.7, -1.9], [5.2, -1.25]])
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(one.radii, other.radii, rtol=1e-5)
    swapped = balls([80.0, 100.0], [[70.0, 0.0], [0.0, 0.0]])[::-1]
    for one, other in zip(balls([100.0, 80.0], [[0.0, 0.0], [70.0, 0.0]]), swapped, strict=True):
        np.testing.assert_allclose(one.radii, other.radii, rtol=1e-6)


def test_an_agglomerate_of_one_grain() -> None:
    assert (balls([100.0], [[0.0, 0.0]])[0].free == 1).all()


def test_what_hangs_together_is_of_one_composition_and_nothing_else_is() -> None:
    chain = [[0.0, 0.0], [70.0, 0.0], [140.0, 0.0], [300.0, 0.0]]
    apart = [form.composition for form in balls([100.0, 80.0, 90.0, 90.0], chain, share=0.0)]
    assert len(set(apart)) == 4
    first, second, third, alone = (form.composition for form in balls([100.0, 80.0, 90.0, 90.0], chain))
    assert first == second == third == apart[0] and alone == apart[3]

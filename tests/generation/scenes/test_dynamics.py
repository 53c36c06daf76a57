"""Laws of motion: closed forms of Brownian motion and relaxation, and what is conserved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tem_seg.core.seeds import child_rng
from tem_seg.generation.scenes.dumbbell import SPHERE, dumbbell, volume_factor
from tem_seg.generation.scenes.dynamics import Bodies, Motion, merged, new_bodies, simulate
from tem_seg.generation.scenes.shapes import POINTS, area, ellipse, normalised, stadium

HUGE: dict[str, Any] = {"low_nm": (-1e9, -1e9), "high_nm": (1e9, 1e9)}


def motion(**changes: Any) -> Motion:
    plain: dict[str, Any] = {"interval_s": 0.5, "substeps": 4, "reference_nm": 10.0, "smallest_nm": 1e-3} | HUGE
    return Motion(**plain | changes)


def scattered(count: int, spacing: float = 1e4, diameter: float = 10.0) -> Bodies:
    bodies = new_bodies(count)
    bodies["diameter"] = diameter
    bodies["position"] = np.stack(np.divmod(np.arange(count), 50), axis=1) * spacing
    return bodies


def volume(bodies: Bodies) -> float:
    return float((bodies["factor"] * bodies["diameter"] ** 3).sum())


@pytest.mark.parametrize(("diameter", "substeps"), [(10.0, 1), (10.0, 7), (40.0, 3)])
def test_mean_squared_displacement_is_4_d_t_with_d_as_one_over_diameter(diameter: float, substeps: int) -> None:
    laws = motion(diffusivity_nm2_s=3.0, rotation_rad2_s=0.02, substeps=substeps)
    frames = simulate(scattered(4000, diameter=diameter), laws, 6, child_rng(0, "msd", substeps)).frames
    for lag in (1, 5):
        moved = frames[lag]["position"] - frames[0]["position"]
        expected = 4.0 * 3.0 * (10.0 / diameter) * lag * 0.5
        assert np.square(moved).sum(axis=1).mean() == pytest.approx(expected, rel=0.07)  # 1 / sqrt(4000) = 1.6 %
        turned = frames[lag]["angle"] - frames[0]["angle"]
        assert np.square(turned).mean() == pytest.approx(2.0 * 0.02 * (10.0 / diameter) ** 3 * lag * 0.5, rel=0.1)
    assert abs(moved.mean()) < 0.3


def test_drift_moves_all_alike_and_is_told() -> None:
    history = simulate(scattered(30), motion(drift_nm_s=(2.0, -1.0), wander_nm2_s=0.5), 5, child_rng(0, "drift"))
    for bodies, drift in zip(history.frames, history.drift_nm, strict=True):
        np.testing.assert_allclose(
            bodies["position"] - history.frames[0]["position"], np.tile(drift, (30, 1)), atol=1e-6
        )
    assert history.drift_nm[0] == (0.0, 0.0)
    steady = simulate(scattered(3), motion(drift_nm_s=(2.0, -1.0)), 5, child_rng(0, "drift"))
    assert steady.drift_nm[4] == pytest.approx((4.0, -2.0))


def test_wandering_of_the_field_has_its_diffusivity() -> None:
    laws = motion(wander_nm2_s=0.5, substeps=1)
    ends = [simulate(scattered(1), laws, 3, child_rng(i, "wander")).drift_nm[2] for i in range(600)]
    assert np.square(ends).sum(axis=1).mean() == pytest.approx(4.0 * 0.5 * 1.0, rel=0.15)


def test_tilt_keeps_its_spread_and_forgets_exponentially() -> None:
    bodies = scattered(5000)
    bodies["tilt"] = child_rng(1, "tilt").standard_normal(5000)
    frames = simulate(bodies, motion(tilt_s=1.0), 3, child_rng(0, "tilt")).frames
    assert frames[2]["tilt"].std() == pytest.approx(1.0, abs=0.03)
    correlation = np.corrcoef(frames[0]["tilt"], frames[2]["tilt"])[0, 1]
    assert correlation == pytest.approx(np.exp(-1.0), abs=0.04)


def test_growth_and_dissolution_change_every_diameter_at_the_same_rate() -> None:
    bodies = scattered(3)
    bodies["diameter"] = [5.0, 10.0, 20.0]
    grown = simulate(bodies, motion(growth_nm_s=1.2), 3, child_rng(0, "growth")).frames[2]
    np.testing.assert_allclose(grown["diameter"], [6.2, 11.2, 21.2])
    history = simulate(bodies, motion(growth_nm_s=-1.2, smallest_nm=4.5), 3, child_rng(0, "growth"))
    np.testing.assert_allclose(history.frames[2]["diameter"], [8.8, 18.8])
    assert history.dissolved == {1} and 1 not in history.frames[1]["id"]


def test_ripening_keeps_the_volume_and_feeds_the_large_on_the_small() -> None:
    bodies = scattered(200)
    bodies["diameter"] = child_rng(0, "sizes").uniform(8.0, 14.0, 200)
    bodies["factor"] = child_rng(1, "sizes").uniform(0.3, 0.6, 200)
    frames = simulate(bodies, motion(ripening_nm_s=1.0), 4, child_rng(0, "ripening")).frames
    critical = np.dot(bodies["factor"], bodies["diameter"]) / bodies["factor"].sum()
    change = frames[1]["diameter"] - frames[0]["diameter"]
    assert (change[bodies["diameter"] > critical + 0.05] > 0).all()
    assert (change[bodies["diameter"] < critical - 0.05] < 0).all()
    assert volume(frames[3]) == pytest.approx(volume(frames[0]), rel=1e-9)
    # d' = K / d (1 / d* - 1 / d) with K = 1 nm/s · (10 nm)², over a short time
    first = simulate(bodies, motion(ripening_nm_s=1.0, interval_s=1e-3), 2, child_rng(0, "ripening")).frames[1]
    expected = 100.0 / bodies["diameter"] * (1.0 / critical - 1.0 / bodies["diameter"])
    np.testing.assert_allclose((first["diameter"] - bodies["diameter"]) / 1e-3, expected, rtol=0.01, atol=1e-4)


def test_two_that_touch_become_one_of_their_volume_where_their_centre_of_mass_is() -> None:
    pair = scattered(2)
    pair["diameter"], pair["position"] = [10.0, 6.0], [[0.0, 0.0], [0.0, 8.0]]
    history = simulate(pair, motion(contact_s=1e-6, relaxation_s=1e9), 2, child_rng(0, "merge"))
    (child,) = history.frames[1]
    assert history.parents == {3: (1, 2)} and history.merged_into == {1: 3, 2: 3}
    assert volume(history.frames[1]) == pytest.approx(volume(pair)) == pytest.approx(SPHERE * (1000 + 216))
    assert child["position"] == pytest.approx([0.0, 8.0 * 216 / 1216])
    assert child["angle"] == pytest.approx(np.pi / 2) and child["apart"] == pytest.approx(1.0)


def test_volume_is_conserved_while_many_coalesce() -> None:
    bodies = scattered(300, spacing=13.0)
    history = simulate(bodies, motion(diffusivity_nm2_s=20.0, contact_s=0.2, relaxation_s=0.3), 8, child_rng(0, "all"))
    assert len(history.frames[-1]) < 250
    for frame in history.frames:
        assert volume(frame) == pytest.approx(volume(bodies), rel=1e-9)
        assert len(set(frame["id"].tolist())) == len(frame)
    alive = [set(frame["id"].tolist()) for frame in history.frames]
    assert all(not (alive[k] - alive[k + 1]) & alive[m] for k in range(7) for m in range(k + 1, 8)), "gone is gone"
    gone = set().union(*alive) - alive[-1]
    assert gone == set(history.merged_into) & set().union(*alive)


def test_the_neck_relaxes_exponentially_and_slower_in_large_ones() -> None:
    bodies = scattered(2)
    bodies["diameter"], bodies["fused"], bodies["apart"] = [10.0, 20.0], True, 1.0
    frame = simulate(bodies, motion(relaxation_s=2.0), 3, child_rng(0, "neck")).frames[2]
    np.testing.assert_allclose(frame["apart"], [np.exp(-0.5), np.exp(-0.5 / 16)])


def test_bodies_that_touch_push_each_other_apart_or_pass() -> None:
    pair = scattered(2)
    pair["position"] = [[0.0, 0.0], [6.0, 0.0]]
    apart = simulate(pair, motion(substeps=1), 2, child_rng(0, "push")).frames[1]["position"]
    assert np.hypot(*(apart[1] - apart[0])) == pytest.approx(10.0)
    assert apart.mean(axis=0) == pytest.approx([3.0, 0.0])
    passing = simulate(pair, motion(passing=True, contact_s=1e-6), 2, child_rng(0, "push")).frames[1]
    np.testing.assert_allclose(passing["position"], pair["position"])


def test_who_does_not_merge_stays_two() -> None:
    pair = scattered(2, spacing=10.0)
    pair["merges"] = [True, False]
    assert len(simulate(pair, motion(contact_s=1e-6), 3, child_rng(0, "no")).frames[-1]) == 2


def test_leaving_the_box_brings_another_one_in() -> None:
    bodies = scattered(1)
    bodies["position"] = [[9.0, 5.0]]
    laws = motion(low_nm=(0.0, 0.0), high_nm=(10.0, 10.0), drift_nm_s=(4.0, 0.0), substeps=1)
    frames = simulate(bodies, laws, 2, child_rng(0, "wrap")).frames
    assert frames[1]["position"] == pytest.approx(np.array([[1.0, 5.0]]))
    assert frames[0]["id"] != frames[1]["id"]


def test_nuclei_come_at_their_rate_small_and_in_free_places() -> None:
    box = motion(low_nm=(0.0, 0.0), high_nm=(2000.0, 2000.0), nuclei_per_s=40.0, smallest_nm=2.0)
    bodies = scattered(20, spacing=90.0, diameter=80.0)
    history = simulate(bodies, box, 11, child_rng(0, "nuclei"))
    born = history.frames[-1][np.isin(history.frames[-1]["id"], list(history.nucleated))]
    assert len(born) == pytest.approx(200, abs=50)
    np.testing.assert_allclose(born["diameter"], 2.04)
    gaps = np.hypot(*(born["position"][:, None] - bodies["position"][None]).transpose(2, 0, 1))
    assert gaps.min() > 40.0


def test_no_bodies_is_a_case() -> None:
    history = simulate(scattered(0), motion(nuclei_per_s=5.0, ripening_nm_s=1.0), 3, child_rng(0, "none"))
    assert [len(frame) for frame in history.frames] == [0, 0, 0]


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (1.0, 0.6), (0.2, 1.0)])
def test_dumbbell_goes_from_two_touching_discs_to_one_disc(first: float, second: float) -> None:
    lobes = np.array([first, second]) / np.cbrt(first**3 + second**3) / 2.0
    outline, height = dumbbell(lobes, 1.0)
    assert outline.shape == (POINTS, 2)
    assert area(outline) == pytest.approx(np.pi * np.square(lobes).sum(), rel=0.02)
    assert np.ptp(outline[:, 0]) == pytest.approx(2 * lobes.sum(), rel=0.06)
    assert height == pytest.approx(2 * lobes.max())
    final, height = dumbbell(lobes, 0.0)
    assert height == pytest.approx(1.0)
    np.testing.assert_allclose(np.hypot(*final.T), 0.5, rtol=0.01)


def test_area_of_a_dumbbell_falls_steadily_while_it_relaxes() -> None:
    areas = [area(dumbbell(np.cbrt([0.0625, 0.0625]), apart)[0]) for apart in np.linspace(1.0, 0.0, 21)]
    assert (np.diff(areas) < 1e-6).all() and areas[-1] == pytest.approx(np.pi / 4, rel=0.005)


def test_union_of_lobes_keeps_the_volume_by_monte_carlo() -> None:
    lobes, apart = np.cbrt([0.09, 0.035]), 0.6
    outline, _ = dumbbell(lobes, apart)
    x, y = outline.T  # a body of revolution about x: integrate the mean of the upper and lower half
    order = np.argsort(x)
    solid = np.pi * np.trapezoid(np.square(y[order]), x[order])
    assert solid == pytest.approx(SPHERE, rel=0.03)


def test_merged_outlines_lie_where_the_parents_lay() -> None:
    pair = scattered(2)
    pair["diameter"], pair["position"] = [12.0, 8.0], [[0.0, 0.0], [10.0, 0.0]]
    (child,) = merged(pair)
    outline = dumbbell(child["lobes"], float(child["apart"]))[0] * child["diameter"] + child["position"]
    assert outline[:, 0].min() == pytest.approx(-6.0, abs=0.3) and outline[:, 0].max() == pytest.approx(14.0, abs=0.5)


def test_volume_factors_of_sphere_and_capsule() -> None:
    assert volume_factor(ellipse() / 2, {}, 1.0) == SPHERE
    rod, aspect = normalised(stadium(3.0)), 3.0
    width = np.sqrt(np.pi / 4 / (aspect - 1 + np.pi / 4))
    capsule = width**3 * (np.pi / 4 * (aspect - 1) + np.pi / 6)
    assert volume_factor(rod, {}, float(width)) == pytest.approx(capsule, rel=0.03)

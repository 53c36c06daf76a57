from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.contrast import supports
from tem_seg.generation.contrast.dark_field import DarkField
from tem_seg.generation.contrast.supports import FORMS, SLICES, Support, SupportedScene


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def support_of(thickness: np.ndarray, blur_nm: tuple[float, ...] = (0.0,), grain: float = 0.0) -> Support:
    film = np.zeros(thickness.shape[:2], np.float32)
    return Support(thickness.astype(np.float32), blur_nm, film, 2.0, grain, 3.0, 7)


def test_signal_is_thickness_times_the_materials_signal() -> None:
    thickness = np.full((32, 48, 2), 3.0)
    signal = support_of(thickness, (0.0, 5.0)).signal((64, 96), 0.5)
    assert signal.shape == (64, 96) and signal.dtype == np.float32
    np.testing.assert_allclose(signal, 2.0 * 2 * 3.0, rtol=1e-5)


def test_the_film_adds_to_the_slices() -> None:
    thickness = np.ones((16, 16, 1), np.float32)
    support = Support(thickness, (0.0,), np.full((16, 16), 0.5, np.float32), 4.0, 0.0, 1.0, 0)
    np.testing.assert_allclose(support.signal((32, 32), 1.0), 4.0 * 1.5, rtol=1e-6)
    assert support.film_nm.max() == 0.5, "drawing leaves the support as it was"


def test_slices_out_of_focus_are_blurred_by_their_own_length() -> None:
    edge = np.zeros((64, 64, 1))
    edge[:, 32:] = 1.0
    sharp, soft = (support_of(edge, (blur,)).signal((128, 128), 0.5) for blur in (0.0, 4.0))
    # 10-90 % of an edge behind a Gaussian: 2.563 standard deviations, of 8 px of 0.5 nm
    rise = np.interp([0.2, 1.8], soft[64], np.arange(128))
    assert np.diff(rise)[0] == pytest.approx(2.563 * 8, rel=0.08)
    assert np.diff(np.interp([0.2, 1.8], sharp[64], np.arange(128)))[0] < 3


def test_grain_has_its_strength_and_is_the_same_each_time() -> None:
    support = support_of(np.ones((128, 128, 1)), grain=0.1)
    first, second = support.signal((128, 128), 1.0), support.signal((128, 128), 1.0)
    assert (first == second).all() and first.std() / first.mean() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("coverage", [0.3, 0.7])
def test_units_cover_the_share_asked_for(form: str, coverage: float) -> None:
    found = supports.units(form, (200.0, 300.0), 30.0, coverage, 4, rng())
    y, x = np.mgrid[0.5:200:1, 0.5:300:1]
    covered = np.zeros((200, 300), bool)
    for row in found:
        covered |= np.square(x - row[0]) + np.square(y - row[1]) < row[3] * row[4]
    assert covered.mean() == pytest.approx(coverage, abs=0.06)
    assert np.median(np.sqrt(found[:, 3] * found[:, 4])) == pytest.approx(15.0, rel=0.25)


def test_units_cling_together() -> None:
    found = supports.units("aggregate", (200.0, 200.0), 20.0, 0.4, 4, rng())
    distance = np.linalg.norm(found[:, None, :3] - found[None, :, :3], axis=2) / (found[:, 4][:, None] + found[:, 4])
    np.fill_diagonal(distance, np.inf)
    assert (distance.min(axis=1) < 0.76).mean() > 0.9


def test_more_layers_make_a_thicker_support() -> None:
    thickness = []
    for layers in (1, 5):
        found = supports.units("aggregate", (100.0, 100.0), 15.0, 0.8, layers, rng())
        total = supports.slices(found, "aggregate", (100, 100), rng())[0].sum(axis=2)
        thickness.append(total[total > 0].mean())
    assert thickness[1] > 1.3 * thickness[0]


def test_a_lone_sphere_has_its_chords(monkeypatch: pytest.MonkeyPatch) -> None:
    still = supports.Form(spread=0.0, aspect=1.0, attach=1.0, edge=1.0, branch=1.0, warp=0.0)
    monkeypatch.setitem(supports.FORMS, "ball", still)
    thickness, depth = supports.slices(np.array([[50.0, 40.0, 3.0, 20.0, 20.0, 0.0]]), "ball", (80, 100), rng())
    total = thickness.sum(axis=2)
    assert thickness.shape == (80, 100, SLICES) and (depth == 3.0).all()
    assert total[40, 50] == pytest.approx(40.0, rel=0.01)
    assert total[40, 62] == pytest.approx(2 * np.sqrt(400 - 12.5**2), rel=0.02)  # to the pixel's centre
    assert total.sum() == pytest.approx(4.0 / 3.0 * np.pi * 20.0**3, rel=0.01)


def test_slices_hold_units_by_depth() -> None:
    found = np.array([[10.0, 10.0, z, 4.0, 4.0, 0.0] for z in (-3.0, -1.0, 1.0, 3.0)])
    thickness, depth = supports.slices(found, "aggregate", (20, 20), rng())
    assert (np.diff(depth) > 0).all() and (thickness.max(axis=(0, 1)) > 0).all()


def test_no_units_no_support() -> None:
    thickness, depth = supports.slices(np.zeros((0, 6)), "aggregate", (10, 12), rng())
    assert thickness.shape == (10, 12, SLICES) and not thickness.any() and len(depth) == SLICES


def test_unknown_form_is_named() -> None:
    with pytest.raises(UserError, match="support form 'foam' does not exist; there are aggregate, clouds, flakes"):
        supports.units("foam", (10.0, 10.0), 2.0, 0.5, 2, rng())


def test_film_is_as_thick_as_asked_and_a_hole_is_empty() -> None:
    whole = supports.film((100, 100), 10.0, False, rng())
    assert whole.mean() == pytest.approx(10.0, rel=0.15) and whole.min() > 0
    empty = [(supports.film((100, 100), 10.0, True, rng(seed)) == 0).mean() for seed in range(12)]
    assert 0.05 < np.mean(empty) < 0.95 and max(empty) > 0.2


def test_wide_blurs_are_made_on_a_coarser_grid_but_look_the_same() -> None:
    import cv2

    field = rng().random((200, 200), dtype=np.float32)
    field = cv2.GaussianBlur(field, (0, 0), 3.0)
    exact = cv2.GaussianBlur(field, (0, 0), 12.0)
    inner = np.s_[30:-30, 30:-30]
    assert np.abs(supports.blurred(field, 12.0) - exact)[inner].max() < 0.25 * exact[inner].std() + 2e-3
    assert supports.blurred(field, 0.1) is field


def test_grid_is_half_the_image_and_never_too_large() -> None:
    assert supports.grid_of((512, 1024)) == (256, 512)
    assert supports.grid_of((4096, 4096)) == (1024, 1024)
    assert supports.grid_of((16, 16)) == (8, 8)


def test_dark_field_draws_the_support_of_a_scene() -> None:
    thickness = np.zeros((32, 32, 1))
    thickness[:, 16:] = 5.0
    scene = SupportedScene((), (64.0, 64.0), support=support_of(thickness))
    image = DarkField(background=(0.05, 0.05), saturation=(0, 0))(scene, (64, 64), rng())
    assert image[32, 5] == pytest.approx(0.05) and image[32, 60] == pytest.approx(1.05, rel=0.01)

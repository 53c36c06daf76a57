from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tem_seg.core.types import Instances, Particle, Scene
from tem_seg.data.rle import area_px, decode, encode
from tem_seg.generation.microscope.warp import Warp
from tem_seg.generation.scenes.shapes import regular, stadium
from tem_seg.generation.truth import feret_nm, instances_of, true_sizes, without_hidden

Disc = Callable[..., Particle]
CLEAR = np.zeros((100, 100), bool)


def find(scene: Scene, hidden: np.ndarray = CLEAR, occlusion: str = "transparent", least: int = 1):  # type: ignore[no-untyped-def]
    return instances_of(scene, hidden, scene.field_of_view_nm[0] / hidden.shape[0], ["particle"], occlusion, least)


def test_sizes_of_a_disc(disc: Disc) -> None:
    sizes = true_sizes(disc(30, 40, 20))
    assert sizes["true_area_nm2"] == pytest.approx(np.pi * 100, rel=1e-4)
    assert sizes["true_equivalent_diameter_nm"] == pytest.approx(20, rel=1e-4)
    assert sizes["true_min_feret_nm"] == pytest.approx(20, rel=1e-4)
    assert sizes["true_max_feret_nm"] == pytest.approx(20, rel=1e-4)
    assert sizes["true_height_nm"] == 20 and sizes["shape"] == "sphere"


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.1, 2.0])
@pytest.mark.parametrize(
    ("outline", "shortest", "longest"),
    [
        (np.array([[0, 0], [4, 0], [4, 3], [0, 3.0]]), 3.0, 5.0),
        (regular(3), 1.5, np.sqrt(3)),  # height and side of an equilateral triangle in the unit circle
        (regular(6), np.sqrt(3), 2.0),
        (stadium(3.0), 1.0, 3.0),
    ],
)
def test_feret_diameters_do_not_depend_on_rotation(
    outline: np.ndarray, shortest: float, longest: float, angle: float
) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert feret_nm(outline @ turn + 1000.0) == pytest.approx((shortest, longest), rel=3e-3)


def test_pixels_and_nm_agree(disc: Disc) -> None:
    found = find(Scene((disc(25, 25, 20),), (50.0, 50.0)))  # 0.5 nm a pixel
    assert area_px(found.segmentations[0]) * 0.25 == pytest.approx(found.truths[0]["true_area_nm2"], rel=0.01)


def two(disc: Disc) -> Scene:
    return Scene((disc(40, 50, 20), disc(52, 50, 20)), (100.0, 100.0))


def test_transparent_overlap_keeps_both_outlines(disc: Disc) -> None:
    found = find(two(disc))
    areas = [area_px(r) for r in found.segmentations]
    assert areas == [area_px(r) for r in found.full_segmentations] and abs(areas[0] - areas[1]) < 6
    assert [t["visible_fraction"] for t in found.truths] == [1.0, 1.0]
    # lens of two circles r = 10, d = 12: 2 r² acos(d / 2r) − d / 2 √(4 r² − d²) = 89.45, of 314.16
    assert found.truths[0]["overlapped_fraction"] == pytest.approx(0.2847, abs=0.02)


def test_opaque_overlap_gives_each_pixel_one_owner_and_the_later_lies_on_top(disc: Disc) -> None:
    found = find(two(disc), occlusion="opaque")
    lower, upper = (decode(r) for r in found.segmentations)
    assert not (lower & upper).any()
    np.testing.assert_array_equal(upper, decode(found.full_segmentations[1]))
    np.testing.assert_array_equal(lower, decode(found.full_segmentations[0]) & ~upper)
    assert found.truths[0]["visible_fraction"] == pytest.approx(1 - 0.2847, abs=0.02)
    assert found.truths[1]["visible_fraction"] == 1.0


def test_visible_fraction_of_a_particle_half_outside(disc: Disc) -> None:
    found = find(Scene((disc(0, 50, 30),), (100.0, 100.0)))
    assert found.truths[0]["visible_fraction"] == pytest.approx(0.5, abs=0.02)
    assert found.truths[0]["true_equivalent_diameter_nm"] == pytest.approx(30, rel=1e-4)


def test_what_an_info_bar_covers_is_in_no_visible_mask(disc: Disc) -> None:
    hidden = np.zeros((100, 100), bool)
    hidden[50:] = True
    found = find(Scene((disc(50, 50, 20), disc(50, 80, 10)), (100.0, 100.0)), hidden)
    assert len(found) == 1
    assert not (decode(found.segmentations[0]) & hidden).any()
    assert area_px(found.full_segmentations[0]) > 1.9 * area_px(found.segmentations[0])


def test_barely_visible_and_wholly_hidden_particles_are_left_out(disc: Disc) -> None:
    scene = Scene((disc(20, 20, 2), disc(70, 70, 6), disc(70, 70, 30), disc(200, 50, 10)), (100.0, 100.0))
    assert len(find(scene, least=1)) == 3
    assert len(find(scene, least=10)) == 2
    assert len(find(scene, least=10, occlusion="opaque")) == 1


def test_one_pixel_particle_and_empty_scene(disc: Disc) -> None:
    found = find(Scene((disc(10.5, 10.5, 0.5),), (100.0, 100.0)))
    assert [area_px(r) for r in found.segmentations] == [1]
    assert len(find(Scene((), (100.0, 100.0)))) == 0


def shifted(x: float, y: float) -> Warp:
    """Content is seen x, y px further on."""
    return Warp((lambda points: points - [x, y],))


def test_warped_particles_are_annotated_where_they_are_seen(disc: Disc) -> None:
    scene = Scene((disc(30, 40, 20), disc(95, 50, 8)), (100.0, 100.0))
    still = find(scene)
    moved = instances_of(scene, CLEAR, 1.0, ["particle"], "transparent", 1, shifted(12, -7))
    assert len(still) == 2 and len(moved) == 1, "the second one has left the picture"
    expected = np.roll(decode(still.segmentations[0]), (-7, 12), (0, 1))
    np.testing.assert_array_equal(decode(moved.segmentations[0]), expected)
    assert moved.truths[0] == still.truths[0]


def test_pictures_masks_are_cut_and_moved() -> None:
    mask = np.zeros((60, 80), bool)
    mask[20:30, 60:75] = True
    mask[24, 65] = False
    truth = {"visible_fraction": 0.8, "shape": "cube"}
    drawn = Instances((60, 80), np.zeros(1, np.int64), [encode(mask)], [encode(mask)], [truth])
    hidden = np.zeros((60, 80), bool)
    same = without_hidden(drawn, hidden, 1)
    assert same.segmentations == drawn.segmentations and same.truths == [truth]
    moved = without_hidden(drawn, hidden, 1, shifted(3, 2))
    np.testing.assert_array_equal(decode(moved.segmentations[0]), np.roll(mask, (2, 3), (0, 1)))
    half_out = without_hidden(drawn, hidden, 1, shifted(10, 0))
    assert decode(half_out.segmentations[0]).sum() == 10 * 10 - 1
    assert half_out.truths[0]["visible_fraction"] == pytest.approx(0.8 * 99 / 149, abs=1e-4)
    hidden[:25] = True
    covered = without_hidden(drawn, hidden, 1)
    np.testing.assert_array_equal(decode(covered.segmentations[0]), mask & ~hidden)
    assert covered.truths[0]["visible_fraction"] == pytest.approx(0.8 * 75 / 149, abs=1e-4)
    assert area_px(covered.full_segmentations[0]) == 149
    assert len(without_hidden(drawn, hidden, 76)) == 0 and len(without_hidden(drawn, hidden, 1, shifted(90, 0))) == 0

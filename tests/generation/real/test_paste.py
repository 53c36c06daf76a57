"""Particles in their places: paste.py, layout.py, view.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tem_seg.data import rle
from tem_seg.data.readers.emps import instances_of
from tem_seg.generation.raster import Crop
from tem_seg.generation.real import cutting, paste
from tem_seg.generation.real.cutting import Cutting, signed_distance
from tem_seg.generation.real.layout import Discs, Layout, discs_of, grid
from tem_seg.generation.real.paste import Blend, Pasted, Pose, composite, footprint, laid, stacked
from tem_seg.generation.real.sifting import Sifting, Whole, sift
from tem_seg.generation.real.view import View

Field = NDArray[np.float32]
SIZE = (120, 140)
OPAQUE = Blend(dark=True, gain=1.0, feather_px=2.0, see_through=False)


def disc_labels(shape: tuple[int, int], disc: tuple[float, float, float]) -> NDArray[np.int32]:
    """1 within a disc (x, y, radius) px."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return (np.hypot(x - disc[0], y - disc[1]) < disc[2]).astype(np.int32)


def whole_of(mask: NDArray[np.bool_], label: int = 0) -> Whole:
    return replace(sift(instances_of(mask.astype(np.int32)), Sifting(0.0, 0.0))[0], label=label)


def cut(mask: NDArray[np.bool_], inside: float = 0.4, outside: float = 1.0) -> Cutting:
    """A particle of even light; sides are made multiples of 8 with the mask's box in the middle."""
    whole = whole_of(np.pad(mask, 1))
    box = whole.mask.values
    shape = [-(-(side + 20) // 8) * 8 for side in box.shape]
    field = np.zeros(shape, bool)
    top, left = ((side - inner) // 2 for side, inner in zip(shape, box.shape, strict=True))
    field[top : top + box.shape[0], left : left + box.shape[1]] = box
    light = cutting._halved(np.where(field, inside, outside).astype(np.float32))
    return Cutting(whole, light, light, cutting._halved(signed_distance(field)), float(np.hypot(*shape)))


def disc(radius: float, **light: float) -> Cutting:
    side = 2 * int(radius) + 4
    return cut(disc_labels((side, side), (side / 2, side / 2, radius)) > 0, **light)


def at(x: float, y: float, magnification: float = 1.0, turn: float = 0.0, mirrored: bool = False) -> Pose:
    return Pose(x, y, magnification, turn, mirrored)


def put(one: Cutting, pose: Pose, size: tuple[int, int] = SIZE) -> Pasted:
    found = laid(one, False, True, pose, size)
    assert found is not None
    return found


def seen_at(one: Pasted, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    found = np.zeros(size, bool)
    found[one.mask.window] = one.mask.values
    return found


# --------------------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("magnification", [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.6, 2.0])
def test_area_and_place_follow_the_magnification(magnification: float) -> None:
    found = put(disc(20), at(70.3, 60.8, magnification))
    mask = seen_at(found)
    wanted = np.pi * 400 * magnification**2
    assert mask.sum() == pytest.approx(wanted, rel=0.02, abs=8)
    assert found.whole_px == pytest.approx(wanted, rel=0.02)
    rows, columns = np.nonzero(mask)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((70.3, 60.8), abs=0.3)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns_and_mirrors_are_exact(quarters: int, mirrored: bool) -> None:
    shape = np.zeros((24, 24), bool)
    shape[4:20, 4:8], shape[16:20, 4:16] = True, True  # an L
    one = cut(shape)
    found = put(one, at(60, 60, turn=-0.5 * np.pi * quarters, mirrored=mirrored), (120, 120))
    field = np.zeros((120, 120), bool)
    depth = one.depth[0]
    top, left = 60 - depth.shape[0] // 2, 60 - depth.shape[1] // 2
    field[top : top + depth.shape[0], left : left + depth.shape[1]] = depth > 0
    assert np.array_equal(seen_at(found, (120, 120)), np.rot90(field[:, ::-1] if mirrored else field, quarters))


def test_a_turn_changes_no_area() -> None:
    shape = np.zeros((30, 60), bool)
    shape[5:25, 5:55] = True
    areas = [seen_at(put(cut(shape), at(70, 60, turn=turn))).sum() for turn in np.linspace(0, np.pi, 13)]
    assert np.ptp(areas) < 0.03 * 1000


def test_what_is_outside_the_image_is_cut_off() -> None:
    one, far = disc(20), 40
    wide = seen_at(put(one, at(far + 3, far + 60), (200, 220)), (200, 220))
    near = put(one, at(3, 60))
    assert np.array_equal(seen_at(near), wide[far : far + SIZE[0], far : far + SIZE[1]])
    assert laid(one, False, True, at(-60, 60), SIZE) is None and laid(one, False, True, at(60, 900), SIZE) is None
    assert laid(one, False, True, at(-20.5, 60), SIZE) is None  # its halo is inside, it is not


def test_reach_saves_the_corners_of_a_turned_square() -> None:
    whole, near = (footprint((80, 80), at(60, 60, turn=np.pi / 4), SIZE, reach) for reach in (np.inf, 40.0))
    assert whole is not None and near is not None
    assert near.width == pytest.approx(80, abs=2) and whole.width > 105


# ------------------------------------------------------------------------------------------------------ compositing


def scene(level: float = 150.0) -> tuple[Field, Field, NDArray[np.bool_]]:
    return np.full(SIZE, level, np.float32), np.full(SIZE, level, np.float32), np.zeros(SIZE, bool)


def test_inside_the_ratio_counts_outside_nothing_changes() -> None:
    pixels, level, covered = scene()
    one = put(disc(20), at(60, 60))
    composite(pixels, level, covered, one, OPAQUE)
    depth = signed_distance(seen_at(one))
    assert pixels[depth > 1] == pytest.approx(60.0, abs=0.01) and pixels[depth < -4] == pytest.approx(150.0, abs=0.01)


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_gain_is_of_the_contrast(gain: float) -> None:
    pixels, level, covered = scene()
    composite(pixels, level, covered, put(disc(20), at(60, 60)), replace(OPAQUE, gain=gain))
    assert pixels[60, 60] == pytest.approx(150.0 * (1.0 - 0.6 * gain), abs=0.01)


def test_bright_particles_are_added() -> None:
    pixels, level, covered = scene(50.0)
    one = laid(disc(20, inside=80.0, outside=0.0), False, False, at(60, 60), SIZE)
    assert one is not None
    composite(pixels, level, covered, one, replace(OPAQUE, dark=False))
    assert pixels[60, 60] == pytest.approx(130.0) and pixels[5, 5] == pytest.approx(50.0)


def test_a_particle_brings_its_own_grain_and_leaves_the_others() -> None:
    """One that is as bright as the background and has no grain: a smooth disc in unchanged grain, with no seam."""
    pixels, level, covered = scene()
    pixels += np.random.default_rng(0).normal(0, 5, SIZE).astype(np.float32)
    before, one = pixels.copy(), put(disc(20, inside=1.0), at(60, 60))
    composite(pixels, level, covered, one, OPAQUE)
    depth = signed_distance(seen_at(one))
    assert np.abs(pixels[depth > 0] - 150.0).max() < 0.01
    assert np.abs(pixels - before)[depth < -4].max() < 0.01
    edge = (depth < 0) & (depth > -4)
    assert pixels[edge].mean() == pytest.approx(150.0, abs=1.0) and pixels[edge].std() < 5.5


def test_opaque_and_see_through() -> None:
    one = put(disc(20), at(60, 60))
    for see_through, wanted in ((False, 60.0), (True, 24.0)):
        pixels, level, covered = scene()
        composite(pixels, level, covered, one, OPAQUE)
        covered[one.mask.window] |= one.mask.values
        composite(pixels, level, covered, put(disc(20), at(75, 60)), replace(OPAQUE, see_through=see_through))
        assert pixels[60, 70] == pytest.approx(wanted, abs=0.05)


def test_the_rim_of_one_leaves_its_neighbour() -> None:
    pixels, level, covered = scene()
    one, other = put(disc(20), at(50, 60)), put(disc(20), at(90, 60))  # they touch
    composite(pixels, level, covered, one, OPAQUE)
    covered[one.mask.window] |= one.mask.values
    composite(pixels, level, covered, other, OPAQUE)
    alone, level, nothing = scene()
    composite(alone, level, nothing, one, OPAQUE)
    assert np.array_equal(pixels[:, :66], alone[:, :66])
    assert pixels[60, 66:69].max() < 100


# -------------------------------------------------------------------------------------------------------- what is seen


def test_later_ones_cover_earlier_ones() -> None:
    found = [put(disc(20), at(50, 60)), put(disc(20), at(70, 60))]
    seen = stacked(found, 0.3, np.empty(SIZE, np.uint16))
    first, second = seen_at(found[0]), seen_at(found[1])
    assert seen.counts == [int((first & ~second).sum()), int(second.sum())]
    made = paste.instances_of(seen, SIZE, 10, 2.0)
    assert np.array_equal(rle.decode(made.segmentations[0]), first & ~second)
    assert np.array_equal(rle.decode(made.full_segmentations[0]), first)
    assert made.segmentations[1] == made.full_segmentations[1]
    assert made.truths[0]["true_equivalent_diameter_px"] == pytest.approx(40, rel=0.01)
    assert made.truths[0]["true_max_feret_nm"] == pytest.approx(2 * made.truths[0]["true_max_feret_px"], abs=1e-3)
    assert made.truths[0]["visible_fraction"] == pytest.approx(seen.counts[0] / first.sum(), abs=0.01)
    assert made.truths[0]["shape"] == "cut"


def test_hidden_ones_are_taken_out_real_ones_are_not() -> None:
    small, large, real = put(disc(8), at(60, 60)), put(disc(30), at(62, 60)), put(disc(9), at(64, 62))
    kept = replace(real, light=None, depth=None, shape="real")
    seen = stacked([kept, small, large], 0.3, np.empty(SIZE, np.uint16))
    assert [one.shape for one in seen.particles] == ["real", "cut"] and seen.counts[0] == 0
    assert len(paste.instances_of(seen, SIZE, 10, None)) == 1  # of the real one nothing is seen


def test_what_the_border_of_the_source_cuts_has_no_sizes() -> None:
    one = put(disc(20), at(60, 60))
    cut_off = replace(one, whole=replace(one.whole, cut=True))
    assert paste.instances_of(stacked([cut_off], 0.3, np.empty(SIZE, np.uint16)), SIZE, 10, None).truths == [
        {"shape": "cut"}
    ]


def test_of_nothing_nothing() -> None:
    made = paste.instances_of(stacked([], 0.3, np.empty(SIZE, np.uint16)), SIZE, 10, None)
    assert len(made) == 0 and made.size == SIZE


# ------------------------------------------------------------------------------------------------------------ layout


def gaps(layout: Layout) -> NDArray[np.float64]:
    """Between the rims of every two discs."""
    found = layout.discs[: layout.count]
    apart = np.hypot(*(found[:, None, :2] - found[None, :, :2]).transpose(2, 0, 1)) - found[:, None, 2] - found[:, 2]
    return np.asarray(apart[np.triu_indices(len(found), 1)])


def filled(count: int, size: tuple[int, int] = (400, 500), radius: float = 12.0, **how: Any) -> tuple[Layout, int]:
    layout = Layout(size, how.get("overlap", (0.1, 0.3)), how.get("touching", 0.0), how.get("overlapped", 0.0))
    rng = np.random.default_rng(3)
    placed = [layout.settle(Discs(np.zeros((1, 2)), radius), rng) for _ in range(count)]
    return layout, sum(one is not None for one in placed)


def test_apart_is_apart_and_within_the_image() -> None:
    layout, placed = filled(60)
    assert placed == 60 and gaps(layout).min() > -0.02 * 24
    x, y = layout.discs[:60, :2].T
    assert x.min() >= 0 and x.max() <= 500 and y.min() >= 0 and y.max() <= 400


def test_touching_and_overlapping() -> None:
    touching, _ = filled(40, touching=1.0)
    assert (np.abs(gaps(touching)) < 0.6).sum() >= 35 and gaps(touching).min() > -0.6
    overlapping, _ = filled(40, overlapped=1.0, overlap=(0.25, 0.3))
    sunk = -gaps(overlapping) / 24
    assert (sunk > 0.2).sum() >= 30 and sunk.max() < 0.33


def test_a_full_field_takes_no_more() -> None:
    _, placed = filled(200, size=(100, 100))
    assert 10 < placed < 40


def test_a_rod_is_a_row_of_discs() -> None:
    shape = np.zeros((20, 80), bool)
    shape[5:15, 5:75] = True
    discs = discs_of(whole_of(shape), 2.0)
    assert discs.radius == 10.0 and np.ptp(discs.offsets[:, 0]) == pytest.approx(120, abs=3)
    assert np.abs(discs.offsets[:, 1]).max() < 1e-9
    turned = discs_of(whole_of(shape), 2.0, turn=np.pi / 2)
    assert np.ptp(turned.offsets[:, 1]) == pytest.approx(120, abs=3)
    slanted = whole_of(np.kron(np.eye(30), np.ones((2, 2))) > 0)  # falls to the right
    rows = [discs_of(slanted, 1.0, mirrored=m).offsets for m in (False, True)]
    assert (rows[0][:, 0] * rows[0][:, 1]).sum() > 0 > (rows[1][:, 0] * rows[1][:, 1]).sum()
    layout = Layout((300, 300), (0.0, 0.0), 1.0, 0.0)
    rng = np.random.default_rng(0)
    assert all(layout.settle(discs, rng) is not None for _ in range(4)) and layout.count == 4 * len(discs.offsets)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_cells_of_a_grid_hold_one_each(count: int) -> None:
    centres, cell = grid((300, 500), count, np.random.default_rng(0))
    assert len(np.unique(centres, axis=0)) == len(centres) == count
    numbers = np.unique((centres / [cell[1], cell[0]]).astype(int), axis=0)
    assert len(numbers) == count and 0.4 < cell[0] / cell[1] < 2.5


# -------------------------------------------------------------------------------------------------------------- view


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_pixels_and_particles_are_seen_alike(quarters: int, mirrored: bool) -> None:
    field = np.zeros((90, 100), np.float32)
    field[30:34, 50:56] = 100.0
    size = (120, 80)
    upright = size if quarters % 2 == 0 else size[::-1]
    view = View(20, 10, upright[1] // 2, upright[0] // 2, mirrored, quarters, size)
    shown, pose = view.of(field), view.pose_of(53.0, 32.0)
    assert shown.shape == size and view.magnification == pytest.approx(2.0)
    weights = shown / shown.sum()
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    assert ((weights * x).sum(), (weights * y).sum()) == pytest.approx((pose.x, pose.y), abs=0.05)
    place = footprint((12, 14), pose, size)
    assert place is not None
    patch = np.zeros((12, 14), np.float32)
    patch[4:8, 4:10] = 100.0
    window = Crop(np.zeros((place.height, place.width)), place.x0, place.y0).window
    assert np.abs(place.sample(patch, 0.0) - shown[window]).max() < 30.0
    assert np.array_equal(place.sample(patch, 0.0) > 50, shown[window] > 50)


def test_a_shrunk_view_averages() -> None:
    rng = np.random.default_rng(0)
    view = View(0, 0, 200, 200, False, 0, (50, 50))
    assert view.of(rng.normal(0, 1, (200, 200)).astype(np.float32)).std() == pytest.approx(0.25, rel=0.1)

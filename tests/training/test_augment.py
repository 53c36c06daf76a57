"""Geometry of crops against a dense oracle, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from training_scenes import disc, disc_mask

from tem_seg.core.geometry import box_of_crop
from tem_seg.core.types import Rle
from tem_seg.data import rle
from tem_seg.training import augment
from tem_seg.training.augment import (
    Tone,
    Window,
    boxes_of_masks,
    change_tone,
    crop_image,
    crop_mask,
    crop_masks,
    draw_window,
)

SIZE = (150, 200)


def window(**changes: Any) -> Window:
    """The whole micrograph at magnification 1, unless changed."""
    whole = {"x0": 0, "y0": 0, "width": 200, "height": 150, "out_width": 200, "out_height": 150}
    return Window(**(whole | {"mirror": False, "quarter_turns": 0} | changes))


def sampled(mask: NDArray[np.bool_], view: Window) -> NDArray[np.float64]:
    """The dense oracle: the full mask, interpolated in float64 at the centre of every output pixel."""
    rows = (np.arange(view.out_height) + 0.5) * view.height / view.out_height + view.y0 - 0.5
    columns = (np.arange(view.out_width) + 0.5) * view.width / view.out_width + view.x0 - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    values: NDArray[np.float64] = map_coordinates(mask.astype(float), grid, order=1, mode="constant")
    return values


def blob(rng: np.random.Generator) -> NDArray[np.bool_]:
    """A particle of any shape and size in a frame of SIZE: discs that overlap."""
    x, y, radius = rng.uniform(0, 200), rng.uniform(0, 150), 60 ** rng.uniform(0, 1)
    parts = [disc_mask(x + rng.normal() * radius, y + rng.normal() * radius, radius, SIZE) for _ in range(3)]
    return np.logical_or.reduce(parts)


@pytest.mark.parametrize("seed", range(25))
def test_mask_in_any_window_equals_the_dense_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = blob(rng)
    width, height = int(rng.integers(20, 201)), int(rng.integers(20, 151))
    scale = 0.3 * 8 ** rng.random()
    view = window(
        x0=int(rng.integers(201 - width)), y0=int(rng.integers(151 - height)), width=width, height=height,
        out_width=max(1, round(width * scale)), out_height=max(1, round(height * scale)),
    )  # fmt: skip
    values = sampled(mask, view)
    found = crop_mask(rle.encode(mask), view)
    found = np.zeros(values.shape, np.uint8) if found is None else found
    sure = np.abs(values - 0.5) > 0.1  # OpenCV rounds places to 1/32 px
    assert found.dtype == np.uint8 and found.shape == values.shape
    np.testing.assert_array_equal(found[sure], (values > 0.5)[sure])


@pytest.mark.parametrize("scale", [0.35, 0.53, 0.77, 1.0, 1.61, 3.0])
def test_a_disc_keeps_its_area_times_scale_squared(scale: float) -> None:
    view = window(out_width=round(200 * scale), out_height=round(150 * scale))
    found = crop_mask(disc(101.3, 74.6, 40.0, SIZE), view)
    exact = np.pi * 40.0**2 * (view.out_width / 200) * (view.out_height / 150)
    assert found is not None
    assert found.sum() == pytest.approx(exact, rel=0.015)  # measured: 0.6 % standard deviation at 0.35, 0.1 % at 1.6
    rows, columns = np.nonzero(found)
    assert columns.mean() + 0.5 == pytest.approx(101.3 * view.out_width / 200, abs=0.2)
    assert rows.mean() + 0.5 == pytest.approx(74.6 * view.out_height / 150, abs=0.2)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarter_turns", range(4))
def test_image_masks_and_boxes_turn_together(mirror: bool, quarter_turns: int) -> None:
    """At magnification 1 a mask shown as an image must come out as the mask, in all eight orientations."""
    mask = disc_mask(60.0, 40.0, 22.0, SIZE) & ~disc_mask(55.0, 30.0, 9.0, SIZE)
    view = window(x0=20, y0=10, width=100, height=70, out_width=100, out_height=70, mirror=mirror,
                  quarter_turns=quarter_turns)  # fmt: skip
    image = crop_image(mask.astype(np.float16), view)
    masks, chosen = crop_masks([rle.encode(mask)], view)
    assert chosen == [0] and masks.shape[1:] == image.shape == ((100, 70) if quarter_turns % 2 else (70, 100))
    np.testing.assert_array_equal(masks[0], image.astype(np.uint8))
    expected = np.rot90(np.fliplr(mask[10:80, 20:120]) if mirror else mask[10:80, 20:120], quarter_turns)
    np.testing.assert_array_equal(masks[0].astype(bool), expected)
    assert tuple(boxes_of_masks(masks)[0]) == box_of_crop(expected, 0, 0)


@pytest.mark.parametrize("scale", [0.35, 0.53, 0.77, 1.3, 1.61, 3.0])
def test_image_and_mask_stay_on_each_other_when_rescaled(scale: float) -> None:
    """A mask shown as an image and cut at half its height covers the rescaled mask but for pixels on the outline."""
    mask = disc_mask(90.0, 80.0, 30.0, SIZE)
    view = window(out_width=round(200 * scale), out_height=round(150 * scale))
    from_image = crop_image(mask.astype(np.float32), view) > 0.5
    found = crop_mask(rle.encode(mask), view)
    assert found is not None
    differing = int((from_image != found.astype(bool)).sum())
    assert differing <= 0.1 * 2 * np.pi * 30 * scale


def test_image_is_averaged_when_shrunk() -> None:
    """A checkerboard of single pixels becomes its mean: no moiré."""
    board = np.indices((100, 100)).sum(axis=0) % 2
    view = window(width=100, height=100, out_width=50, out_height=50)
    assert crop_image(board.astype(np.float32), view) == pytest.approx(0.5)


# -------------------------------------------------------------------------------------------- special particles


def pixel(x: int, y: int) -> Rle:
    return rle.encode_crop(np.ones((1, 1), bool), x, y, SIZE)


def test_a_one_pixel_particle() -> None:
    """Kept where it is asked for, dropped as too small to learn from, 4 px wide at magnification 4."""
    masks, chosen = crop_masks([pixel(30, 20)], window(), min_area_px=1)
    assert chosen == [0] and masks.sum() == 1 and masks[0, 20, 30] == 1
    assert crop_masks([pixel(30, 20)], window())[1] == []
    near = window(x0=20, y0=10, width=50, height=37, out_width=200, out_height=148)
    masks, chosen = crop_masks([pixel(30, 20)], near)
    assert chosen == [0] and tuple(boxes_of_masks(masks)[0]) == (40, 40, 44, 44)
    assert 12 <= masks.sum() <= 16  # interpolation rounds the corners of the square


def test_particles_outside_the_window_are_none() -> None:
    view = window(x0=50, y0=50, width=40, height=40, out_width=40, out_height=40)
    for outside in (pixel(49, 60), pixel(90, 60), pixel(60, 49), pixel(60, 90), disc(20, 20, 25, SIZE)):
        assert crop_mask(outside, view) is None
    for inside in (pixel(50, 50), pixel(89, 89)):
        found = crop_mask(inside, view)
        assert found is not None and found.sum() == 1


def test_an_empty_mask_is_none() -> None:
    assert crop_mask(rle.encode(np.zeros(SIZE, bool)), window()) is None


def test_an_empty_micrograph_has_no_masks_and_no_boxes() -> None:
    masks, chosen = crop_masks([], window(quarter_turns=1))
    assert masks.shape == (0, 200, 150) and chosen == []
    assert boxes_of_masks(masks).shape == (0, 4) and boxes_of_masks(masks).dtype == np.float32


def test_boxes_equal_the_box_of_each_mask() -> None:
    rng = np.random.default_rng(0)
    masks = np.stack([mask for mask in (blob(rng) for _ in range(30)) if mask.any()]).astype(np.uint8)
    expected = [box_of_crop(mask.astype(bool), 0, 0) for mask in masks]
    np.testing.assert_array_equal(boxes_of_masks(masks), np.array(expected, np.float32))


# -------------------------------------------------------------------------------------------------------- cost


def test_cost_does_not_grow_with_particles_times_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same 40 particles in a micrograph of 4 or 64 times the area: the same pixels are touched."""

    def touched(side: int) -> int:
        rng, counted = np.random.default_rng(1), []
        small = [disc_mask(12, 12, rng.uniform(4, 11), (24, 24)) for _ in range(40)]
        places = rng.integers(0, 200, (40, 2))
        particles = [
            rle.encode_crop(mask, int(x), int(y), (side, side)) for mask, (x, y) in zip(small, places, strict=True)
        ]
        real = augment.cv2.warpAffine

        def count(source: Any, matrix: Any, out_size: tuple[int, int]) -> Any:
            counted.append(source.size + out_size[0] * out_size[1])
            return real(source, matrix, out_size)

        view = Window(0, 0, 256, 256, 256, 256, False, 0)
        with monkeypatch.context() as patch:
            patch.setattr(augment.cv2, "warpAffine", count)
            crop_masks(particles, view)
        assert len(counted) == 40
        return sum(counted)

    assert touched(512) == touched(2048) <= 40 * 2 * 24 * 24


# ----------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("seed", range(4))
def test_windows_lie_inside_and_fill_the_crop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        size = (int(rng.integers(1, 900)), int(rng.integers(1, 900)))
        view = draw_window(size, float(rng.uniform(3, 80)), 128, (0.35, 1.6), (8.0, 60.0), rng)
        assert 0 <= view.x0 <= size[1] - view.width and 0 <= view.y0 <= size[0] - view.height
        assert 1 <= view.out_width <= 128 and 1 <= view.out_height <= 128
        full = view.width < size[1]  # a window smaller than the micrograph fills the crop
        assert not full or view.out_width >= 127


def test_scale_is_log_uniform_and_held_by_the_particle_size() -> None:
    rng = np.random.default_rng(0)

    def scales(median: float, particle_px: tuple[float, float]) -> NDArray[np.float64]:
        views = [draw_window((4000, 4000), median, 100, (0.25, 4.0), particle_px, rng) for _ in range(800)]
        return np.array([view.out_width / view.width for view in views])

    free = np.log(scales(20.0, (0.1, 1e4)) / 0.25) / np.log(16.0)
    assert free.min() >= -0.01 and free.max() <= 1.01
    assert np.quantile(free, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.05)
    held = 20.0 * scales(20.0, (16.0, 30.0))
    assert held.min() == pytest.approx(16.0, rel=0.01) and held.max() == pytest.approx(30.0, rel=0.01)
    empty = scales(float("nan"), (16.0, 30.0))
    assert empty.min() < 0.3 and empty.max() > 3.5


def test_all_eight_orientations_occur() -> None:
    rng = np.random.default_rng(0)
    views = [draw_window((64, 64), 10.0, 32, (1.0, 1.0), (1.0, 99.0), rng) for _ in range(200)]
    assert len({(view.mirror, view.quarter_turns) for view in views}) == 8


# -------------------------------------------------------------------------------------------------------- tone


def test_tone_is_drawn_from_the_generator_alone() -> None:
    image = np.random.default_rng(0).random((40, 50), np.float32)
    one, other = Tone().build(), Tone().build()
    change_tone(other, image, np.random.default_rng(99))  # what was drawn before plays no part
    seen = set()
    for seed in range(10):
        a = change_tone(one, image, np.random.default_rng(seed))
        b = change_tone(other, image, np.random.default_rng(seed))
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32 and a.shape == image.shape and a.min() >= 0 and a.max() <= 1
        seen.add(a.tobytes())
    assert len(seen) >= 7  # some draw no change at all


def test_no_chance_changes_nothing() -> None:
    nothing = Tone(contrast_chance=0, gamma_chance=0, noise_chance=0, blur_chance=0, invert_chance=0).build()
    image = np.random.default_rng(0).random((17, 9), np.float32)
    np.testing.assert_array_equal(change_tone(nothing, image, np.random.default_rng(0)), image)


def test_inversion_alone_is_one_minus_the_image() -> None:
    only = Tone(contrast_chance=0, gamma_chance=0, noise_chance=0, blur_chance=0, invert_chance=1).build()
    image = np.random.default_rng(0).random((17, 9), np.float32)
    np.testing.assert_allclose(change_tone(only, image, np.random.default_rng(0)), 1 - image, atol=1e-6)


def test_with_headroom_the_same_changes_go_beyond_black_and_white() -> None:
    none = {"contrast_chance": 0, "gamma_chance": 0, "noise_chance": 0, "blur_chance": 0, "invert_chance": 0}
    image = np.random.default_rng(0).uniform(-0.75, 1.75, (100, 100)).astype(np.float32)
    for seed, (changes, wanted) in enumerate([({}, image), ({"invert_chance": 1}, 1 - image)]):
        found = change_tone(Tone(**none | changes).build(0.75), image, np.random.default_rng(seed), 0.75)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    grey = np.full((100, 100), 0.5, np.float32)
    noisy, plain = (Tone(**none | {"noise_chance": 1}).build(room) for room in (0.75, 0.0))
    for seed in range(5):
        found = change_tone(noisy, grey, np.random.default_rng(seed), 0.75).std()
        assert found == pytest.approx(change_tone(plain, grey, np.random.default_rng(seed)).std(), rel=0.02)
    brighter = Tone(**none | {"contrast_chance": 1}).build(0.75)
    spread = [change_tone(brighter, image, np.random.default_rng(seed), 0.75) for seed in range(20)]
    low, high = min(each.min() for each in spread), max(each.max() for each in spread)
    assert low == pytest.approx(-0.75) and high == pytest.approx(1.75)


def test_noise_has_at_most_the_given_strength() -> None:
    only = Tone(
        contrast_chance=0, gamma_chance=0, noise_chance=1, noise_sd=0.08, blur_chance=0, invert_chance=0
    ).build()
    grey = np.full((100, 100), 0.5, np.float32)
    spreads = [float(change_tone(only, grey, np.random.default_rng(seed)).std()) for seed in range(40)]
    assert 0.06 < max(spreads) < 0.085 and min(spreads) < 0.02

"""A micrograph of discs, and a model that sees those of some sizes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.inference import scales
from tem_seg.inference.scales import (
    FIRST_PX,
    LARGEST_MAGNIFICATION,
    MAGNIFIED_PX,
    WANTED_PX,
    chosen,
    found,
    sizes_px,
    typical_px,
)

Disc = tuple[float, float, float]
"""x, y, radius; shares of the micrograph's side."""


def prediction(discs: list[Disc], side: int, score: float = 0.9) -> Prediction:
    """Discs of a square micrograph, exactly."""
    at = np.arange(side) + 0.5
    masks = [np.hypot(at[None] - x * side, at[:, None] - y * side) <= max(r * side, 0.6) for x, y, r in discs]
    boxes = np.array([[(x - r), (y - r), (x + r), (y + r)] for x, y, r in discs], np.float32).reshape(-1, 4) * side
    return Prediction(
        boxes=boxes, labels=np.zeros(len(discs), np.int64), scores=np.full(len(discs), score, np.float32),
        masks=[rle.encode(mask) for mask in masks],
    )  # fmt: skip


def grid(size: float) -> list[Disc]:
    """Nine discs whose area has this square root, as a share of the side."""
    return [(x, y, size / np.sqrt(np.pi)) for x in (0.2, 0.5, 0.8) for y in (0.2, 0.5, 0.8)]


def seeing(
    discs: list[Disc], side: int, shown: list[float], low: float = 6.0, high: float = 300.0
) -> Callable[[float], Prediction]:
    """A model that finds discs of these sizes, px as shown. shown: sides of its looks, px."""

    def look(magnification: float) -> Prediction:
        shown.append(magnification * side)
        return prediction([d for d in discs if low <= np.sqrt(np.pi) * d[2] * side * magnification <= high], side)

    return look


@pytest.mark.parametrize("size", [0.02, 0.06, 0.13, 0.25, 0.5])
def test_the_same_micrograph_at_any_resolution_is_shown_the_same_way(size: float) -> None:
    looks = []
    for side in (256, 512, 1024, 1536):
        shown: list[float] = []
        assert len(chosen((side, side), seeing(grid(size), side, shown))[0]) == 9
        looks.append(shown)
    for other in looks[1:]:
        assert other[: len(looks[0]) - 1] == pytest.approx(looks[0][:-1])
    if size >= 0.06:  # else what a small file shows ends before
        assert looks[0][-1] == looks[1][-1] == looks[3][-1]


@pytest.mark.parametrize("size", [0.05, 0.08, 0.13, 0.2])
def test_particles_are_shown_with_the_wanted_size(size: float) -> None:
    """Within half a step of √2 either way."""
    shown: list[float] = []
    _, magnification = chosen((700, 700), seeing(grid(size), 700, shown))
    assert shown[-1] == pytest.approx(700 * magnification)
    assert WANTED_PX / 2**0.27 <= size * shown[-1] <= WANTED_PX * 2**0.27  # masks have whole pixels
    assert shown[0] == pytest.approx(FIRST_PX) and len(shown) <= 2


def test_a_first_look_that_fits_is_the_one_that_counts() -> None:
    shown: list[float] = []
    assert len(chosen((560, 560), seeing(grid(WANTED_PX / FIRST_PX), 560, shown))[0]) == 9
    assert shown == pytest.approx([FIRST_PX])


def test_the_area_counts_whatever_the_format() -> None:
    wide: list[float] = []
    found((280, 1120), lambda m: (wide.append(m), prediction([], 10))[1])
    assert wide[0] == pytest.approx(0.5)


def test_lost_particles_are_looked_for_at_twice_the_size_up_to_the_micrographs_own_pixels() -> None:
    shown: list[float] = []
    assert len(found((2000, 2000), seeing(grid(0.006), 2000, shown))) == 9  # 12 px; seen from 6 px as shown
    assert shown == pytest.approx([280, 560, 1120, 2000])
    empty: list[float] = []
    assert len(found((2000, 2000), seeing([], 2000, empty))) == 0
    assert empty == pytest.approx([280, 560, 1120, 2000])
    figure: list[float] = []
    assert len(found((512, 512), seeing([], 512, figure))) == 0
    assert figure == pytest.approx([280, 560])


def test_nothing_is_magnified_beyond_what_its_pixels_hold() -> None:
    for side, most in ((3000, 3000.0), (512, MAGNIFIED_PX), (130, MAGNIFIED_PX), (20, 20 * LARGEST_MAGNIFICATION)):
        shown: list[float] = []
        found((side, side), seeing(grid(3 / side), side, shown, low=0.0))
        assert max(shown) == pytest.approx(most)
        assert len(shown) == len(set(shown))


def test_huge_particles_are_shown_small_but_not_tiny() -> None:
    shown: list[float] = []
    chosen((800, 800), seeing([(0.5, 0.5, 0.45)], 800, shown))
    assert shown == pytest.approx([280, 140])


@pytest.mark.parametrize(
    ("beside", "on_it", "px", "last"),
    [
        (0, 100, 12, 1000),
        (0, 9, 12, 1000),
        (0, 2, 12, None),
        (60, 0, 12, None),
        (0, 7, 12, None),
        (0, 100, 8, 1414),
        (0, 100, 4, 2000),
    ],
)
def test_fine_particles_on_supports_are_not_lost(beside: int, on_it: int, px: int, last: int | None) -> None:
    """1,000 px: a support of 400 px, which a look at 280 px sees alone; fine particles beside it say nothing of it."""
    rng, radius = np.random.default_rng(0), px / 1000 / np.sqrt(np.pi)
    discs = [(0.5, 0.5, 0.4 / np.sqrt(np.pi))]
    discs += [(x, y, radius) for x, y in rng.uniform(0.35, 0.65, (on_it, 2)).tolist()]
    discs += [(x, y, radius) for x, y in rng.uniform(0.02, 0.2, (beside, 2)).tolist()]
    shown: list[float] = []
    seen = found((1000, 1000), seeing(discs, 1000, shown, low=3.0, high=450.0))
    assert (len(seen) >= on_it) if last else (len(seen) == 1)
    assert shown[-1] == pytest.approx(last or 1000, abs=1), "without supports its own pixels, to no avail"


def test_a_look_that_is_sure_of_nothing_does_not_count() -> None:
    """What the first look took for one thing is none when it is shown smaller."""
    shown: list[float] = []
    mirage, real = [(0.5, 0.5, 0.3)], grid(0.012)

    def look(magnification: float) -> Prediction:
        shown.append(magnification)
        return prediction({0.28: mirage, 1.0: real}.get(round(magnification, 2), []), 1000)

    assert len(found((1000, 1000), look)) == 9 and len(shown) == 3


def test_the_choosing_look_leaves_nothing_behind() -> None:
    """Neither its particles nor that it reached a cap."""
    large = grid(0.3)

    def look(magnification: float) -> Prediction:
        seen = prediction(large if magnification > 0.4 else large[:4], 560)
        return replace(seen, capped=magnification > 0.4)

    final = found((560, 560), look)
    assert len(final) == 4 and not final.capped
    assert found((560, 560), lambda _: replace(prediction(grid(WANTED_PX / FIRST_PX), 560), capped=True)).capped


def test_specks_and_doubtful_particles_do_not_choose() -> None:
    """Half of the area belongs to larger ones: a hundred specks of 3 px are 4 % of a particle of 150 px."""
    large, specks = prediction([(0.5, 0.5, 0.15)], 560), prediction([(0.1, 0.1, 0.003)] * 100, 560)
    doubtful = prediction([(0.5, 0.5, 0.4)], 560, score=scales.SURE - 0.01)
    assert typical_px(large) == pytest.approx(0.15 * 560 * np.sqrt(np.pi), rel=0.01)
    together = replace(
        large, boxes=np.concatenate([large.boxes, specks.boxes]), labels=np.zeros(101, np.int64),
        scores=np.full(101, 0.9, np.float32), masks=[*(large.masks or []), *(specks.masks or [])],
    )  # fmt: skip
    assert typical_px(together) == typical_px(large)
    assert typical_px(doubtful) == typical_px(prediction([], 560)) == 0


def test_half_of_the_area_by_hand() -> None:
    """Sides 1, 2, 3, 4: areas 1, 4, 9, 16 of 30. The largest alone has more than half."""
    boxes = np.array([[0, 0, side, side] for side in (3, 1, 4, 2)], np.float32)
    four = Prediction(boxes=boxes, labels=np.zeros(4, np.int64), scores=np.ones(4, np.float32))
    assert typical_px(four) == 4
    three = Prediction(boxes=boxes[:2], labels=np.zeros(2, np.int64), scores=np.ones(2, np.float32))
    assert typical_px(three) == 3


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (1, 4000)])
def test_a_few_pixels(size: tuple[int, int]) -> None:
    shown: list[float] = []
    assert len(found(size, lambda m: (shown.append(m), prediction([], 9))[1])) == 0
    assert max(shown) <= LARGEST_MAGNIFICATION


def test_sizes_of_boxes_and_rotated_boxes() -> None:
    boxes = np.array([[0, 0, 4, 9]], np.float32)
    bare = {"boxes": boxes, "labels": np.zeros(1, np.int64), "scores": np.ones(1, np.float32)}
    assert sizes_px(Prediction(**bare)) == pytest.approx([6])
    turned = np.array([[2, 4, 2, 8, 30]], np.float32)
    assert sizes_px(Prediction(**bare, rotated_boxes=turned)) == pytest.approx([4])

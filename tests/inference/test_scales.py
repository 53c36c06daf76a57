"""A micrograph of discs, and a model that sees those of some sizes alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.inference import scales
from tem_seg.inference.scales import SHOWN_PX, looks, settled, sizes_px

Disc = tuple[float, float, float]
"""x, y, radius; shares of the micrograph's longest side."""
WORLD: list[Disc] = [(0.2, 0.2, 0.1), (0.6, 0.3, 0.05), (0.5, 0.7, 0.02), (0.8, 0.8, 0.01), (0.1, 0.9, 0.005)]


def prediction(discs: list[Disc], side: int, score: float = 0.9) -> Prediction:
    """Discs of a square micrograph, exactly."""
    at = np.arange(side) + 0.5
    masks = [np.hypot(at[None] - x * side, at[:, None] - y * side) <= max(r * side, 0.6) for x, y, r in discs]
    boxes = np.array([[(x - r), (y - r), (x + r), (y + r)] for x, y, r in discs], np.float32).reshape(-1, 4) * side
    return Prediction(
        boxes=boxes, labels=np.zeros(len(discs), np.int64), scores=np.full(len(discs), score, np.float32),
        masks=[rle.encode(mask) for mask in masks],
    )  # fmt: skip


def seeing(low: float, high: float, side: int, shown: list[float]) -> Callable[[float], Prediction]:
    """A model that finds discs with a diameter between these, px as shown."""

    def look(scale: float) -> Prediction:
        shown.append(round(scale * side))
        return prediction([disc for disc in WORLD if low <= 2 * disc[2] * side * scale <= high], side)

    return look


@pytest.mark.parametrize("side", [300, 800, 1600])
def test_the_same_micrograph_at_any_resolution_is_shown_the_same_way(side: int) -> None:
    """The smallest disc, 1 % of the side, is seen at 2048 px and more: where the pixels hold that, it is found."""
    shown: list[float] = []
    found = settled(looks((side, side), seeing(9, 150, side, shown)), 0.5)
    assert shown == [256, 512, 1024, 2048][: len(shown)]
    assert len(shown) == 4
    assert len(found) == len(WORLD)
    assert np.sort(sizes_px(found) / side) == pytest.approx(np.sort([r * np.sqrt(np.pi) for *_, r in WORLD]), rel=0.25)


def test_large_particles_need_no_larger_look() -> None:
    shown: list[float] = []
    looks((600, 400), lambda scale: (shown.append(scale * 600), prediction([(0.5, 0.3, 0.2)], 600))[1])
    assert shown == pytest.approx(SHOWN_PX)


def test_what_few_of_the_looks_see_is_doubtful() -> None:
    """60 px in the middle look: all three are trusted with it. Seen by one, its score is a third."""
    sure, doubtful, nothing = (prediction(discs, 512) for discs in ([WORLD[0]], [(0.5, 0.5, 0.06)], []))
    pyramid = [(0.5, nothing), (1.0, doubtful), (2.0, nothing)]
    assert settled(pyramid, 0.5).scores == pytest.approx([0.3])
    everywhere = settled([(scale, doubtful) for scale, _ in pyramid], 0.5)
    assert everywhere.scores == pytest.approx([0.9])
    assert everywhere.agreement == pytest.approx([1.0])
    # 91 px of 512: the look at 1024 shows it with 182 px and is not asked
    assert settled([(0.5, sure), (1.0, sure), (2.0, nothing)], 0.5).scores == pytest.approx([0.9])


def test_a_look_is_not_trusted_with_fragments_of_large_particles() -> None:
    """A speck found where the micrograph is shown small, and not where it is shown large, is dropped."""
    speck = prediction([(0.5, 0.5, 0.01)], 512)
    nothing = prediction([], 512)
    assert len(settled([(0.5, speck), (1.0, nothing), (2.0, nothing)], 0.5)) == 0
    assert len(settled([(0.5, nothing), (1.0, nothing), (2.0, speck)], 0.5)) == 1


def test_at_the_ends_all_sizes_count() -> None:
    huge = prediction([(0.5, 0.5, 0.45)], 512)
    nothing = prediction([], 512)
    assert settled([(0.5, huge), (1.0, nothing), (2.0, nothing)], 0.5).scores == pytest.approx([0.9])


def test_empty_micrograph_and_a_few_pixels() -> None:
    assert len(settled(looks((512, 512), lambda _: prediction([], 512)), 0.5)) == 0
    shown: list[float] = []
    found = looks((7, 9), lambda scale: (shown.append(scale), prediction([], 9))[1])
    assert shown == [scales.LARGEST_MAGNIFICATION]
    assert len(settled(found, 0.5)) == 0


def test_sizes_of_boxes_and_rotated_boxes() -> None:
    boxes = np.array([[0, 0, 4, 9]], np.float32)
    bare = {"boxes": boxes, "labels": np.zeros(1, np.int64), "scores": np.ones(1, np.float32)}
    assert sizes_px(Prediction(**bare)) == pytest.approx([6])
    turned = np.array([[2, 4, 2, 8, 30]], np.float32)
    assert sizes_px(Prediction(**bare, rotated_boxes=turned)) == pytest.approx([4])

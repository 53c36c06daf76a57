from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.annotations import FONTS, WORDS, Annotations, arrow, dashed
from tem_seg.generation.microscope.imaging import Exposure
from tem_seg.generation.microscope.overlays import text_alpha

SOME = {"size": (0.05, 0.2), "line": (0.002, 0.006), "text": (0.03, 0.06)}


def exposure(size: tuple[int, int] = (512, 512), grey: float = 200.0) -> Exposure:
    return Exposure(np.full(size, grey, np.float32), np.zeros(size, bool), 0.5)


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.5, 4.0])
def test_an_arrow_is_as_long_as_it_should_be_and_points_where_it_says(angle: float) -> None:
    mark, (x, y) = arrow(60.0, angle, 2.0)
    rows, columns = np.nonzero(mark > 0.3)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    assert np.ptp(along) == pytest.approx(60.0, abs=3.0)
    assert x * np.cos(angle) + y * np.sin(angle) == pytest.approx(along.max(), abs=2.0)
    assert mark.max() == 1.0 and mark.dtype == np.float32


def test_dashes_cover_half_of_a_line() -> None:
    corners = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 50.0]])
    whole, broken = dashed(corners, np.inf, 2.0), dashed(corners, 12.0, 2.0)
    assert broken.shape == whole.shape and broken.sum() == pytest.approx(0.5 * whole.sum(), rel=0.25), (
        "and their round ends"
    )


@pytest.mark.parametrize("seed", range(20))
def test_marks_keep_clear_of_what_is_there_and_hide_nothing(seed: int) -> None:
    seen = exposure()
    seen.occupied.append((100, 100, 400, 300))
    before = seen.pixels.copy()
    Annotations(1.0, (8, 8), **SOME)(seen, np.random.default_rng(seed))
    np.testing.assert_array_equal(seen.pixels[100:300, 100:400], before[100:300, 100:400])
    assert len(seen.occupied) > 2 and not seen.hidden.any()
    assert 0 < (seen.pixels != before).mean() < 0.05, "lines, not areas"
    for i, (x0, y0, x1, y1) in enumerate(seen.occupied):
        for left, up, right, low in seen.occupied[:i]:
            assert x1 <= left or right <= x0 or y1 <= up or low <= y0


def test_arrows_and_words_point_at_what_strikes() -> None:
    hits = 0
    for seed in range(60):
        seen = exposure()
        seen.pixels[200:312, 200:312] = 20.0
        Annotations(1.0, (1, 1), **SOME)(seen, np.random.default_rng(seed))
        hits += any(x0 < 330 and x1 > 180 and y0 < 330 and y1 > 180 for x0, y0, x1, y1 in seen.occupied)
    assert hits > 20  # by chance, 60 × (0.25 … 0.35)² = 4 to 8


@pytest.mark.parametrize("size", [(16, 16), (40, 600), (700, 30)])
def test_marks_fit_or_stay_away_at_every_size(size: tuple[int, int]) -> None:
    for seed in range(20):
        seen = exposure(size)
        Annotations(1.0, (0, 6), **SOME)(seen, np.random.default_rng(seed))
        assert seen.pixels.min() >= 0 and seen.pixels.max() <= 255
        assert all(min(x0, y0) >= 0 and x1 <= size[1] and y1 <= size[0] for x0, y0, x1, y1 in seen.occupied)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_can_be_written(word: str) -> None:
    assert all(text_alpha(word, font, 20).max() > 0.8 for font in FONTS)


def test_probability_zero_draws_nothing() -> None:
    seen = exposure()
    Annotations(0.0, (5, 5), **SOME)(seen, np.random.default_rng(0))
    assert (seen.pixels == 200).all() and not seen.occupied


def test_bad_parameters_are_named() -> None:
    with pytest.raises(UserError, match="Annotations.number must be whole numbers, got \\[1.0, 2.5\\]"):
        Annotations(1.0, (1, 2.5), **SOME)
    with pytest.raises(UserError, match="Annotations.line must lie between"):
        Annotations(1.0, (1, 2), **SOME | {"line": (0.1, 0.2)})

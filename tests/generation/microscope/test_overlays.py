from __future__ import annotations

import re

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope import overlays
from tem_seg.generation.microscope.imaging import Exposure
from tem_seg.generation.microscope.overlays import (
    InfoBar,
    PanelLetter,
    ScaleBar,
    bar_label,
    bar_length,
    blend,
    text_alpha,
)


def exposure(pixel_size_nm: float = 0.5, grey: float = 128.5, size: tuple[int, int] = (512, 512)) -> Exposure:
    return Exposure(np.full(size, grey, np.float32), np.zeros(size, bool), pixel_size_nm)


def nanometres(label: str) -> float:
    match = re.fullmatch(r"([\d.]+) ?(nm|µm)", label)
    assert match, label
    return float(match[1]) * (1000 if match[2] == "µm" else 1)


@pytest.mark.parametrize("pixel_size_nm", [0.03, 0.1, 0.37, 1.0, 4.2, 20.0])
@pytest.mark.parametrize("seed", range(4))
def test_drawn_bar_times_pixel_size_is_the_label(
    monkeypatch: pytest.MonkeyPatch, pixel_size_nm: float, seed: int
) -> None:
    said: list[str] = []

    def spy(text: str, font: str, size_px: int) -> np.ndarray:
        said.append(text)
        return np.zeros((1, 1), np.float32)  # no letters: what is painted is the bar

    monkeypatch.setattr(overlays, "text_alpha", spy)
    seen = exposure(pixel_size_nm)
    ScaleBar(1.0, (0.1, 0.3), (0.03, 0.08), 0.0)(seen, np.random.default_rng(seed))
    columns = np.flatnonzero((seen.pixels != 128.5).any(axis=0))
    length_px = columns[-1] - columns[0] + 1
    assert abs(length_px * pixel_size_nm - nanometres(said[0])) <= 0.5 * pixel_size_nm + 1e-9
    assert 0.05 < length_px / 512 < 0.5


@pytest.mark.parametrize("pixel_size_nm", [0.01, 0.5, 7.0])
def test_bar_lengths_are_round(pixel_size_nm: float) -> None:
    length_nm, length_px = bar_length(pixel_size_nm, 512, 0.2)
    assert str(length_nm).rstrip("0") in ("1", "2", "5")
    assert abs(length_px * pixel_size_nm - length_nm) <= pixel_size_nm / 2


@pytest.mark.parametrize("length_nm", overlays.LENGTHS_NM)
def test_labels_say_the_length(length_nm: int) -> None:
    for seed in range(6):
        assert nanometres(bar_label(length_nm, np.random.default_rng(seed))) == length_nm


def test_field_too_small_for_a_round_length_has_no_bar() -> None:
    seen = exposure(1e-4)
    ScaleBar(1.0, (0.1, 0.3), (0.03, 0.08), 0.0)(seen, np.random.default_rng(0))
    assert (seen.pixels == 128.5).all()


def test_only_opaque_things_hide() -> None:
    seen = exposure()
    ScaleBar(1.0, (0.1, 0.3), (0.03, 0.08), 0.0)(seen, np.random.default_rng(0))
    PanelLetter(1.0, (0.05, 0.1), 0.0)(seen, np.random.default_rng(0))
    assert not seen.hidden.any() and (seen.pixels != 128.5).any()
    ScaleBar(1.0, (0.1, 0.3), (0.03, 0.08), 1.0)(seen, np.random.default_rng(0))
    assert 0 < seen.hidden.mean() < 0.1
    before = seen.hidden.sum()
    PanelLetter(1.0, (0.05, 0.1), 1.0)(seen, np.random.default_rng(0))
    assert seen.hidden.sum() > before


def test_info_bar_hides_its_strip() -> None:
    seen = exposure()
    InfoBar(1.0, (0.0625, 0.0625))(seen, np.random.default_rng(0))
    assert seen.hidden[480:].all() and not seen.hidden[:480].any()
    assert (seen.pixels[:480] == 128.5).all() and len(np.unique(seen.pixels[480:])) > 5


@pytest.mark.parametrize("size", [(512, 512), (32, 32), (64, 300), (2048, 100)])
def test_overlays_stay_within_grey_levels_at_every_size(size: tuple[int, int]) -> None:
    for seed in range(30):
        seen, rng = exposure(1.0, 100.0, size), np.random.default_rng(seed)
        for step in (
            InfoBar(1, (0.04, 0.1)),
            ScaleBar(1, (0.1, 0.3), (0.03, 0.08), 0.5),
            PanelLetter(1, (0.04, 0.12), 0.5),
        ):
            step(seen, rng)
        assert seen.pixels.min() >= 0 and seen.pixels.max() <= 255


BARS = (
    InfoBar(0.5, (0.04, 0.1)),
    ScaleBar(1, (0.1, 0.3), (0.03, 0.08), 0.5),
    PanelLetter(1, (0.04, 0.12), 0.5),
    ScaleBar(1, (0.1, 0.5), (0.03, 0.08), 0.5),
    PanelLetter(1, (0.04, 0.12), 0.5),
)


@pytest.mark.parametrize("size", [(512, 512), (128, 96), (64, 300)])
def test_nothing_is_drawn_over_another_bar_or_letter(size: tuple[int, int]) -> None:
    drawn = []
    for seed in range(40):
        seen, rng, before = exposure(1.0, 100.0, size), np.random.default_rng(seed), 0
        for step in BARS:
            kept = [seen.pixels[max(y0, 0) : y1, max(x0, 0) : x1].copy() for x0, y0, x1, y1 in seen.occupied]
            step(seen, rng)
            for (x0, y0, x1, y1), pixels in zip(seen.occupied, kept, strict=False):
                np.testing.assert_array_equal(seen.pixels[max(y0, 0) : y1, max(x0, 0) : x1], pixels)
        outside = np.ones(size, bool)
        for x0, y0, x1, y1 in seen.occupied:
            outside[max(y0, 0) : y1, max(x0, 0) : x1] = False
            before += 1
        assert (seen.pixels[outside] == 100).all(), "ink outside of the places that were taken"
        drawn.append(before)
    assert max(drawn) >= 4 if size == (512, 512) else max(drawn) >= 2


def test_an_info_bar_that_comes_last_does_not_cover_the_scale_bar() -> None:
    seen = exposure()
    ScaleBar(1.0, (0.1, 0.3), (0.03, 0.08), 0.0)(seen, np.random.default_rng(0))
    before = seen.pixels.copy()
    InfoBar(1.0, (0.2, 0.2))(seen, np.random.default_rng(0))
    np.testing.assert_array_equal(seen.pixels, before)


@pytest.mark.parametrize("kind", list(overlays.SETTINGS))
def test_info_bars_say_their_microscopes_settings_beside_each_other(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    said: list[str] = []
    write = overlays.text_alpha
    monkeypatch.setattr(overlays, "text_alpha", lambda *a: (said.append(a[0]), write(*a))[1])
    for seed in range(5):
        InfoBar(1.0, (0.06, 0.06), kind)(exposure(size=(512, 1024)), np.random.default_rng(seed))
    assert sum(word.endswith("kV") for word in said) == 5
    assert any(word.startswith("WD") for word in said) == (kind == "sem")
    assert ("HAADF" in said) == (kind == "stem")


def test_probability_zero_draws_nothing() -> None:
    seen = exposure()
    for step in (
        InfoBar(0, (0.04, 0.1)),
        ScaleBar(0, (0.1, 0.3), (0.03, 0.08), 0.5),
        PanelLetter(0, (0.04, 0.12), 0.5),
    ):
        step(seen, np.random.default_rng(0))
    assert (seen.pixels == 128.5).all()


@pytest.mark.parametrize("font", overlays.FONTS)
def test_every_font_has_the_letters(font: str) -> None:
    assert text_alpha("50 µm (a)", font, 24).max() == 1.0
    assert not np.array_equal(text_alpha("µ", font, 40), text_alpha("\uffff", font, 40)), "a box instead of the letter"


def test_blend_is_cut_at_the_border() -> None:
    seen = exposure(size=(10, 10))
    blend(seen, np.ones((4, 4), np.float32), -2, 8, 255.0)
    assert (seen.pixels == 255).sum() == 4
    blend(seen, np.ones((4, 4), np.float32), 20, 20, 0.0)
    assert (seen.pixels == 0).sum() == 0


def test_bad_parameters_are_named() -> None:
    with pytest.raises(UserError, match="ScaleBar.probability must lie between 0 and 1, got 2"):
        ScaleBar(2, (0.1, 0.3), (0.03, 0.08), 0.5)
    with pytest.raises(UserError, match="PanelLetter.text: min 0.2 is greater than max 0.1"):
        PanelLetter(1, (0.2, 0.1), 0.5)
    with pytest.raises(UserError, match="InfoBar.height must lie between"):
        InfoBar(1, (0.04, 0.9))
    with pytest.raises(UserError, match="InfoBar.kind must be one of tem, stem, sem, got 'afm'"):
        InfoBar(1, (0.04, 0.1), "afm")

"""Burnt-in scale bars: what is drawn is read, what is not certain is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tem_seg.core.units import to_nm
from tem_seg.data.scalebar import NotRead, ScaleBar, grey_levels, read_scale_bar
from tem_seg.data.scalebar_bars import find_bars
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.microscope.overlays import InfoBar
from tem_seg.generation.microscope.overlays import ScaleBar as DrawnBar


def ground(seed: int = 0, size: tuple[int, int] = (400, 500), grey: float = 110, noise: float = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, size).astype(np.float32), (0, 0), 1.2)
    return np.clip(grey + noise * smooth / smooth.std(), 0, 255).astype(np.uint8)


def drawn(
    label: str | None, bar_px: int = 120, thick: int = 7, em: int = 24, ink: int = 255,
    picture: np.ndarray | None = None, at: tuple[int, int] = (330, 370), above: bool = True, font: str | None = None,
) -> np.ndarray:  # fmt: skip
    """A picture with a bar whose left upper corner is ``at`` (x, y) and a label over or under it."""
    image = Image.fromarray(ground() if picture is None else picture)
    pen = ImageDraw.Draw(image)
    x, y = at
    pen.rectangle((x, y, x + bar_px - 1, y + thick - 1), fill=ink)
    if label is not None:
        face = ImageFont.load_default(em) if font is None else ImageFont.truetype(font, em)
        text_y = y - em * 0.35 if above else y + thick + em * 1.05
        pen.text((x + bar_px / 2, text_y), label, fill=ink, font=face, anchor="ms")
    return np.array(image)


def read(picture: np.ndarray) -> ScaleBar:
    found = read_scale_bar(picture)
    assert isinstance(found, ScaleBar), found
    return found


# --------------------------------------------------------------------------------------------------- the law


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("label", ["1 nm", "20 nm", "50nm", "100 nm", "200 nm", "500nm", "25 nm", "2.5 nm", "0.5 nm"])
def test_what_is_drawn_is_read(label: str, ink: int) -> None:
    found = read(drawn(label, ink=ink))
    assert found.length_nm == float(label.removesuffix("nm")) and found.label.replace(" ", "") == label.replace(" ", "")
    assert found.length_px == pytest.approx(120, abs=1) and found.error_px == 1.0
    assert found.pixel_size_nm == pytest.approx(found.length_nm / 120, rel=1 / 120)
    assert found.relative_error == pytest.approx(1 / 120, rel=0.02) and 0 < found.certainty <= 1


@pytest.mark.parametrize("label", ["0.5 µm", "1 µm", "1.0 µm", "5 µm", "20 µm", "0.2 um", "2 mm"])
def test_micrometres(label: str) -> None:
    """Half a micrometre is not five, and 1.0 is not 10."""
    ttf = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # Pillow's font has no µ
    found = read(drawn(label, font=str(ttf)))
    number, unit = label.split(" ")
    assert found.length_nm == to_nm(float(number), unit)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("at", [(20, 40), (350, 40), (20, 350), (350, 350)])
def test_in_every_corner(at: tuple[int, int], above: bool) -> None:
    assert read(drawn("100 nm", at=at, above=above)).label == "100 nm"


@pytest.mark.parametrize("turn", ["brighter", "16 bit", "float"])
def test_levels_do_not_matter(turn: str) -> None:
    picture = drawn("100 nm").astype(np.float32)
    changed = {"brighter": picture * 0.5 + 100, "16 bit": np.rint(picture * 200 + 3000), "float": picture / 255 - 7}
    assert read(changed[turn]).length_px == pytest.approx(120, abs=1)


@pytest.mark.parametrize("factor", [2, 3])
def test_larger_pictures_have_longer_bars(factor: int) -> None:
    picture = cv2.resize(drawn("100 nm"), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    assert read(picture).length_px == pytest.approx(120 * factor, abs=1)


@pytest.mark.parametrize("blur", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("quality", [60, 90])
def test_blurred_and_compressed_bars_keep_their_length(blur: float, quality: int) -> None:
    picture = drawn("100 nm", em=28)
    picture = cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture
    picture = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)
    assert read(picture).length_px == pytest.approx(120, abs=1)


def test_end_ticks_are_measured_from_middle_to_middle() -> None:
    picture = np.full((400, 500), 255, np.uint8)
    picture[:330] = ground()[:330]
    picture = drawn("10 nm", 121, 1, 20, 0, picture, (60, 372), True)
    picture[362:383, [60, 180]] = 0
    assert read(picture).length_px == pytest.approx(120, abs=1)


def _exposure(seed: int) -> tuple[Exposure, np.random.Generator]:
    rng = np.random.default_rng(seed)
    pixels = ground(seed, (512, 640), rng.uniform(50, 200), rng.uniform(3, 20)).astype(np.float32)
    for _ in range(int(rng.integers(0, 15))):
        centre = (int(rng.integers(0, 640)), int(rng.integers(0, 512)))
        cv2.circle(pixels, centre, int(rng.integers(5, 40)), float(rng.uniform(10, 245)), -1, cv2.LINE_AA)
    return Exposure(pixels, np.zeros(pixels.shape, bool), float(np.exp(rng.uniform(-2, 4)))), rng


@pytest.mark.parametrize("step", [DrawnBar(1.0, (0.12, 0.3), (0.04, 0.07), 0.4), InfoBar(1.0, (0.06, 0.12), "sem")])
def test_the_generators_bars_are_read_or_refused(step: DrawnBar | InfoBar) -> None:
    """Five fonts, any ground, boxes and strips, particles behind: no false claim, and most are claimed."""
    claimed = 0
    for seed in range(24):
        exposure, rng = _exposure(seed)
        step(exposure, rng)
        found = read_scale_bar(exposure.pixels)
        if isinstance(found, ScaleBar):
            claimed += 1
            assert exposure.pixel_size_nm is not None
            assert found.pixel_size_nm == pytest.approx(
                exposure.pixel_size_nm, rel=(0.5 + found.error_px) / found.length_px
            ), seed
    assert claimed >= 14


# --------------------------------------------------------------------------------------------------- refusals


def test_a_picture_without_a_bar() -> None:
    assert read_scale_bar(ground()) == NotRead("no bar was found")
    assert read_scale_bar(np.zeros((3, 4), np.float32)) == NotRead("no bar was found")


def test_a_bar_without_a_label() -> None:
    assert read_scale_bar(drawn(None)) == NotRead("no bar with a legible label was found")


@pytest.mark.parametrize("label", ["nm", "200", "200 kV", "abc nm", "200 px", "007 nm", "1/nm", "x200"])
def test_text_that_is_no_length(label: str) -> None:
    assert isinstance(read_scale_bar(drawn(label)), NotRead)


def test_a_label_too_small_to_be_read() -> None:
    assert isinstance(read_scale_bar(drawn("200 nm", em=7)), NotRead)


def test_a_label_of_which_a_digit_is_covered() -> None:
    """200 nm whose 2 lies under a particle must not become 00 or 0 nm, nor 250 nm 50 nm."""
    picture = drawn("250 nm", em=30)
    left = int(np.flatnonzero((picture[335:362] > 250).any(axis=0))[0])
    cv2.circle(picture, (left + 6, 350), 14, 255, -1)
    assert isinstance(read_scale_bar(picture), NotRead)


def test_a_bar_that_is_cut_by_the_border() -> None:
    picture = drawn("200 nm", at=(330, 370))[:, :440]
    shifted = drawn("200 nm", bar_px=110, at=(330, 370))[:, :440]
    for cut in (picture, shifted):
        found = read_scale_bar(cut)
        assert isinstance(found, NotRead)


def test_a_bar_that_its_label_splits() -> None:
    """|—— 200 nm ——| is as long as all of it."""
    picture = drawn("200 nm", bar_px=1, thick=1, at=(250, 370))
    picture[358:361, 70:200] = 255
    assert read(picture).length_px == pytest.approx(130, abs=1)  # a bar before its label
    picture[358:361, 302:432] = 255
    assert isinstance(read_scale_bar(picture), NotRead)


def test_two_bars_that_contradict_each_other() -> None:
    twice = drawn("200 nm", picture=drawn("200 nm", at=(30, 370)), bar_px=60)
    found = read_scale_bar(twice)
    assert isinstance(found, NotRead) and "two readings contradict each other: 200 nm = " in found.reason


def test_two_bars_that_agree() -> None:
    twice = drawn("200 nm", picture=drawn("100 nm", at=(30, 370), bar_px=60))
    assert read(twice).pixel_size_nm == pytest.approx(200 / 120, rel=0.03)


# ------------------------------------------------------------------------------------------------- its parts


def test_grey_levels() -> None:
    levels = np.arange(256, dtype=np.float32).reshape(16, 16)
    assert (grey_levels(levels) == levels).all()
    assert grey_levels(levels * 250 + 17).max() == 255 and grey_levels(levels / 1000 - 4).min() == 0
    assert (grey_levels(np.full((4, 5), 1e9)) == 0).all()


def test_every_bar_is_found_once_and_measured() -> None:
    picture = ground()
    picture[360:366, 50:150] = 255
    picture[40:43, 300:420] = 0
    found = find_bars(picture)
    assert [(bar.box, bar.bright) for bar in sorted(found, key=lambda bar: bar.box)] == [
        ((50, 360, 150, 366), True), ((300, 40, 420, 43), False)
    ]  # fmt: skip
    assert sorted(bar.length_px for bar in found) == [pytest.approx(100, abs=0.6), pytest.approx(120, abs=0.6)]

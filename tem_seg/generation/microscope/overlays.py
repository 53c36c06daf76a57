"""Burnt-in scale bars, panel letters and info bars: what real pictures carry and is no particle.

Opaque ones (info bars, boxes behind text) hide what is under them; that is noted in ``Exposure.hidden``. None is drawn
over another (``Exposure.occupied``): where no corner is free, a picture does without. Sizes are shares of the image's
height, so that they look alike at every image size.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.ranges import SHARE, Range, check, log_uniform, uniform

FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "STIXGeneral.ttf", "STIXGeneralBol.ttf", "DejaVuSansMono.ttf")
LENGTHS_NM = tuple(step * 10**power for power in range(5) for step in (1, 2, 5))
BLACK, WHITE = 0.0, 255.0
MADE_UP_NM: Range = (0.05, 10.0)


@lru_cache(maxsize=256)
def _font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("matplotlib, whose fonts the overlays use, is not installed: run make setup")
    return ImageFont.truetype(str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name), size_px)


def text_alpha(text: str, font: str, size_px: int) -> NDArray[np.float32]:
    """The text's coverage (h, w) float32 in [0, 1], cut to its ink; size_px is the font's em height."""
    mask = _font(font, size_px).getmask(text, mode="L")
    return np.asarray(mask, np.uint8).reshape(mask.size[1], mask.size[0]).astype(np.float32) / 255.0


def blend(exposure: Exposure, alpha: NDArray[np.float32], x0: int, y0: int, grey: float) -> None:
    """Paints grey (0-255) with coverage alpha (h, w) from pixel (x0, y0) on; cut at the border, whole grey levels."""
    height, width = exposure.pixels.shape
    top, left = max(0, -y0), max(0, -x0)
    alpha = alpha[top : max(top, height - y0), left : max(left, width - x0)]
    rows = slice(y0 + top, y0 + top + alpha.shape[0])
    columns = slice(x0 + left, x0 + left + alpha.shape[1])
    under = exposure.pixels[rows, columns]
    exposure.pixels[rows, columns] = np.rint(under + (np.float32(grey) - under) * alpha)


def paint(exposure: Exposure, x0: int, y0: int, width: int, height: int, grey: float) -> None:
    """An opaque rectangle that hides what is under it."""
    rows, columns = slice(max(y0, 0), max(y0 + height, 0)), slice(max(x0, 0), max(x0 + width, 0))
    exposure.pixels[rows, columns] = grey
    exposure.hidden[rows, columns] = True


def take_place(
    exposure: Exposure, corners: Iterable[tuple[int, int]], width: int, height: int, margin: int = 0
) -> tuple[int, int] | None:
    """First of the top-left corners (x0, y0) at which a block with a margin around it is free, now taken; or None."""
    for x0, y0 in corners:
        box = (x0 - margin, y0 - margin, x0 + width + margin, y0 + height + margin)
        if exposure.is_free(box):
            exposure.occupied.append(box)
            return x0, y0
    return None


def _corners(exposure: Exposure, edge: int, width: int, height: int, low: bool, left: bool) -> list[tuple[int, int]]:
    """Top-left corners of a block ``edge`` px from the borders (above an info bar), the wanted one first."""
    bottom = min([exposure.size[0], *(y0 for x0, y0, x1, _ in exposure.occupied if x1 - x0 >= exposure.size[1])])
    rows, columns = [edge, bottom - edge - height], [exposure.size[1] - edge - width, edge]
    if low:
        rows.reverse()
    if left:
        columns.reverse()
    return [(x0, y0) for y0 in rows for x0 in columns]


def bar_length(pixel_size_nm: float, width_px: int, share: float) -> tuple[int, int]:
    """(nm, px) of the round length (1, 2, 5 × 10ⁿ nm) nearest to ``share`` of the image's width, by factor."""
    wanted = share * width_px * pixel_size_nm
    length_nm = min(LENGTHS_NM, key=lambda length: abs(np.log(length / wanted)))
    return length_nm, round(length_nm / pixel_size_nm)


def bar_label(length_nm: int, rng: np.random.Generator) -> str:
    """ "50 nm", "50nm", "0.5 µm", …"""
    space = " " if rng.random() < 0.8 else ""
    if length_nm >= 1000 or (length_nm >= 200 and rng.random() < 0.5):
        return f"{length_nm / 1000:g}{space}µm"
    return f"{length_nm}{space}nm"


def _contrasting(exposure: Exposure, x0: int, y0: int, width: int, height: int, rng: np.random.Generator) -> float:
    """White on dark, black on bright; now and then the other, as in print."""
    patch = exposure.pixels[max(y0, 0) : y0 + height, max(x0, 0) : x0 + width]
    bright = patch.size == 0 or patch.mean() > 128
    return BLACK if bright == (rng.random() < 0.8) else WHITE


@dataclass(frozen=True)
class ScaleBar:
    """A bar whose label is its length: label = length in px × pixel size, to half a pixel.

    Pictures without calibration get one of a made-up pixel size: it is there to be told from particles, not to be read.
    """

    probability: float
    length: Range
    """Of the bar, over the image's width."""
    text: Range
    """Height of the letters' em, over the image's height."""
    boxed: float
    """Share 0-1 of the bars that stand on an opaque box."""

    def __post_init__(self) -> None:
        check(self, {"length": (0.02, 0.9), "text": (0.005, 0.3)}, {"probability": SHARE, "boxed": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        height, width = exposure.pixels.shape
        pixel_size_nm = log_uniform(rng, MADE_UP_NM) if exposure.pixel_size_nm is None else exposure.pixel_size_nm
        length_nm, bar_px = bar_length(pixel_size_nm, width, uniform(rng, self.length))
        if not 2 <= bar_px <= 0.95 * width:
            return  # no round length fits this field: such pictures carry no bar
        em = max(6, round(uniform(rng, self.text) * height))
        label = text_alpha(bar_label(length_nm, rng), FONTS[int(rng.integers(len(FONTS)))], em)
        self._draw(exposure, label, bar_px, max(2, round(em * rng.uniform(0.12, 0.4))), rng)

    def _draw(
        self, exposure: Exposure, label: NDArray[np.float32], bar_px: int, thick: int, rng: np.random.Generator
    ) -> None:
        gap = max(2, label.shape[0] // 3)
        block_w, block_h = max(bar_px, label.shape[1]), label.shape[0] + gap + thick
        edge = round(exposure.size[0] * rng.uniform(0.01, 0.05)) + gap
        left, low = rng.random() < 0.5, rng.random() < 0.9
        corners = _corners(exposure, edge, block_w, block_h, low, left)
        place = take_place(exposure, corners, block_w, block_h, max(gap, thick))
        if place is None:
            return
        x0, y0 = place
        if rng.random() < self.boxed:
            grey = WHITE if rng.random() < 0.6 else BLACK
            paint(exposure, x0 - gap, y0 - gap, block_w + 2 * gap, block_h + 2 * gap, grey)
            ink = WHITE - grey
        else:
            ink = _contrasting(exposure, x0, y0, block_w, block_h, rng)
        bar_y, text_y = (y0, y0 + thick + gap) if rng.random() < 0.4 else (y0 + block_h - thick, y0)
        bar_x = x0 + (block_w - bar_px) // 2
        blend(exposure, np.ones((thick, bar_px), np.float32), bar_x, bar_y, ink)
        if rng.random() < 0.2:  # end ticks
            for x in (bar_x, bar_x + bar_px - 2):
                blend(exposure, np.ones((3 * thick, 2), np.float32), x, bar_y - thick, ink)
        blend(exposure, label, x0 + (block_w - label.shape[1]) // 2, text_y, ink)


@dataclass(frozen=True)
class PanelLetter:
    """ "(a)", "B" … in an upper corner, some on an opaque box."""

    probability: float
    text: Range
    """Height of the letter's em, over the image's height."""
    boxed: float
    """Share 0-1 of the letters that stand on an opaque box."""

    def __post_init__(self) -> None:
        check(self, {"text": (0.005, 0.3)}, {"probability": SHARE, "boxed": SHARE})

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        height = exposure.size[0]
        letter = "abcdefgh"[int(rng.integers(8))]
        letter = letter.upper() if rng.random() < 0.4 else letter
        text = ("{}", "({})", "{})")[int(rng.choice(3, p=[0.45, 0.45, 0.1]))].format(letter)
        em = max(6, round(uniform(rng, self.text) * height))
        alpha = text_alpha(text, FONTS[int(rng.integers(len(FONTS)))], em)
        edge = round(height * rng.uniform(0.0, 0.04)) + em // 5
        left, pad = rng.random() < 0.85, em // 5
        corners = _corners(exposure, edge, alpha.shape[1], alpha.shape[0], False, left)
        place = take_place(exposure, corners, alpha.shape[1], alpha.shape[0], pad)
        if place is None:
            return
        x0, y0 = place
        ink = _contrasting(exposure, x0, y0, alpha.shape[1], alpha.shape[0], rng)
        if rng.random() < self.boxed:
            paint(exposure, x0 - pad, y0 - pad, alpha.shape[1] + 2 * pad, alpha.shape[0] + 2 * pad, WHITE - ink)
        blend(exposure, alpha, x0, y0, ink)


@dataclass(frozen=True)
class InfoBar:
    """The microscope's strip along the bottom, with its settings and a scale bar; hides what is under it."""

    probability: float
    height: Range
    """Of the strip, over the image's height."""
    kind: str = "tem"
    """Whose settings it tells: tem, stem or sem."""

    def __post_init__(self) -> None:
        check(self, {"height": (0.01, 0.5)}, {"probability": SHARE})
        if self.kind not in SETTINGS:
            raise UserError(f"InfoBar.kind must be one of {', '.join(SETTINGS)}, got {self.kind!r}")

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if exposure.pixel_size_nm is None or rng.random() >= self.probability:
            return
        height, width = exposure.size
        strip = max(10, round(uniform(rng, self.height) * height))
        if take_place(exposure, [(0, height - strip)], width, strip) is None:
            return
        paper = float(rng.choice([BLACK, WHITE, int(rng.integers(40, 200))]))
        ink = BLACK if paper > 128 else WHITE
        paint(exposure, 0, height - strip, width, strip, paper)
        font, em = FONTS[int(rng.integers(2))], max(6, round(strip * rng.uniform(0.4, 0.65)))
        gap, middle = max(em, round(0.02 * width)), height - strip // 2
        length_nm, bar_px = bar_length(exposure.pixel_size_nm, width, 0.15)
        right, thick = width - gap - bar_px, max(2, strip // 8)
        blend(exposure, np.ones((thick, bar_px), np.float32), right, middle - thick // 2, ink)
        words = [bar_label(length_nm, rng), *SETTINGS[self.kind](rng)]
        blocks = [text_alpha(word, font, em) for word in words]
        blend(exposure, blocks[0], right - gap - blocks[0].shape[1], middle - blocks[0].shape[0] // 2, ink)
        x0, end = gap, right - 2 * gap - blocks[0].shape[1]
        for block in blocks[1:]:
            if x0 + block.shape[1] <= end:
                blend(exposure, block, x0, middle - block.shape[0] // 2, ink)
                x0 += block.shape[1] + gap


def _tem(rng: np.random.Generator) -> list[str]:
    kilovolts = (80, 100, 120, 200, 300)[int(rng.integers(5))]
    return [f"{kilovolts} kV", f"x{int(rng.integers(10, 400))}k"]


def _stem(rng: np.random.Generator) -> list[str]:
    kilovolts = (60, 80, 200, 300)[int(rng.integers(4))]
    return [f"{kilovolts} kV", f"{rng.uniform(0.1, 5):.2f} Mx", "HAADF", f"CL {int(rng.integers(60, 330))} mm"]


def _sem(rng: np.random.Generator) -> list[str]:
    detector = ("InLens", "SE2", "ETD", "TLD", "LEI")[int(rng.integers(5))]
    settings = [f"{rng.choice([1, 2, 3, 5, 10, 15, 20]):.2f} kV", f"WD {rng.uniform(2, 12):.1f} mm"]
    return [*settings, f"{rng.uniform(5, 300):.2f} kx", detector]


SETTINGS = {"tem": _tem, "stem": _stem, "sem": _sem}

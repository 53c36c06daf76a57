"""A contact sheet: a dozen annotated micrographs side by side, each with its scale, to see what a dataset is like."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tem_seg.core.types import Rle
from tem_seg.data.atomic import replacing
from tem_seg.reporting.figures import Colour, outlined
from tem_seg.reporting.letters import font
from tem_seg.reporting.views import scale_bar

COUNT = 12
"""Micrographs on a sheet."""
COLUMNS = 4
CELL_PX = 640
"""Side of the square that a micrograph is fitted into; four of them fill a wide screen at full size."""
GAP_PX, CAPTION_PX, FONT_PX = 16, 34, 20
PAPER, INK, FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)
# Okabe & Ito (2008) without black, which dark particles would hide; brighter, on grey. The first is the annotation
# colour of the report.
COLOURS: tuple[Colour, ...] = (
    (240, 214, 40), (44, 160, 235), (245, 110, 40), (20, 190, 140), (230, 130, 190), (130, 210, 250), (200, 80, 30),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """One annotated micrograph: pixels (H, W) float32 in [0, 1]; N masks of its frame, and their N labels (0 … C-1)."""

    name: str
    pixels: NDArray[np.float32]
    segmentations: Sequence[Rle]
    labels: Sequence[int]
    pixel_size_nm: float | None

    def __post_init__(self) -> None:
        if len(self.segmentations) != len(self.labels):
            raise ValueError(f"{self.name}: {len(self.segmentations)} masks, but {len(self.labels)} labels")


def colours(count: int) -> list[Colour]:
    """A colour for each of ``count`` classes: seven that colour-blind readers tell apart, then hues by golden angle."""
    hues = [k * 0.618034 % 1.0 for k in range(max(0, count - len(COLOURS)))]
    more = [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, 0.95)) for hue in hues]
    return [*COLOURS[:count], *((red, green, blue) for red, green, blue in more)]


def contact_sheet(shown: Sequence[Shown], categories: Sequence[str]) -> NDArray[np.uint8]:
    """Micrographs in rows of four, outlines in their class's colour, scale and number below, legend → (h, w, 3) RGB.

    Each is fitted into a square of 640 px, whatever its size. Raises ValueError for no micrograph.
    """
    if not shown:
        raise ValueError("a contact sheet needs at least one micrograph")
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    height = rows * (CELL_PX + CAPTION_PX + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (columns * (CELL_PX + GAP_PX) + GAP_PX, height), PAPER)
    chosen = colours(len(categories))
    for place, one in enumerate(shown):
        row, column = divmod(place, columns)
        x, y = GAP_PX + column * (CELL_PX + GAP_PX), GAP_PX + row * (CELL_PX + CAPTION_PX + GAP_PX)
        _put(sheet, one, chosen, x, y)
    legend = _legend(shown, categories, chosen, sheet.width)
    whole = Image.new("RGB", (sheet.width, sheet.height + legend.height), PAPER)
    whole.paste(sheet, (0, 0))
    whole.paste(legend, (0, sheet.height))
    return np.asarray(whole, np.uint8)


def write(path: Path, shown: Sequence[Shown], categories: Sequence[str]) -> None:
    """Writes :func:`contact_sheet` as a PNG, whole or not at all."""
    encoded = cv2.imencode(".png", cv2.cvtColor(contact_sheet(shown, categories), cv2.COLOR_RGB2BGR))[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _put(sheet: Image.Image, one: Shown, chosen: list[Colour], x: int, y: int) -> None:
    """Micrograph and caption into the cell whose top-left corner is (x, y)."""
    scale = CELL_PX / max(one.pixels.shape)
    picture = Image.fromarray(outlined(one.pixels, one.segmentations, [chosen[k] for k in one.labels], scale))
    sheet.paste(picture, (x + (CELL_PX - picture.width) // 2, y + (CELL_PX - picture.height) // 2))
    draw = ImageDraw.Draw(sheet)
    height, width = one.pixels.shape
    facts = f"{one.name} · {width} × {height} px · {len(one.labels):,} annotated"
    middle = y + CELL_PX + CAPTION_PX // 2
    bar = scale_bar(width, one.pixel_size_nm)
    label = bar.label if bar else "no scale known"
    start = x + CELL_PX - int(draw.textlength(label, font(FONT_PX)))
    draw.text((start, middle), label, INK if bar else FAINT, font(FONT_PX), anchor="lm")
    if bar:
        start -= 8 + round(bar.width_px * scale)
        draw.rectangle((start, middle - 3, start + round(bar.width_px * scale) - 1, middle + 2), INK)
    draw.text((x, middle), _shortened(draw, facts, start - x - 16), INK, font(FONT_PX), anchor="lm")


def _legend(shown: Sequence[Shown], categories: Sequence[str], chosen: list[Colour], width: int) -> Image.Image:
    """One entry a class, with the number of its particles on the sheet; as many lines as they need."""
    counts = Counter(label for one in shown for label in one.labels)
    line = FONT_PX + 14
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    entries = [f"{name} ({counts[label]:,})" for label, name in enumerate(categories)]
    places, x, y = [], GAP_PX, 0
    for text in entries:
        needed = FONT_PX + 8 + int(probe.textlength(text, font(FONT_PX))) + 24
        if x > GAP_PX and x + needed > width:
            x, y = GAP_PX, y + line
        places.append((x, y))
        x += needed
    legend = Image.new("RGB", (width, y + line + GAP_PX // 2), PAPER)
    draw = ImageDraw.Draw(legend)
    for text, colour, (x, y) in zip(entries, chosen, places, strict=True):
        draw.rectangle((x, y + line // 2 - 8, x + FONT_PX - 1, y + line // 2 + 8), colour, FAINT)
        draw.text((x + FONT_PX + 8, y + line // 2), text, INK, font(FONT_PX), anchor="lm")
    return legend


def _shortened(draw: ImageDraw.ImageDraw, text: str, width_px: int) -> str:
    """The text, its beginning left out where it does not fit: names differ at their ends."""
    if draw.textlength(text, font(FONT_PX)) <= width_px:
        return text
    while text and draw.textlength("…" + text, font(FONT_PX)) > width_px:
        text = text[1:]
    return "…" + text

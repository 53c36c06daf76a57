"""Single particles side by side, in rows of what they have in common, as PNG and as SVG with its text as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tem_seg.reporting.figures import colour_uri
from tem_seg.reporting.letters import font

Groups = Mapping[str, Sequence[tuple[str, NDArray[np.uint8]]]]
"""By a row's name: (caption, crop (h, w, 3) uint8 RGB, all of one size)."""
COLUMNS = 8
GAP_PX, LETTER_PX, CAPTION_PX = 10, 13, 22
PAPER, INK = (255, 255, 255), (17, 18, 19)


def picture(groups: Groups) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB."""
    canvas = Image.new("RGB", _size(groups), PAPER)
    draw = ImageDraw.Draw(canvas)
    for x, y, text, crop in _laid_out(groups):
        if crop is not None:
            canvas.paste(Image.fromarray(crop), (x, y))
        else:
            draw.text((x, y + CAPTION_PX // 2), text, INK, font(LETTER_PX), anchor="lm")
    return np.asarray(canvas, np.uint8)


def svg(groups: Groups) -> str:
    """The same."""
    width, height = _size(groups)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="{LETTER_PX}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for x, y, text, crop in _laid_out(groups):
        if crop is not None:
            place = f'x="{x}" y="{y}" width="{crop.shape[1]}" height="{crop.shape[0]}"'
            parts.append(f'<image href="{colour_uri(crop)}" {place}/>')
        else:
            parts.append(f'<text x="{x}" y="{y + CAPTION_PX // 2}" dominant-baseline="central">{escape(text)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _laid_out(groups: Groups) -> Iterator[tuple[int, int, str, NDArray[np.uint8] | None]]:
    """Left top corners of names, captions and crops, row by row."""
    y = GAP_PX
    for name, crops in groups.items():
        yield GAP_PX, y, name, None
        y += CAPTION_PX
        for first in range(0, len(crops), COLUMNS):
            for column, (caption, crop) in enumerate(crops[first : first + COLUMNS]):
                x = GAP_PX + column * (_side(groups) + GAP_PX)
                yield x, y, "", crop
                yield x, y + _side(groups), caption, None
            y += _side(groups) + CAPTION_PX
        y += GAP_PX


def _side(groups: Groups) -> int:
    return max((crop.shape[1] for crops in groups.values() for _, crop in crops), default=0)


def _size(groups: Groups) -> tuple[int, int]:
    """Width and height, px."""
    rows = [-(-len(crops) // COLUMNS) for crops in groups.values()]
    height = GAP_PX + sum(CAPTION_PX + GAP_PX + count * (_side(groups) + CAPTION_PX) for count in rows)
    return GAP_PX + COLUMNS * (_side(groups) + GAP_PX), height

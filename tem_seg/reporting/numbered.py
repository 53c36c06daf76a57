"""A micrograph with its particles outlined and numbered, a legend and a scale bar below it, as PNG and SVG; crops."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tem_seg.data.atomic import replacing, write_text
from tem_seg.data.images import normalise
from tem_seg.reporting.figures import Colour, jpeg_uri, png, svg_path, traced
from tem_seg.reporting.labels import Place
from tem_seg.reporting.letters import font
from tem_seg.reporting.numbered_plan import VIEW_PX, Paths, Plan, Row, paths_of, planned
from tem_seg.reporting.particle_colours import FLAGS, Entry

STEP_PX = 0.1
STRIP, INK = (24, 26, 29), (235, 235, 235)


def write(
    folder: Path, stem: str, pixels: NDArray[np.float32], rows: Sequence[Row], table: pd.DataFrame, *,
    meaning: str = "flag",
) -> None:  # fmt: skip
    """pixels (H, W) as read; rows: its predictions; table: its measured particles, with why they are ``left_out``.

    meaning: what colours say (particle_colours.py).
    """
    shown = normalise(pixels)
    plan = planned(shown.shape, rows, table, meaning)
    with replacing(folder / f"{stem}.png", synced=False) as temporary:
        temporary.write_bytes(png(drawn(shown, plan)))
    # the SVG last: a micrograph whose SVG is there has all its files
    write_text(folder / f"{stem}.svg", svg(shown, plan), synced=False)


# ------------------------------------------------------------------------------------------------------ PNG


def drawn(shown: NDArray[np.float32], plan: Plan) -> NDArray[np.uint8]:
    """shown (H, W) in [0, 1] → (h, w, 3) uint8 RGB, the legend below."""
    picture = traced(shown, plan.paths, plan.colours.of, plan.scale, 1 + (plan.letter_px > 16))
    legend, strip = plan.legend()
    canvas = Image.new("RGB", (plan.size[1], plan.size[0] + strip), STRIP)
    canvas.paste(Image.fromarray(picture))
    draw = ImageDraw.Draw(canvas)
    for text, place in zip(plan.texts, plan.at, strict=True):
        if place is not None:
            draw.text(place, text, (255, 255, 255), font(plan.letter_px), stroke_width=2, stroke_fill=(0, 0, 0))
    letters, side = font(plan.legend_px), plan.letter_px
    for entry, x, y in legend:
        for place_x, wide, colour in _swatches(plan, entry, x):
            draw.rectangle((place_x, y - side / 2, place_x + wide, y + side / 2), colour)
        draw.text((x + plan.swatch_px(entry), y), entry.text, INK, letters, anchor="lm")
    if plan.bar is not None:
        x0, y0, x1, y1 = _bar(plan)
        draw.rectangle((x0, y0, x1, y1), INK)
        draw.text((x0 - side / 2, (y0 + y1) / 2), plan.bar.label, INK, letters, anchor="rm")
    return np.asarray(canvas, np.uint8)


def _swatches(plan: Plan, entry: Entry, x: float) -> list[tuple[float, float, Colour]]:
    """Left end, width and colour of each."""
    wide = (plan.swatch_px(entry) - plan.letter_px / 2) / max(1, len(entry.colours))
    return [(x + wide * k, wide, colour) for k, colour in enumerate(entry.colours)]


def _bar(plan: Plan) -> tuple[float, float, float, float]:
    """The scale bar's rectangle, in the first line of the legend: it covers nothing of the micrograph."""
    assert plan.bar is not None
    x1, middle = plan.size[1] - plan.letter_px, plan.size[0] + plan.line_px / 2
    return x1 - plan.bar.width_px, middle - plan.letter_px / 6, x1, middle + plan.letter_px / 6


# ------------------------------------------------------------------------------------------------------ SVG


def svg(shown: NDArray[np.float32], plan: Plan) -> str:
    """The same with outlines as vectors, and sizes to be read by pointing at one."""
    (height, width), (legend, strip) = plan.size, plan.legend()
    particles = zip(plan.paths, plan.colours.of, plan.texts, plan.titles, plan.at, strict=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + strip}" '
        'font-family="DejaVu Sans, Verdana, sans-serif">',
        f'<rect width="{width}" height="{height + strip}" fill="{_css(STRIP)}"/>',
        f'<image href="{jpeg_uri(shown, VIEW_PX[1])}" width="{width}" height="{height}"/>',
        *(_particle(plan, *one) for one in particles),
        *(_entry(plan, *one) for one in legend),
        *(_bar_svg(plan) if plan.bar is not None else ()),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _particle(plan: Plan, paths: Paths, colour: Colour, text: str, title: str, at: Place | None) -> str:
    outline = (
        f'<path d="{svg_path(paths, STEP_PX)}" transform="scale({STEP_PX * plan.scale:.6g})" fill="transparent" '
        f'stroke="{_css(colour)}" stroke-width="1.3" vector-effect="non-scaling-stroke"/>'
    )
    number = ""
    if at is not None:
        number = (
            f'<text x="{at[0]:.1f}" y="{at[1] + plan.letter_px:.1f}" font-size="{plan.letter_px}" '
            f'fill="#fff" stroke="#000" stroke-width="3" paint-order="stroke">{text}</text>'
        )
    return f"<g><title>{escape(title)}</title>{outline}{number}</g>"


def _entry(plan: Plan, entry: Entry, x: float, y: float) -> str:
    side = plan.letter_px
    swatches = "".join(
        f'<rect x="{left:.1f}" y="{y - side / 2:.1f}" width="{wide:.2f}" height="{side}" fill="{_css(colour)}"/>'
        for left, wide, colour in _swatches(plan, entry, x)
    )
    return swatches + _text(plan, x + plan.swatch_px(entry), y, entry.text, "start")


def _bar_svg(plan: Plan) -> tuple[str, str]:
    assert plan.bar is not None
    x0, y0, x1, y1 = _bar(plan)
    drawn = f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.2f}" height="{y1 - y0:.1f}" fill="{_css(INK)}"/>'
    return drawn, _text(plan, x0 - plan.letter_px / 2, (y0 + y1) / 2, plan.bar.label, "end")


def _text(plan: Plan, x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{plan.legend_px}" fill="{_css(INK)}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{escape(text)}</text>'
    )


def _css(colour: Colour) -> str:
    return "#" + bytes(colour).hex()


# ---------------------------------------------------------------------------------------------------- crops


def crop(shown: NDArray[np.float32], row: Row, outline: object, side_px: int = 160) -> NDArray[np.uint8]:
    """A particle with the outline it was measured on, half its size around: (side_px, side_px, 3) uint8 RGB."""
    x, y, w, h = row["bbox"]
    size = int(2 * max(8.0, 0.75 * max(w, h)))
    x0, y0 = int(x + (w - size) / 2), int(y + (h - size) / 2)
    padded = np.zeros((size, size), np.float32)
    top, left = max(0, y0), max(0, x0)
    part = shown[top : max(top, y0 + size), left : max(left, x0 + size)]
    padded[top - y0 : top - y0 + part.shape[0], left - x0 : left - x0 + part.shape[1]] = part
    paths = [path - [x0, y0] for path in paths_of(row, outline)]
    enlarged = np.asarray(cv2.resize(padded, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.float32)
    return traced(enlarged, [[path * (side_px / size) for path in paths]], [FLAGS[""][1]], 1.0)

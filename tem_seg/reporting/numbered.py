"""A micrograph with its particles outlined and numbered, as PNG and SVG; crops of single particles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.data.atomic import replacing, write_text
from tem_seg.data.images import normalise
from tem_seg.reporting.figures import MAX_VIEW_PX, MIN_VIEW_PX, outlines, overlay, svg_path, webp_uri
from tem_seg.reporting.views import scale_bar

COUNTED, LEFT_OUT = (44, 160, 235), (245, 110, 40)
"""Blue: counts. Orange: was measured and does not count (cut by the border, too small)."""
STEP_PX = 0.1
Row = Mapping[str, Any]


def write(
    folder: Path, stem: str, pixels: NDArray[np.float32], rows: Sequence[Row], table: pd.DataFrame, counted: set[int]
) -> None:
    """pixels (H, W) as read; rows: its predictions; table: its measured particles; counted: their numbers that
    count."""
    shown = normalise(pixels)
    picture = drawn(shown, rows, table, counted)
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    with replacing(folder / f"{stem}.png", synced=False) as temporary:
        encoded.tofile(temporary)
    # the SVG last: a micrograph whose SVG is there has all its files
    write_text(folder / f"{stem}.svg", svg(shown, rows, table, counted), synced=False)


def drawn(shown: NDArray[np.float32], rows: Sequence[Row], table: pd.DataFrame, counted: set[int]) -> NDArray[np.uint8]:
    """shown (H, W) in [0, 1] → (h, w, 3) uint8 RGB, each particle with its number."""
    numbers = [int(number) for number in table["particle"] if "segmentation" in rows[int(number) - 1]]
    colours = [COUNTED if number in counted else LEFT_OUT for number in numbers]
    canvas = overlay(shown, [rows[number - 1]["segmentation"] for number in numbers], colours)
    scale = min(max(max(shown.shape), MIN_VIEW_PX), MAX_VIEW_PX) / max(shown.shape)
    for number, colour, (x, y) in zip(numbers, colours, (_corner(rows[number - 1]) for number in numbers), strict=True):
        place = (round(x * scale), round(y * scale) + 4)
        cv2.putText(canvas, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(canvas, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, 1, cv2.LINE_AA)
    return canvas


def _corner(row: Row) -> tuple[float, float]:
    """Where a particle's number stands: at the top right of its box, so that small ones stay to be seen."""
    x, y, w, _ = row["bbox"]
    return x + w, y


def svg(shown: NDArray[np.float32], rows: Sequence[Row], table: pd.DataFrame, counted: set[int]) -> str:
    """The same as vectors over the picture, with sizes to be read by pointing at an outline."""
    height, width = shown.shape
    size_nm = table["pixel_size_nm"].iloc[0] if len(table) else None
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<image href="{webp_uri(shown, MAX_VIEW_PX, 600_000)}" width="{width}" height="{height}"/>',
        *(_particle(one, rows, counted, max(height, width)) for one in table.to_dict("records")),
        _bar(width, height, None if size_nm is None or not np.isfinite(size_nm) else float(size_nm)),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _particle(one: Mapping[Any, Any], rows: Sequence[Row], counted: set[int], side: int) -> str:
    number = int(one["particle"])
    row = rows[number - 1]
    colour = f"rgb{COUNTED if number in counted else LEFT_OUT}"
    paths = svg_path(outlines(row["segmentation"]), STEP_PX) if "segmentation" in row else ""
    unit = "nm" if np.isfinite(one["pixel_size_nm"]) else "px"
    title = f"{number}: {one.get(f'equivalent_diameter_{unit}', float('nan')):.4g} {unit}, score {one['score']:.2f}"
    x, y = _corner(row)
    text = (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{side / 90:.1f}" '
        f'dominant-baseline="central" fill="{colour}" stroke="#000" '
        f'stroke-width="{side / 400:.2f}" '
        f'paint-order="stroke">{number}</text>'
    )
    outline = f'<path d="{paths}" transform="scale({STEP_PX})" fill="transparent" stroke="{colour}" '
    outline += 'stroke-width="1.5" vector-effect="non-scaling-stroke"/>'
    return f"<g><title>{escape(title)}</title>{outline}{text}</g>"


def _bar(width: int, height: int, pixel_size_nm: float | None) -> str:
    bar = scale_bar(width, pixel_size_nm)
    if bar is None:
        return ""
    x, y, unit = width * 0.97 - bar.width_px, height * 0.97, max(width, height) / 100
    return (
        f'<rect x="{x - unit}" y="{y - 5 * unit}" width="{bar.width_px + 2 * unit}" height="{6.5 * unit}" '
        f'fill="#000" fill-opacity=".6"/><rect x="{x}" y="{y - unit}" width="{bar.width_px}" height="{unit}" '
        f'fill="#fff"/><text x="{x + bar.width_px / 2}" y="{y - 1.8 * unit}" font-size="{2.6 * unit}" fill="#fff" '
        f'text-anchor="middle">{bar.label}</text>'
    )


def crop(shown: NDArray[np.float32], row: Row, side_px: int = 160) -> NDArray[np.uint8]:
    """A particle with its outline in the middle of a square (side_px, side_px, 3) uint8 RGB, half its size around."""
    x, y, w, h = row["bbox"]
    half = max(8.0, 0.75 * max(w, h))
    x0, y0 = int(x + w / 2 - half), int(y + h / 2 - half)
    size = int(2 * half)
    padded = np.zeros((size, size), np.float32)
    top, left = max(0, y0), max(0, x0)
    part = shown[top : max(top, y0 + size), left : max(left, x0 + size)]
    padded[top - y0 : top - y0 + part.shape[0], left - x0 : left - x0 + part.shape[1]] = part
    scale = side_px / size
    grey = np.rint(cv2.resize(padded, (side_px, side_px), interpolation=cv2.INTER_LINEAR) * 255).astype(np.uint8)
    canvas = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    paths = outlines(row["segmentation"]) if "segmentation" in row else []
    points = [np.rint(((path - [x0, y0]) * scale - 0.5) * 16).astype(np.int32) for path in paths]
    cv2.polylines(canvas, points, True, COUNTED, 1, cv2.LINE_AA, 4)
    return np.asarray(canvas, np.uint8)

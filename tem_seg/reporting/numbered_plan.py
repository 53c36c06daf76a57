"""What a picture of numbered particles shows and where: outlines, colours, numbers, legend, scale bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.core.geometry import rotated_box_corners
from tem_seg.reporting.figures import outlines
from tem_seg.reporting.labels import Place, places
from tem_seg.reporting.letters import font
from tem_seg.reporting.particle_colours import FLAGS, Coloured, Entry, coloured
from tem_seg.reporting.views import ScaleBar, scale_bar

VIEW_PX = (1024, 2048)
"""Long side of a picture: smaller micrographs are enlarged, so that numbers do not cover small particles."""
MOST_ENLARGED = 4.0
Row = Mapping[str, Any]
Paths = list[NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that both files show, lengths in px of the picture, which is ``scale`` times the micrograph.

    paths: of each particle, in px of the micrograph. texts: their numbers; titles: what is said of each. at: where the
    numbers stand, None in a crowd. bar: below, if the pixel size is known.
    """

    scale: float
    size: tuple[int, int]
    paths: list[Paths]
    colours: Coloured
    texts: list[str]
    titles: list[str]
    at: list[Place | None]
    bar: ScaleBar | None

    @property
    def letter_px(self) -> int:
        """Of numbers."""
        return letter_px(self.size)

    @property
    def legend_px(self) -> int:
        """Letters of the legend."""
        return self.letter_px * 4 // 3

    @property
    def line_px(self) -> int:
        """A line of the legend."""
        return 2 * self.letter_px

    def legend(self) -> tuple[list[tuple[Entry, float, float]], int]:
        """Entries with the left end and the middle height of each, and the height of the strip that they fill."""
        crowded = sum(place is None for place in self.at)
        more = [Entry(f"{crowded} without a number: point at them in the SVG")] if crowded else []
        height, width = self.size
        right = width - (0 if self.bar is None else self.bar.width_px + 8 * self.letter_px)
        x, line, found = float(self.letter_px), 0, []
        for entry in [*self.colours.legend, *more]:
            long = self.swatch_px(entry) + font(self.legend_px).getlength(entry.text)
            if x > self.letter_px and x + long > (right if line == 0 else width):
                x, line = float(self.letter_px), line + 1
            found.append((entry, x, height + (line + 0.5) * self.line_px))
            x += long + 2 * self.letter_px
        return found, (line + 1) * self.line_px

    def swatch_px(self, entry: Entry) -> float:
        """Room for colours before a text."""
        return {0: 0.0, 1: 1.5}.get(len(entry.colours), 8.0) * self.letter_px


def planned(shape: tuple[int, ...], rows: Sequence[Row], table: pd.DataFrame, meaning: str = "flag") -> Plan:
    """shape: (H, W) of the micrograph; the rest as in :func:`tem_seg.reporting.numbered.write`."""
    table = table.drop_duplicates("particle")  # parts of one mask have one outline
    own = [rows[int(number) - 1] for number in table["particle"]]
    scale = min(min(max(max(shape), VIEW_PX[0]), VIEW_PX[1]) / max(shape), MOST_ENLARGED)
    height, width = (max(1, round(side * scale)) for side in shape)
    colours = coloured(table, meaning)
    texts = [str(int(number)) for number in table["particle"]]
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in own)]).reshape(-1, 4) * scale
    letters = font(letter_px((height, width)))
    sizes = [(letters.getlength(text) + 4, letters.size + 2) for text in texts]
    pixel_size = float(table["pixel_size_nm"].iloc[0]) if len(table) else np.nan
    paths = [paths_of(row, how) for row, how in zip(own, table["outline"], strict=True)]
    return Plan(
        scale, (height, width), paths, colours, texts,
        [_title(one) for one in table.to_dict("records")], places(boxes, sizes, (height, width)),
        scale_bar(width, pixel_size / scale if np.isfinite(pixel_size) else None),
    )  # fmt: skip


def letter_px(size: tuple[int, int]) -> int:
    """Height of numbers in a picture (H, W) px."""
    return max(8, max(size) // 85)


def paths_of(row: Row, outline: object) -> Paths:
    """Closed outlines (K, 2) x, y px that a prediction was measured on. outline: what the table says of that."""
    if outline == "contour":
        return [np.asarray(row["contour"], np.float64)]
    if row.get("segmentation") is not None:
        return outlines(row["segmentation"])
    return [rotated_box_corners(np.asarray(row["rotated_box"], np.float64))]


def _title(one: Mapping[Any, Any]) -> str:
    unit = "nm" if np.isfinite(one["pixel_size_nm"]) else "px"
    sizes = [one.get(f"{name}_{unit}", np.nan) for name in ("equivalent_diameter", "max_feret")]
    size = next((value for value in sizes if np.isfinite(value)), np.nan)
    flag = f", {FLAGS[one['left_out']][0]}" if one["left_out"] else ""
    return f"{int(one['particle'])}: {size:.4g} {unit}, score {one['score']:.2f}{flag}"

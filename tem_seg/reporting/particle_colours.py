"""What the colours of outlines say: whether a particle counts and why not, or how large it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.reporting.figures import Colour
from tem_seg.reporting.tables import SIZES

FLAGS: dict[str, tuple[str, Colour]] = {
    "": ("counts", (44, 160, 235)),
    "border": ("cut by the border", (245, 110, 40)),
    "min_size_px": ("too small", (235, 90, 205)),
    "touching": ("touches another", (240, 214, 40)),
    "overlapping": ("overlaps another", (20, 190, 140)),
    "aggregated": ("several in one", (200, 80, 30)),
}
"""By the rule that leaves a particle out; after Okabe and Ito (2008), brighter, on grey."""
MEANINGS = ("flag", "size")


RAMP = cv2.applyColorMap(np.arange(88, 256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
"""From the smallest to the largest; without viridis' darkest third, which is lost on dark particles."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Of a legend. colours: one, many for a scale, or none."""

    text: str
    colours: tuple[Colour, ...] = ()


@dataclass(frozen=True, slots=True)
class Coloured:
    """of: the N particles' colours. legend: what they mean, with how many."""

    of: list[Colour]
    legend: list[Entry]


def coloured(table: pd.DataFrame, meaning: str) -> Coloured:
    """table: of one micrograph, with ``left_out``. meaning: "flag", or "size": of those that count."""
    reasons = [str(reason) for reason in table["left_out"]]
    counts = Counter(reasons)
    colours = [FLAGS[reason][1] for reason in reasons]
    legend = {reason: Entry(f"{words}: {counts[reason]}", (colour,))
              for reason, (words, colour) in FLAGS.items() if counts[reason]}  # fmt: skip
    counting = table["left_out"] == ""
    named = [f"{name}_{unit}" for unit in ("nm", "px") for name in SIZES]
    columns = [name for name in named if name in table and table.loc[counting, name].notna().any()]
    if meaning == "size" and columns:
        sizes = table[columns[0]].where(counting).to_numpy(np.float64)
        low, high = float(np.nanmin(sizes)), float(np.nanmax(sizes))
        places = np.nan_to_num((sizes - low) / max(high - low, 1e-9 * high)) * (len(RAMP) - 1)
        known = zip(places.tolist(), np.isfinite(sizes), colours, strict=True)
        colours = [_colour(RAMP[round(place)]) if sized else colour for place, sized, colour in known]
        text = f"{counts['']} count: {low:.3g} to {high:.3g} {columns[0][-2:]}"
        legend[""] = Entry(text, tuple(_colour(colour) for colour in RAMP[::8]))
    return Coloured(colours, list(legend.values()))


def _colour(values: NDArray[np.uint8]) -> Colour:
    red, green, blue = values.tolist()
    return red, green, blue

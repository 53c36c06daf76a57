"""Plots of an analysis: the size distribution with its intervals, and the gallery; for pages, files and notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tem_seg.reporting.plots import INK, PALETTE, chart, minor_label

FIGURES = {"d10": "D10", "d50": "D50", "d90": "D90"}
GALLERY_COLUMNS = 8


def draw_distribution(axes: Axes, one: Mapping[str, Any], label: str, weights: str) -> None:
    """A histogram, and D10, D50, D90 with their 95 % intervals where there are any."""
    edges, counts = np.array(one["histogram"]["edges"]), np.array(one["histogram"]["counts"]["particles"])
    axes.stairs(counts / counts.sum(), edges, fill=True, color=PALETTE[0], alpha=0.6, label=f"n = {one['n']:,}")
    for (key, name), colour in zip(FIGURES.items(), PALETTE[1:], strict=False):
        told = one["estimates"][key]
        if not np.isfinite(told["value"]):
            continue
        axes.axvline(told["value"], color=colour, linewidth=1.4, label=name)
        ends = interval(one, key)
        if ends is not None:
            axes.axvspan(*ends, color=colour, alpha=0.18, linewidth=0)
    axes.set(xlabel=label, ylabel=f"share by {weights}")
    if edges[0] > 0 and edges[-1] >= 12 * edges[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(minor_label)
    axes.legend(loc="upper right")


def interval(one: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """95 %: of the whole budget where there is one, else of counting; None without."""
    for told, low, high in ((one["budget"].get(key), "low_nm", "high_nm"), (one["estimates"][key], "low", "high")):
        if told is not None and told[low] is not None:
            return float(told[low]), float(told[high])
    return None


def distribution_svg(one: Mapping[str, Any], label: str, weights: str) -> Markup:
    """For a page."""
    words = f"Distribution of {label} of {one['n']:,} particles with D10, D50 and D90 and their 95 % intervals"
    return chart(lambda axes: draw_distribution(axes, one, label, weights), words, (6.4, 3.4))


def distribution_figure(told: Mapping[str, Any]) -> Figure:
    """All measurands of an analysis, for a file or a notebook; says so where there is none."""
    shown = [(unit, name, one) for unit in ("nm", "px") for name, one in told.get(unit, {}).items()]
    figure = Figure(figsize=(7.0, 3.0 * max(1, len(shown))), layout="constrained")
    for place, (unit, name, one) in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, place)
        draw_distribution(axes, one, f"{name.replace('_', ' ')} ({unit})", told["weights"])
    if not shown:
        figure.text(0.5, 0.5, "no particles", ha="center")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def gallery_figure(groups: Mapping[str, Sequence[tuple[str, NDArray[np.uint8]]]]) -> Figure:
    """Groups of (caption, crop (h, w, 3)) in rows of eight."""
    rows = [(name, crops[at : at + GALLERY_COLUMNS]) for name, crops in groups.items()
            for at in range(0, len(crops), GALLERY_COLUMNS)]  # fmt: skip
    figure = Figure(figsize=(8.0, 1.45 * max(1, len(rows))), layout="constrained")
    for row, (name, crops) in enumerate(rows):
        for column, (caption, picture) in enumerate(crops):
            axes = figure.add_subplot(len(rows), GALLERY_COLUMNS, row * GALLERY_COLUMNS + column + 1)
            axes.imshow(picture)
            axes.set_axis_off()
            axes.set_title(caption if column else f"{name}\n{caption}", fontsize=6, color=INK, loc="left")
    return figure

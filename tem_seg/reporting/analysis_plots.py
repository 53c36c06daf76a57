"""Plots of an analysis: the size distribution with its intervals, and the gallery; for pages, files and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from tem_seg.reporting.analysis_words import name_of
from tem_seg.reporting.plots import INK, PALETTE, chart, minor_label

FIGURES = {"d10": "D10", "d50": "D50", "d90": "D90"}
COLOURS = dict(zip(FIGURES, PALETTE[1:], strict=False))


def draw_distribution(axes: Axes, one: Mapping[str, Any], label: str, weights: str) -> None:
    """A histogram, above it D10, D50 and D90 with their 95 % intervals, where there are any."""
    edges, counts = np.array(one["histogram"]["edges"]), np.array(one["histogram"]["counts"]["particles"])
    shares = counts / counts.sum()
    axes.stairs(shares, edges, fill=True, color=PALETTE[0], alpha=0.6, label=f"n = {one['n']:,}")
    top = float(shares.max())
    for place, (key, name) in enumerate(FIGURES.items(), start=1):
        _draw_figure(axes, one, key, name, COLOURS[key], top * (1.28 - 0.07 * place))
    axes.set(xlabel=label, ylabel=f"share by {weights}", ylim=(0, 1.28 * top), **_limits(edges))
    if edges[0] > 0 and edges[-1] >= 12 * edges[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(minor_label if edges[-1] < 500 * edges[0] else NullFormatter())
    axes.grid(visible=False, axis="x", which="both")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, borderpad=0, handlelength=1.6)


def _draw_figure(axes: Axes, one: Mapping[str, Any], key: str, name: str, colour: str, height: float) -> None:
    value = one["estimates"][key]["value"]
    if not np.isfinite(value):
        return
    low, high = interval(one, key) or (value, value)
    axes.vlines(value, 0, height, color=colour, linewidth=1.0, linestyle="--")
    axes.errorbar(
        value, height, xerr=[[max(0.0, value - low)], [max(0.0, high - value)]], fmt="o", color=colour, markersize=4,
        capsize=3, linewidth=1.6, label=name,
    )  # fmt: skip


def _limits(edges: NDArray[np.float64]) -> dict[str, Any]:
    """Of the sizes: an interval that reaches far beyond them leaves the picture."""
    if edges[0] > 0 and edges[-1] >= 12 * edges[0]:
        return {"xlim": (edges[0] / 1.5, edges[-1] * 1.5)}
    room = 0.25 * (edges[-1] - edges[0])
    return {"xlim": (max(0.0, edges[0] - room), edges[-1] + room)}


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


def draw_enough(axes: Axes, one: Mapping[str, Any]) -> None:
    """How the uncertainty (k = 2) of D50 and D90 shrinks with micrographs like these, and where it stands."""
    for key, found in one["enough"].items():
        colour = COLOURS[key]
        if not found or not found["counting"]:
            continue
        images = [row["images"] for row in found["counting"]]
        reach = [100 * float(np.hypot(row["expanded"], found["floor"])) for row in found["counting"]]
        axes.plot(images, reach, color=colour, label=FIGURES[key])
        axes.plot(found["images"], 100 * found["relative"], "o", color=colour)
        axes.axhline(100 * found["target"], color=INK, linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel="micrographs (dots: now)", ylabel="± % (k = 2)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(minor_label)
    axes.legend(loc="upper right")


def enough_svg(one: Mapping[str, Any], label: str) -> Markup | None:
    """For a page; None where nothing can be said."""
    if not any(found and found["counting"] for found in one["enough"].values()):
        return None
    words = f"Uncertainty of D50 and D90 of {label} over the number of micrographs, with the target"
    return chart(lambda axes: draw_enough(axes, one), words, (6.4, 3.0))


def distribution_figure(told: Mapping[str, Any]) -> Figure:
    """All measurands of an analysis, for a file or a notebook; says so where there is none."""
    shown = [(unit, name, one) for unit in ("nm", "px") for name, one in told.get(unit, {}).items()]
    figure = Figure(figsize=(7.0, 3.0 * max(1, len(shown))), layout="constrained")
    for place, (unit, name, one) in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, place)
        draw_distribution(axes, one, name_of(name, unit), told["weights"])
    if not shown:
        figure.text(0.5, 0.5, "no particles", ha="center")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure

"""Plots of a comparison: every group in its own colour and dash, a thin line a seed; the page holds the key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tem_seg.reporting import tables
from tem_seg.reporting.compared import Group, RunFiles
from tem_seg.reporting.plots import INK, PALETTE, chart, floats, minor_label, shared_bins, thinned

DASHES = ((), (6, 2), (2, 2), (6, 2, 2, 2))
"""Lengths of strokes and gaps; () is a solid line."""
CURVES = {
    "val/ap": "AP on validation micrographs",
    "val/ap50": "AP50 on validation micrographs",
    "val/balanced_accuracy": "Balanced accuracy on validation micrographs",
    "train/ap": "AP on some training micrographs: far above validation, it is overfitting",
    "train/loss": "Training loss, running mean; comparable where models and data are alike",
}
LABELS = {"equivalent_diameter": "equivalent diameter", "max_feret": "length"}


@dataclass(frozen=True, slots=True)
class Style:
    """How a group is drawn, in every plot."""

    colour: str
    dash: tuple[int, ...]


def style(place: int) -> Style:
    """24 that differ, for the groups in their order."""
    return Style(PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)])


def curve_plots(groups: Sequence[Group]) -> list[tuple[str, Markup]]:
    """[(caption, svg), …] of what was logged while training; only what at least one run has."""
    drawn = []
    for column, caption in CURVES.items():
        if any(len(_points(run, column)) for group in groups for run in group.runs):
            drawn.append((f"{caption}.", _overlaid(groups, column, caption.split(":")[0].split(",")[0])))
    return drawn


def _overlaid(groups: Sequence[Group], column: str, label: str) -> Markup:
    def draw(axes: Axes) -> None:
        for run, options in _lines(groups):
            points = _points(run, column)
            if column.endswith("loss"):
                points = _smoothed(points)
            points = points[thinned(len(points))] if len(points) else points
            marker = "o" if len(points) < 40 and not column.endswith("loss") else None
            axes.plot(*points.T, marker=marker, markersize=3, **options)
        axes.set(xlabel="step", ylabel=column)
        if column.endswith("loss"):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(minor_label)

    return chart(draw, f"{label} over training steps of {sum(len(group.runs) for group in groups)} runs")


def _lines(groups: Sequence[Group]) -> Iterator[tuple[RunFiles, dict[str, Any]]]:
    """Every run with the options of its line."""
    for place, group in enumerate(groups):
        look = style(place)
        dash = {"dashes": look.dash} if look.dash else {}
        for run in group.runs:
            yield run, {"color": look.colour, "linewidth": 1.7 if len(group.runs) == 1 else 1.0, **dash}


def _points(run: RunFiles, column: str) -> NDArray[np.float64]:
    """(N, 2) step and value, in order; N = 0 where it was not logged."""
    if column not in run.curves:
        return np.zeros((0, 2))
    found = run.curves[["step", column]].apply(pd.to_numeric, errors="coerce").dropna()
    return np.asarray(found.sort_values("step"), np.float64)


def _smoothed(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A running mean over a fortieth of the training."""
    window = len(points) // 40
    if window < 2:
        return points
    return np.stack([np.convolve(column, np.full(window, 1 / window), "valid") for column in points.T], axis=1)


def precision_recall(groups: Sequence[Group]) -> Markup | None:
    """Precision over recall at IoU 0.5 of every run that was evaluated; None without one."""
    curves = {id(run): (run.metrics.get("curves") or {}).get("pr") for group in groups for run in group.runs}
    if not any(curves.values()):
        return None

    def draw(axes: Axes) -> None:
        for run, options in _lines(groups):
            curve = curves[id(run)]
            if curve:
                axes.plot(floats(curve["recall"]), floats(curve["precision"]), **options)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))

    return chart(draw, f"Precision over recall at IoU 0.5 of {sum(map(bool, curves.values()))} runs")


def size_plots(groups: Sequence[Group], same: bool) -> list[tuple[str, Markup]]:
    """[(caption, svg), …], one a unit: distributions in the same bins. same: all saw the same micrographs."""
    runs = [run for group in groups for run in group.runs]
    units = tables.size_units(*(run.particles for run in runs), *(run.truth_particles for run in runs))
    return [_sizes(groups, unit, same) for unit in units]


def _sizes(groups: Sequence[Group], unit: str, same: bool) -> tuple[str, Markup]:
    known = [run.particles for group in groups for run in group.runs if unit in tables.size_units(run.particles)]
    size = tables.size_of(known[0], unit) if known else "equivalent_diameter"
    column = f"{size}_{unit}"
    samples = [[tables.values(run.particles, column) for run in group.runs] for group in groups]
    truth = _truth(groups, column) if same else np.zeros(0)
    edges, logarithmic = shared_bins(*(sample for some in samples for sample in some), truth)

    def share(sample: NDArray[np.float64]) -> NDArray[np.float64]:
        counts = np.histogram(sample, edges)[0].astype(np.float64)
        return counts if same else 100.0 * counts / max(len(sample), 1)

    def draw(axes: Axes) -> None:
        if len(truth):
            axes.stairs(share(truth), edges, fill=True, color=INK, alpha=0.14)
        for place, some in enumerate(samples):
            look, found = style(place), [share(sample) for sample in some if len(sample)]
            if found:
                dash = (0, look.dash) if look.dash else "-"
                axes.stairs(np.mean(found, axis=0), edges, color=look.colour, linewidth=1.7, linestyle=dash)  # type: ignore[arg-type]
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(minor_label)
        axes.set(xlabel=f"{LABELS[size]} ({unit})", ylabel="particles" if same else "% of particles")
        axes.set_xlim(edges[0], edges[-1])
        axes.grid(visible=False, axis="x", which="both")
        if same:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))

    words = "Filled grey: as annotated. " if len(truth) else ""
    caption = f"{words}Whole particles at each run's own score; of several seeds the mean."
    count = sum(len(sample) for some in samples for sample in some)
    return caption, chart(draw, f"Distributions of {LABELS[size]} in {unit} of {count:,} particles", (7.4, 3.4))


def _truth(groups: Sequence[Group], column: str) -> NDArray[np.float64]:
    """Annotated sizes, of the first run that has them."""
    found: Callable[[RunFiles], NDArray[np.float64]] = lambda run: tables.values(run.truth_particles, column)  # noqa: E731
    return next((found(run) for group in groups for run in group.runs if len(found(run))), np.zeros(0))

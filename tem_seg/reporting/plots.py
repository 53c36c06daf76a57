"""Plots as inline SVG in the page's own colours (light, dark, print). Matplotlib's objects, never pyplot's state."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tem_seg.reporting.tables import Sample

# Stand-ins that no plot uses otherwise; in the SVG they become the page's own ink and rule colours.
INK, RULE = "#111213", "#d0d1d2"
PREDICTED = "#2c8fd6"
# Okabe & Ito's order, without the yellow and black that vanish on white or on dark
PALETTE = ("#2c8fd6", "#e07b00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "text.parse_math": False,  # a class called "$x" is a name, no formula
    "font.size": 9.5,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": RULE, "grid.linewidth": 0.6,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "legend.frameon": False, "legend.fontsize": 8.5, "lines.linewidth": 1.7,
    "axes.formatter.limits": (-4, 6),
}  # fmt: skip


def chart(draw: Callable[[Axes], None], description: str, size_in: tuple[float, float] = (4.9, 3.1)) -> Markup:
    """One plot as an <svg> with a text alternative. draw fills the axes; the same input gives the same bytes."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": description}):
        figure = Figure(figsize=size_in, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace(RULE, "var(--rule)")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # one page, many plots: figure_1 must not appear twice
    text = re.sub(r' (width|height)="[0-9.]+pt"', "", text)  # the page decides how large it is
    label = html.escape(description, quote=True)
    return Markup(text.replace("<svg ", f'<svg class="plot" role="img" aria-label="{label}" ', 1))


def shared_bins(*samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """Bin edges (B + 1,) over all samples together, and whether they are logarithmic.

    Width by Freedman & Diaconis (1981), 8 to 60 bins. Logarithmic where the sizes span more than a factor of 12, so
    that one large agglomerate does not squeeze all others into a single bar.
    """
    pooled = np.concatenate(samples)
    if not len(pooled):
        return np.array([0.0, 1.0]), False
    logarithmic = bool(pooled.min() > 0 and pooled.max() > 12 * pooled.min())
    values = np.log10(pooled) if logarithmic else pooled
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    spread = float(np.subtract(*np.percentile(values, [75, 25])))
    width = 2.0 * spread / len(values) ** (1 / 3)
    count = int(np.clip(np.ceil((high - low) / width), 8, 60)) if width > 0 else 8
    edges = np.linspace(low, high, count + 1)
    if logarithmic:
        # the ends are given, not 10 ** log10: rounding must not drop the largest particle
        return np.r_[pooled.min(), 10.0 ** edges[1:-1], pooled.max()], True
    return edges, False


def size_histogram(measured: Sample, annotated: Sample | None, label: str) -> Markup:
    """Predicted (filled) and annotated (outline) sizes in the same bins; samples of no particle are legal."""
    shown = [measured] if annotated is None else [measured, annotated]
    edges, logarithmic = shared_bins(*(one.values for one in shown))
    weighted = any(one.weighted for one in shown)

    def draw(axes: Axes) -> None:
        looks: list[dict[str, Any]] = [
            {"fill": True, "color": PREDICTED, "alpha": 0.65},
            {"color": INK, "linewidth": 1.6},
        ]
        for one, name, look in zip(shown, ("predicted", "annotated"), looks, strict=False):
            counts = np.histogram(one.values, edges, weights=one.weights)[0]
            axes.stairs(counts, edges, label=f"{name}, n = {len(one.values):,}", **look)
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(minor_label)
        axes.set(xlabel=label, ylabel="particles, weighted" if weighted else "particles", xlim=(edges[0], edges[-1]))
        axes.grid(visible=False, axis="x", which="both")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _legend_above(axes)

    truth = f" and of {len(annotated.values):,} annotated particles" if annotated is not None else ""
    return chart(draw, f"Histogram of {label} of {len(measured.values):,} predicted{truth}")


def scatter(pairs: NDArray[np.float64], unit: str, size: str = "equivalent diameter") -> Markup:
    """Predicted over annotated size of matched particles; pairs (N, 2) annotated, predicted; with the identity."""

    def draw(axes: Axes) -> None:
        low, high = (float(pairs.min()), float(pairs.max())) if len(pairs) else (0.0, 1.0)
        axes.plot([low, high], [low, high], color=INK, linewidth=0.9, label="equal")
        shown = pairs[np.linspace(0, len(pairs) - 1, min(len(pairs), 1500)).astype(int)] if len(pairs) else pairs
        axes.scatter(shown[:, 0], shown[:, 1], s=9, color=PREDICTED, alpha=0.55, linewidths=0,
                     label=f"matched particle, {len(shown):,} of {len(pairs):,} drawn")  # fmt: skip
        if low > 0 and high > 12 * low:
            axes.set(xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(lambda value, _: f"{value:g}")
                axis.set_minor_formatter(lambda value, _: "")
        axes.set(xlabel=f"annotated {size} ({unit})", ylabel=f"predicted ({unit})")
        _legend_above(axes)

    return chart(draw, f"Predicted over annotated {size} of {len(pairs):,} matched particles")


def precision_recall(curve: dict[str, list[float]], thresholds: dict[str, dict[str, Any]]) -> Markup:
    """Precision over recall at IoU 0.5 with lines of equal F1.

    curve: ``curves.pr`` of metrics.json (score, precision, recall); thresholds: name → its entry of ``at_iou50``.
    """

    def draw(axes: Axes) -> None:
        recall = np.linspace(0.02, 1.0, 200)
        for f1 in (0.2, 0.4, 0.6, 0.8):
            seen = recall >= f1 / (2 - f1)  # where precision = F1 R / (2 R - F1) is at most 1
            axes.plot(recall[seen], f1 * recall[seen] / (2 * recall[seen] - f1), color=RULE, linewidth=0.9)
            axes.annotate(
                f"F1 {f1}", (1.0, f1 / (2 - f1)), xytext=(-2, 2), textcoords="offset points", ha="right", fontsize=7.5
            )
        axes.plot(floats(curve["recall"]), floats(curve["precision"]), color=PREDICTED)
        for (name, at), marker in zip(thresholds.items(), cycle("os^D"), strict=False):
            axes.plot(
                *floats([at["recall"], at["precision"]]), marker, color=INK, label=f"{name}: score ≥ {at['score']:.3g}"
            )
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.grid(visible=False)
        _legend_above(axes)

    return chart(draw, "Precision over recall at IoU 0.5")


def f1_over_score(curve: dict[str, list[float]], thresholds: dict[str, dict[str, Any]]) -> Markup:
    """F1, precision and recall over the score threshold; arguments as above, curve: ``curves.f1`` of metrics.json."""

    def draw(axes: Axes) -> None:
        for name, style, colour in (
            ("f1", "-", PALETTE[0]),
            ("precision", "--", PALETTE[1]),
            ("recall", ":", PALETTE[2]),
        ):
            axes.plot(floats(curve["score"]), floats(curve[name]), style, color=colour, label=name.replace("f1", "F1"))
        for name, at in thresholds.items():
            axes.axvline(at["score"], color=INK, linewidth=0.9)
            axes.annotate(
                name,
                (at["score"], 0.02),
                xytext=(-3, 0),
                textcoords="offset points",
                rotation=90,
                ha="right",
                fontsize=8,
            )
        axes.set(xlabel="score threshold", ylabel="at IoU 0.5", xlim=(0, 1.02), ylim=(0, 1.02))
        _legend_above(axes)

    return chart(draw, "F1, precision and recall over the score threshold at IoU 0.5")


def training_curves(curves: pd.DataFrame) -> list[tuple[str, Markup]]:
    """[(caption, svg), ...] of losses, validation figures and learning rate over ``step``; only what was logged."""
    logged = [c for c in curves.columns if c not in ("step", "epoch") and curves[c].notna().any()]
    rates = [c for c in logged if re.search(r"(^|[/_-])(lr|learning_rate)($|[/_-])", c)]
    scores = [c for c in logged if re.search(r"(^|[/_])(ap|f1|ar|accuracy|balanced_accuracy)\d*($|[/_])", c)]
    # the parts of the loss go by their own names, train/mask
    losses = [c for c in logged if c not in rates + scores and ("loss" in c or c.startswith("train/"))]
    groups = [
        ("Losses; a noisy one is drawn faintly with its running mean on top.", losses, "loss"),
        ("Solid: validation, dashed: training split. The gap between them is overfitting.", scores, "score"),
        ("Learning rate.", rates, "learning rate"),
    ]
    return [(caption, _curves(curves, names, label)) for caption, names, label in groups if names]


def _curves(curves: pd.DataFrame, names: list[str], label: str) -> Markup:
    measures = sorted({name.split("/")[-1] for name in names})
    colour_of = dict(zip(measures, cycle(PALETTE), strict=False))

    def draw(axes: Axes) -> None:
        for name in names:
            points = curves[["step", name]].dropna().sort_values("step").to_numpy(np.float64)
            colour, dashed = colour_of[name.split("/")[-1]], label == "score" and name.startswith("train")
            window = len(points) // 40
            if label == "loss" and window > 1:
                axes.plot(*points[thinned(len(points))].T, color=colour, alpha=0.25, linewidth=0.8)
                points = np.stack(
                    [np.convolve(column, np.full(window, 1 / window), "valid") for column in points.T], axis=1
                )
            shown = points[thinned(len(points))]
            axes.plot(
                *shown.T,
                "--" if dashed else "-",
                marker="o" if len(shown) < 40 else None,
                markersize=3,
                color=colour,
                label=name,
            )
        axes.set(xlabel="step", ylabel=label)
        if label == "loss" and (curves[names].min() > 0).all():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(minor_label)
        _legend_above(axes, columns=2)

    steps = curves["step"].dropna()
    return chart(draw, f"{label.capitalize()} over {int(steps.max()):,} training steps: {', '.join(names)}", (4.0, 2.9))


def _legend_above(axes: Axes, columns: int = 3) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderpad=0, handlelength=1.6,
            columnspacing=1.2,
        )  # fmt: skip


def minor_label(value: float, _: Any) -> str:
    """On a logarithmic axis 2 and 5 between the decades are written, the others are ticks only."""
    return f"{value:g}" if f"{value:.0e}"[0] in "25" else ""


def thinned(count: int, most: int = 500) -> NDArray[np.int64]:
    """Indices of at most ``most`` of ``count`` points, ends included: an SVG needs no more."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def floats(numbers: Sequence[float | None]) -> NDArray[np.float64]:
    """null of a JSON file → NaN, which leaves a gap in a line."""
    return np.asarray([np.nan if number is None else number for number in numbers], np.float64)

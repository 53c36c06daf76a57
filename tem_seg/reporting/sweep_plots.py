"""Plots of a sweep: how the figure went, which parameters it goes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tem_seg.reporting.plots import INK, PALETTE, PREDICTED, chart

MOST_AXES = 8
"""Parameters in the parallel coordinates; the most important ones."""


@dataclass(frozen=True, slots=True)
class Point:
    """A trial as plots see it. parameters: numbers or texts; figure: None where it has none."""

    trial: int
    state: str
    parameters: dict[str, Any]
    figure: float | None


def best_of(points: Sequence[Point]) -> Point | None:
    """The finished trial with the highest figure, the first of equals; None where none has one."""
    done = [point for point in points if point.state == "complete" and point.figure is not None]
    return max(done, key=lambda point: (float(point.figure or 0), -point.trial), default=None)


def history(points: Sequence[Point], metric: str) -> Markup:
    """The figure over the trial's number; the best so far as a line; ended early: hollow; failed: at the foot."""
    done = [p for p in points if p.state == "complete" and p.figure is not None]
    cut = [p for p in points if p.state == "pruned" and p.figure is not None]
    failed = [p.trial for p in points if p.state == "failed"]

    def draw(axes: Axes) -> None:
        if done:
            best = np.maximum.accumulate([float(p.figure or 0) for p in done])
            axes.step([p.trial for p in done], best, where="post", color=INK, linewidth=0.9, zorder=1,
                      label="best so far")  # fmt: skip
        axes.scatter(
            [p.trial for p in done], [float(p.figure or 0) for p in done], s=22, color=PREDICTED, label="finished"
        )
        if cut:
            places, figures = [p.trial for p in cut], [float(p.figure or 0) for p in cut]
            axes.scatter(places, figures, s=22, facecolors="none", edgecolors=PREDICTED, label="ended early")
        if failed:
            axes.plot(failed, np.zeros(len(failed)), "x", color=PALETTE[4], transform=axes.get_xaxis_transform(),
                      clip_on=False, label="failed")  # fmt: skip
        axes.set(xlabel="trial", ylabel=f"{metric} on validation")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, borderpad=0, handlelength=1.2)

    return chart(draw, f"{metric} of the validation split over {len(points)} trials")


def importances(shares: dict[str, float]) -> Markup:
    """Bars, the most important parameter on top. shares: name → share of all, largest first."""

    def draw(axes: Axes) -> None:
        names = list(shares)[::-1]
        axes.barh(names, [shares[name] for name in names], color=PREDICTED, height=0.6)
        axes.set(xlabel="importance (share)", xlim=(0, 1))
        axes.grid(visible=False, axis="y")

    return chart(draw, f"Importance of {len(shares)} parameters", (4.9, max(1.6, 0.6 + 0.35 * len(shares))))


def parallel_coordinates(points: Sequence[Point], names: Sequence[str], metric: str) -> Markup:
    """A line a trial through its parameters to its figure, the best drawn strongest and last."""
    names = list(names)[:MOST_AXES]
    shown = sorted((p for p in points if p.figure is not None), key=lambda p: float(p.figure or 0))
    best = best_of(shown)
    shown.sort(key=lambda p: p is best)  # the best one on top
    scales = [_Scale([p.parameters.get(name) for p in shown]) for name in names]
    scales.append(_Scale([p.figure for p in shown]))

    def draw(axes: Axes) -> None:
        for rank, point in enumerate(shown):
            values = [*(point.parameters.get(name) for name in names), point.figure]
            heights = [scale.height(value) for scale, value in zip(scales, values, strict=True)]
            colour, width, strength = PREDICTED, 1.2, 0.15 + 0.6 * rank / len(shown)
            if point is best:
                colour, width, strength = PALETTE[1], 2.4, 1.0
            axes.plot(range(len(scales)), heights, color=colour, linewidth=width, alpha=strength)
        for place, scale in enumerate(scales):
            axes.axvline(place, color=INK, linewidth=0.8)
            for height, text in scale.ticks():
                axes.annotate(
                    text, (place, height), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5
                )
        axes.set(xlim=(-0.1, len(scales) - 0.6), ylim=(-0.06, 1.06), yticks=[])
        axes.set_xticks(range(len(scales)), [*names, metric])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.grid(visible=False)

    return chart(draw, f"{len(shown)} trials: {', '.join(names)} and {metric}", (9.8, 3.4))


class _Scale:
    """One upright axis: numbers, on a logarithmic one where they span decades, or texts in their order."""

    def __init__(self, values: Sequence[Any]) -> None:
        numbers = _numbers(values)
        self.texts = None if numbers is not None else list(dict.fromkeys(str(v) for v in values if v is not None))
        spread = np.array([0.0, 1.0]) if numbers is None or not len(numbers) else numbers
        self.log = bool(spread.min() > 0 and spread.max() >= 10 * spread.min())
        self.low, self.high = (float(self._at(v)) for v in (spread.min(), spread.max()))

    def _at(self, value: float) -> float:
        return float(np.log10(value)) if self.log else float(value)

    def height(self, value: Any) -> float:
        """0 at the foot, 1 at the top; NaN, a gap in the line, for a trial without this parameter."""
        if value is None:
            return float("nan")
        if self.texts is not None:
            return self.texts.index(str(value)) / max(1, len(self.texts) - 1)
        span = self.high - self.low
        return (self._at(float(value)) - self.low) / span if span > 0 else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Heights and what is written there."""
        if self.texts is not None:
            return [(self.height(text), text) for text in self.texts]
        if self.high == self.low:
            return [(0.5, f"{10**self.low if self.log else self.low:.3g}")]
        heights = np.linspace(0, 1, 5)
        values = self.low + heights * (self.high - self.low)
        return [(float(h), f"{10**v if self.log else v:.3g}") for h, v in zip(heights, values, strict=True)]


def _numbers(values: Sequence[Any]) -> NDArray[np.float64] | None:
    """A grid's values are texts: numbers where all of them are some."""
    try:
        return np.array([float(value) for value in values if value is not None and not isinstance(value, bool)])
    except (TypeError, ValueError):
        return None

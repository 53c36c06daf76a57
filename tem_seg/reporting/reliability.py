"""The reliability diagram: how often predictions are right, over how sure they claim to be."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from tem_seg.reporting.plots import INK, PREDICTED, RULE, chart


def reliability(calibration: dict[str, Any]) -> Markup | None:
    """``calibration`` of metrics.json → precision over mean score and mean confidence of its bins; None without bins.

    Bars are 95 % Wilson intervals of each bin's precision (Wilson 1927).
    """
    bins = calibration.get("bins")
    if not bins:
        return None
    shown = [("score", "as the model gives them", "ece_before", RULE)]
    if calibration.get("temperature") is not None:
        shown.append(("confidence", "calibrated", "ece_after", PREDICTED))

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9)
        precision = np.array([entry["precision"] for entry in bins])
        low, high = wilson(precision, np.array([entry["n"] for entry in bins]))
        for key, name, error, colour in shown:
            x = [entry[key] for entry in bins]
            label = f"{name}: error {calibration[error]:.3f}"
            axes.errorbar(x, precision, [precision - low, high - precision], fmt="o-", color=colour, markersize=4,
                          linewidth=1.2, elinewidth=0.9, label=label)  # fmt: skip
        axes.set(xlabel="score or confidence", ylabel="share that is right (IoU 0.5)", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.legend(loc="upper left")

    return chart(draw, f"Reliability of {sum(entry['n'] for entry in bins):,} predictions in {len(bins)} bins")


def wilson(share: np.ndarray, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """The interval (low, high) of a share in [0, 1] of n, z standard deviations wide; always around the share."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.minimum(middle - half, share).clip(min=0), np.maximum(middle + half, share)

"""How particles lie, for the page of an analysis: a table and Ripley's L of each unit (measurement/arrangement.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tem_seg.reporting.plots import INK, PREDICTED, chart
from tem_seg.reporting.tables import Cell, Table, cell


def arrangement_table(one: Mapping[str, Any], unit: str) -> Table:
    """one: of arrangement.json. Areas in µm² where a pixel size is known."""
    area, larger = ("µm²", 1e-6) if unit == "nm" else ("px²", 1.0)
    groups, index = one["agglomerates"], one["clark_evans"]
    share = groups["share_of_particles"]
    field = one["field"] * larger
    rows = (
        (f"particles per {area}", one["number_density"] / larger),
        (f"field seen, {area}", field if unit == "nm" else round(field)),
        ("area covered by particles", _percent(one["area_fraction"])),
        ("particles that touch none", groups["single_particles"]),
        ("groups of touching particles", groups["n"]),
        ("share of particles in groups", _percent(share)),
        ("particles in the largest group", groups["largest_particles"]),
        (f"median radius of gyration of groups ({unit})", groups["median_gyration_radius"]),
        ("Clark and Evans' index (1: at random, less: clustered)", None if index is None else index["index"]),
        ("its p", None if index is None else float(f"{index['p']:.1g}")),
    )
    caption = f"How {one['n_particles']:,} particles lie in {one['n_images']:,} micrographs, those at the border too."
    return Table(
        caption,
        ("figure", "value"),
        tuple((cell(name), value if isinstance(value, Cell) else cell(value)) for name, value in rows),
    )


def _percent(share: float | None) -> Cell:
    return cell(None) if share is None else Cell(f"{share:.1%}", share)


def verdict(one: Mapping[str, Any]) -> str:
    """What Ripley's L says, in a sentence."""
    found = one["ripley"]
    if found is None:
        return "Too few particles to say whether they lie at random (10, and two in one micrograph)."
    if found["p"] > 0.05:
        return f"No sign that they lie otherwise than at random (p = {found['p']:.2g})."
    how = "cluster" if found["clustered"] else "keep apart: particles have a size, and none lies in another"
    return f"They {how} (p = {found['p']:.2g}, against {found['simulations']} patterns at random)."


def draw_ripley(axes: Axes, found: Mapping[str, Any], unit: str) -> None:
    """L(r) - r with the envelope of points at random."""
    r, l_of_r, low, high = (np.array(found[key], np.float64) for key in ("r", "l", "low", "high"))
    axes.fill_between(r, low - r, high - r, color=PREDICTED, alpha=0.22, linewidth=0, label="at random, 95 %")
    axes.plot(r, l_of_r - r, color=PREDICTED, label="these particles")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set(xlabel=f"distance r ({unit})", ylabel=f"L(r) − r ({unit})", xlim=(0, float(r[-1])))
    axes.legend(loc="best")


def sections(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the template needs of each unit."""
    return [
        {"unit": unit, "table": arrangement_table(one, unit), "verdict": verdict(one), "plot": _plot(one, unit)}
        for unit, one in told.items()
    ]


def _plot(one: Mapping[str, Any], unit: str) -> Markup | None:
    found = one["ripley"]
    if found is None:
        return None
    words = f"Ripley's L minus r over distance in {unit}, with the band of points at random"
    return chart(lambda axes: draw_ripley(axes, found, unit), words, (6.4, 3.0))


def arrangement_figure(told: Mapping[str, Any]) -> Figure | None:
    """For paper; None where there are too few particles."""
    shown = [(unit, one["ripley"]) for unit, one in told.items() if one["ripley"] is not None]
    if not shown:
        return None
    figure = Figure(figsize=(7.0, 3.2 * len(shown)), layout="constrained")
    for place, (unit, found) in enumerate(shown, start=1):
        draw_ripley(figure.add_subplot(len(shown), 1, place), found, unit)
    return figure

"""Annotated against predicted sizes, as paper 002 sets manual against automatic: N, mean, SD, median; how far apart."""

from __future__ import annotations

from typing import Any

from tem_seg.reporting.tables import Table, cell

NAMES = {"equivalent_diameter": "equivalent diameter", "min_feret": "min Feret diameter"}


def size_tables(measurement: dict[str, Any], unit: str) -> list[Table]:
    """Of measurement.json, one table a quantity in this unit; [] of unannotated micrographs."""
    blocks = ((measurement.get("against_truth") or {}).get(unit) or {}).items()
    return [_table(NAMES.get(name, name), block, unit) for name, block in blocks]


def _table(name: str, block: dict[str, Any], unit: str) -> Table:
    columns = ("", "N", f"mean ({unit})", f"SD ({unit})", f"median ({unit})")
    rows = [
        (cell(side), *(cell(block[side].get(key)) for key in ("n", "mean", "sd", "median")))
        for side in ("annotated", "predicted")
    ]
    if difference := block["difference"]:
        said = cell("difference"), cell(block["predicted"]["n"] - block["annotated"]["n"])
        rows.append((*said, cell(_interval(difference["mean"])), cell(None), cell(_interval(difference["median"]))))
    return Table(_caption(name, block, unit), columns, tuple(rows))


def _interval(difference: dict[str, Any]) -> str | None:
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    if value is None or low is None:
        return None if value is None else f"{value:+.3g}"
    return f"{value:+.3g} ({low:+.3g} to {high:+.3g})"


def _caption(name: str, block: dict[str, Any], unit: str) -> str:
    text = f"{name[:1].upper()}{name[1:]} of whole particles, annotated and predicted."
    if not block["difference"]:
        return text
    apart, relative = block["difference"], block["median_relative"]
    said = [] if relative is None else [f"the median is off by {100 * relative:+.1f} %"]
    said.append(f"the distributions differ by up to {apart['ks']:.3f} of the particles (Kolmogorov and Smirnov)")
    said.append(f"and by {apart['wasserstein']:.3g} {unit} a particle (Wasserstein)")
    why = apart["median"]["reason"]
    tail = f" No interval: {why}." if why else " In brackets: 95 % interval, images compared with themselves."
    return f"{text} Predicted against annotated {', '.join(said[:-1])} {said[-1]}.{tail}"

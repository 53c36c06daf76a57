"""Figures of an analysis in words: value, uncertainty, what it does not contain, and whether it is enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tem_seg.reporting.tables import heading

WIDE = 0.5
"""An uncertainty above this share of the value is told as an interval: ± would reach below zero."""


def name_of(measurand: str, unit: str) -> str:
    """ "min Feret (nm)"."""
    return heading(f"{measurand}_{unit}")


def rounded(value: float, to: float) -> str:
    """A value with as many places as two digits of its uncertainty have; never an exponent.

    >>> rounded(181.43, 3.51), rounded(181.43, 35.1), rounded(9.8765, 0.0123)
    ('181.4', '181', '9.877')
    """
    places = max(0, 1 - math.floor(math.log10(to))) if to > 0 else 3
    return f"{value:,.{min(places, 6)}f}"


def plain(value: float) -> str:
    """Three digits, never an exponent for sizes: "0.0163", "1,730"."""
    return rounded(value, abs(value) / 10) if value else "0"


def not_included(missing: Sequence[str]) -> str:
    """ "pixel size and edges", of a budget's components; "" for none."""
    return " and ".join(dict.fromkeys("edges" if name.startswith("edge") else name for name in missing))


def figure_text(one: Mapping[str, Any], key: str, unit: str) -> tuple[str, str]:
    """("20.4 nm ± 1.7 nm", "k = 2; pixel size and edges not included"): the value, and what is to be known of it."""
    told, budget = one["estimates"][key], one["budget"].get(key)
    value, counting = told["value"], told["standard_uncertainty"]
    if not math.isfinite(value):
        return "not known", told["reason"]
    if budget is not None and budget["expanded_nm"] is not None:
        missing = not_included(budget["missing"])
        note = f"; {missing} not included" if missing else ""
        return _with(value, budget["expanded_nm"], budget["low_nm"], budget["high_nm"], unit, note)
    if counting is not None:
        return _with(value, 2 * counting, told["low"], told["high"], unit, "; counting alone")
    return f"{value:.4g} {unit}", f"no uncertainty: {told['reason']}"


def _with(value: float, expanded: float, low: float, high: float, unit: str, note: str) -> tuple[str, str]:
    if expanded <= WIDE * value:
        return f"{rounded(value, expanded)} {unit} ± {rounded(expanded, expanded)} {unit}", f"k = 2{note}"
    return f"{plain(value)} {unit}, {plain(low)} to {plain(high)}", f"interval of 95 %{note}"


def combined(one: Mapping[str, Any], unit: str) -> list[str]:
    """Every figure with its uncertainty, a sentence each."""
    told = []
    for key in one["estimates"]:
        value, note = figure_text(one, key, unit)
        told.append(f"{key.upper() if key != 'mean' else 'mean'} = {value} ({note})")
    return told


def enough_text(one: Mapping[str, Any], key: str) -> str | None:
    """Were enough particles counted for this figure?"""
    found = one["enough"].get(key)
    if found is None:
        return None
    name, target = key.upper(), f"{found['target']:.0%}"
    if found["met"]:
        return f"{name}: yes, ± {found['relative']:.1%} (k = 2) meets the target of ± {target}."
    reached = "" if found["relative"] is None else f"± {found['relative']:.1%} (k = 2) misses ± {target}; "
    if found["images_needed"] is not None:
        high = found["images_high"]
        most = "or far more" if high is None else f"to {_about(high)}"
        return (
            f"{name}: not yet, {reached}about {_about(found['more_images'])} more micrographs like these "
            f"({_about(found['images_low'])} {most} in all)."
        )
    return f"{name}: not known, {reached}{found['reason']}."


def _about(count: int) -> str:
    """Two digits: a plan is not more exact."""
    return f"{round(count, min(0, 2 - len(str(count)))):,}"

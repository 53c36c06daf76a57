"""Sizes measured on predictions against those measured on annotations of the same micrographs: paper 002's table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from tem_seg.measurement.comparison import Sample, compare
from tem_seg.measurement.distributions import summarise

QUANTITIES = ("equivalent_diameter", "min_feret")
SAID = ("n", "mean", "sd", "median")


def against_truth(found: pd.DataFrame, annotated: pd.DataFrame, rng: np.random.Generator) -> dict[str, Any]:
    """particles.csv and particles_truth.csv → {"nm" or "px": {quantity: …}}, what there are sizes of on either side.

    Each quantity holds ``annotated`` and ``predicted`` (n, mean, sd, median, by ``weight``), ``median_relative``
    (predicted over annotated, less 1) and ``difference`` (:class:`tem_seg.measurement.comparison.Comparison`, predicted
    minus annotated, images paired), both None where one side is empty. Particles cut by the border are left out: their
    size is not known.
    """
    units: dict[str, Any] = {}
    for unit in ("nm", "px"):
        quantities = {name: _quantity(found, annotated, name, unit, rng) for name in QUANTITIES}
        if known := {name: block for name, block in quantities.items() if block is not None}:
            units[unit] = known
    return units


def _quantity(
    found: pd.DataFrame, annotated: pd.DataFrame, name: str, unit: str, rng: np.random.Generator
) -> dict[str, Any] | None:  # fmt: skip
    first, second = (_sample(table, f"{name}_{unit}") for table in (annotated, found))
    if not len(first.sizes) and not len(second.sizes):
        return None
    told = {
        side: {key: value for key, value in summarise(sample.sizes, sample.weights).items() if key in SAID}
        for side, sample in (("annotated", first), ("predicted", second))
    }
    if not (len(first.sizes) and len(second.sizes)):
        return {**told, "median_relative": None, "difference": None}
    relative = told["predicted"]["median"] / told["annotated"]["median"] - 1.0
    difference = asdict(compare(first, second, paired=True, unit=unit, rng=rng))
    return {**told, "median_relative": relative, "difference": difference}


def _sample(table: pd.DataFrame, column: str) -> Sample:
    """Of whole particles; empty where the table has no such column."""
    if column not in table:
        return Sample.of([], [])
    whole = table[~table["touches_border"].eq(True)]
    return Sample.of(whole[column], whole["image_id"], whole["weight"])

"""The size distribution of an analysis in numbers: summaries, intervals, fits, the budget, and whether it is enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.analysis.settings import Settings
from tem_seg.core import seeds
from tem_seg.data.pixel_size import PixelSize
from tem_seg.measurement.budget import Budget, Calibration, Edge, budget
from tem_seg.measurement.distributions import WEIGHTINGS, histogram, summarise, weights_by
from tem_seg.measurement.edges import diameter_factor, random_diameter_sd
from tem_seg.measurement.enough import enough, predicted
from tem_seg.measurement.fits import fit_all
from tem_seg.measurement.intervals import Estimate, estimates

SIZES = ("equivalent_diameter", "min_feret", "max_feret")
CURVE = (3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500)
"""Numbers of micrographs for which it is said how far the counting of their particles would reach."""
TARGET = 0.05
"""Relative expanded uncertainty that "enough particles?" asks for."""
MOST_FITTED = 2000
"""Particles up to which the fits' p-values are found by the bootstrap: beyond, no family is exact anyway."""
FloatArray = NDArray[np.float64]


def distribution(
    particles: pd.DataFrame, fields: Mapping[int, str], sizes: Mapping[int, PixelSize], settings: Settings
) -> dict[str, Any]:
    """particles: those that count. fields: what each image (by id) is a view of: what has the same is one in the
    statistics. sizes: pixel size by image id. → {"weights", "nm": {measurand: …}, "px": {measurand: …}}, units that
    occur."""
    found: dict[str, Any] = {"weights": settings.weights}
    for unit in ("nm", "px"):
        known = {name: f"{name}_{unit}" for name in SIZES if f"{name}_{unit}" in particles}
        part = particles[particles[list(known.values())].notna().any(axis=1)] if known else particles.iloc[:0]
        if len(part):
            clusters = part["image_id"].map(fields).to_numpy(str)
            stated = [sizes[image] for image in part["image_id"].unique()]
            found[unit] = {name: _of_size(part, name, unit, clusters, stated, settings) for name in known
                           if part[known[name]].notna().any()}  # fmt: skip
    return found


def _of_size(
    part: pd.DataFrame, name: str, unit: str, clusters: NDArray[np.str_], stated: Sequence[PixelSize],
    settings: Settings,
) -> dict[str, Any]:  # fmt: skip
    values = part[f"{name}_{unit}"].to_numpy(np.float64)
    counted = part["weight"].to_numpy(np.float64)
    diameters = part.get(f"equivalent_diameter_{unit}", part[f"{name}_{unit}"]).to_numpy(np.float64)
    weights = weights_by(diameters, settings.weights, counted)
    told = estimates(values, clusters, weights)
    rng = seeds.child_rng(0, f"fits of {name}")
    fits = fit_all(values, rng=rng, n_boot=99 if len(values) <= MOST_FITTED else 0) if name == SIZES[0] else []
    result: dict[str, Any] = {
        "n": len(values), "images": told["d50"].images,
        "summaries": {w: summarise(values, weights_by(diameters, w, counted)) for w in WEIGHTINGS},
        "estimates": {key: asdict(one) for key, one in told.items()},
        "histogram": histogram({"particles": values}, {"particles": weights}),
        "fits": [asdict(fit) for fit in fits],
    }  # fmt: skip
    budgets = _budgets(part, name, told, values, stated, settings) if unit == "nm" else {}
    result["budget"] = {key: asdict(one) for key, one in budgets.items()}
    result["enough"] = {key: _enough(told[key], budgets.get(key)) for key in ("d50", "d90")}
    return result


def _budgets(
    part: pd.DataFrame, name: str, told: Mapping[str, Estimate], values: FloatArray, stated: Sequence[PixelSize],
    settings: Settings,
) -> dict[str, Budget]:  # fmt: skip
    """Of every figure that is known, in nm."""
    scale, edge = calibration(stated, settings.pixel_size_error), _edge(part, name, values)
    median = told["d50"].value
    return {key: budget(one, scale, edge, median_nm=median) for key, one in told.items()
            if np.isfinite(one.value) and np.isfinite(median)}  # fmt: skip


def calibration(stated: Sequence[PixelSize], given: float | None) -> Calibration | None:
    """What is known of the pixel sizes' error: given (standard), else the largest of the scale bars', where all have
    one; None where nobody stated any."""
    if given is not None:
        return Calibration(given, "given (--pixel-size-error)")
    errors = [size.relative_error for size in stated]
    known = [error for error in errors if error is not None]
    if not known or len(known) < len(errors):
        return None
    return Calibration(max(known), "length of the scale bar, the worst micrograph's", "rectangular")


def _edge(part: pd.DataFrame, name: str, values: FloatArray) -> Edge | None:
    """The typical particle's, from calibrated edges; None without."""
    if "edge_sd_nm" not in part or not part["edge_sd_nm"].notna().any():
        return None
    spread = float(part["edge_sd_nm"].median())
    factor = 2.0
    if name == "equivalent_diameter" and "perimeter_nm" in part and part["perimeter_nm"].notna().any():
        factor = float(np.nanmedian(diameter_factor(part["perimeter_nm"], part["equivalent_diameter_nm"])))
    sd = float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else 0.0
    return Edge(spread, factor, random_sd_nm=float(random_diameter_sd(spread, factor)), sd_nm=sd)


def _enough(one: Estimate, of: Budget | None) -> dict[str, Any] | None:
    if not (np.isfinite(one.value) and one.value > 0):
        return None
    rows = of.components if of is not None else ()
    others = [row.contribution_nm or 0.0 for row in rows if row.name != "counting"]
    found = enough(one, target=TARGET, others=float(np.sqrt(np.square(others).sum()) / one.value))
    curve = predicted(one, CURVE) if one.standard_uncertainty is not None else []
    return asdict(found) | {"more_images": found.more_images, "counting": [asdict(row) for row in curve]}

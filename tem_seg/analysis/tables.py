"""An analysis as tables: CSV always, Parquet and one Excel workbook where the libraries for them are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tem_seg.analysis.one import Done
from tem_seg.core.weighted import quantile
from tem_seg.data.atomic import replacing
from tem_seg.measurement.counting import size_columns
from tem_seg.measurement.distributions import WEIGHTINGS
from tem_seg.measurement.particles import write_table

LONGEST_SHEET = 1_048_575
"""Rows below its heading that Excel opens."""


def together(done: Sequence[Done]) -> pd.DataFrame:
    """All measured particles, image_id counted from 1; with micrographs of both kinds, columns in nm and in px."""
    parts = [each.table.assign(image_id=number) for number, each in enumerate(done, start=1)]
    columns = _columns(parts)
    filled = [part for part in parts if len(part)]
    whole = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame({name: [] for name in columns})
    return whole.reindex(columns=columns)


def _columns(parts: Sequence[pd.DataFrame]) -> list[str]:
    """Lengths in nm first, then those in px, where the first table has its lengths."""
    kinds = list(dict.fromkeys(tuple(part.columns) for part in parts))
    kinds.sort(key=lambda names: "min_feret_nm" not in names)
    columns = list(kinds[0])
    for names in kinds[1:]:
        new = [name for name in names if name not in columns]
        at = columns.index("aspect_ratio")
        columns[at:at] = new
    return columns


def images(done: Sequence[Done], particles: pd.DataFrame) -> pd.DataFrame:
    """A row a micrograph."""
    counts = particles["image_id"].value_counts()
    medians = {number: _medians(part) for number, part in particles.groupby("image_id")}
    return pd.DataFrame([
        {"image_id": number, "image": each.item.name, "file": str(each.item.path), "frame": each.item.frame,
         "height_px": each.record.height, "width_px": each.record.width, "strip_px": each.strip_px,
         "pixel_size_nm": each.pixel_size.value_nm,
         "pixel_size_source": each.pixel_size.source, "measured": len(each.table),
         "counted": int(counts.get(number, 0)), **medians.get(number, {}), "sha256": each.sha256}
        for number, each in enumerate(done, start=1)
    ])  # fmt: skip


def _medians(particles: pd.DataFrame) -> dict[str, float]:
    """Of one micrograph: the median of its size, in its unit."""
    weights = particles["weight"].to_numpy(np.float64)
    found = {f"median_{name}": float(quantile(particles[name].to_numpy(np.float64), 0.5, weights))
             for name in size_columns(particles)}  # fmt: skip
    return {name: value for name, value in found.items() if np.isfinite(value)}


def origins(done: Sequence[Done]) -> list[dict[str, Any]]:
    """For analysis.json: which bytes each micrograph was."""
    return [{"name": each.item.name, "file": str(each.item.path), "frame": each.item.frame, "sha256": each.sha256,
             "pixel_size_nm": each.pixel_size.value_nm, "pixel_size_source": each.pixel_size.source}
            for each in done]  # fmt: skip


def summary(told: dict[str, Any]) -> pd.DataFrame:
    """distribution.json's summaries as rows: measurand, unit, weighting, and the figures."""
    rows = [
        {"measurand": name, "unit": unit, "weighted_by": weighting, **one["summaries"][weighting]}
        for unit in ("nm", "px") for name, one in told.get(unit, {}).items() for weighting in WEIGHTINGS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def budget_rows(told: dict[str, Any]) -> pd.DataFrame:
    """distribution.json's budgets as rows, a component each."""
    rows = [
        {"measurand": name, "quantity": quantity, **component}
        for name, one in told.get("nm", {}).items() for quantity, found in one["budget"].items()
        for component in found["components"]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def write(
    out: Path, particles: pd.DataFrame, images: pd.DataFrame, told: dict[str, Any], record: dict[str, Any]
) -> None:
    """particles.csv, images.csv, budget.csv; particles.parquet with pyarrow, analysis.xlsx with openpyxl."""
    budgets = budget_rows(told)
    write_table(out / "particles.csv", particles)
    write_table(out / "images.csv", images)
    if len(budgets):
        write_table(out / "budget.csv", budgets)
    else:
        (out / "budget.csv").unlink(missing_ok=True)  # an earlier analysis's, in nm
    if importlib.util.find_spec("pyarrow"):
        with replacing(out / "particles.parquet") as temporary:
            particles.to_parquet(temporary, index=False)
    if importlib.util.find_spec("openpyxl"):
        _workbook(out / "analysis.xlsx", particles, images, summary(told), budgets, pd.DataFrame(record["effects"]))


def _workbook(path: Path, particles: pd.DataFrame, *others: pd.DataFrame) -> None:
    sheets = ("particles", "images", "distribution", "budget", "rules")
    with replacing(path) as temporary, pd.ExcelWriter(temporary, engine="openpyxl") as workbook:
        for name, table in zip(sheets, (particles.head(LONGEST_SHEET), *others), strict=True):
            shown = table.map(str) if name == "rules" else table.map(_legible)
            shown.to_excel(workbook, sheet_name=name, index=False)


def _legible(value: Any) -> Any:
    """A cell's value: text never becomes a formula, and infinity is a word."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return f"'{value}"
    return "infinite" if isinstance(value, float) and value in (float("inf"), float("-inf")) else value

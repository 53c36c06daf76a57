"""report.html of an analysis: figures with uncertainty, pictures, and all that repeats them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from tem_seg.reporting import analysis_plots, arrangement_page
from tem_seg.reporting.analysis_words import combined, enough_text, name_of
from tem_seg.reporting.figures import colour_uri
from tem_seg.reporting.gallery import Groups
from tem_seg.reporting.page import page
from tem_seg.reporting.tables import Table, cell, heading

BUDGET = {"name": "component", "value": "stated", "unit": "unit", "distribution": "distribution", "divisor": "divisor",
          "standard": "standard", "sensitivity": "sensitivity", "contribution_nm": "u (nm)", "share": "share",
          "note": "source"}  # fmt: skip
SUMMARY = {
    "n": "N",
    "n_effective": "worth",
    "mean": "mean",
    "sd": "SD",
    "mode": "mode",
    "d10": "D10",
    "d50": "D50",
    "d90": "D90",
    "span": "span",
    "geometric_mean": "geometric mean",
    "geometric_sd": "geometric SD",
}


@dataclass(frozen=True, slots=True)
class Material:
    """told: distribution.json; arrangement, record: arrangement.json, analysis.json; images: images.csv; figures:
    headlines (name, value, note); pictures: (name, RGB) of the micrographs shown; gallery: particles by why."""

    told: dict[str, Any]
    arrangement: dict[str, Any]
    record: dict[str, Any]
    figures: list[tuple[str, str, str]]
    pictures: Sequence[tuple[str, NDArray[np.uint8]]]
    images: pd.DataFrame
    gallery: Groups


def html(material: Material) -> str:
    """The page's text."""
    told, record = material.told, material.record
    return page(
        "analysis.html.j2", title=title_of(material), record=record, figures=material.figures,
        parts=[_part(unit, name, one, told["weights"]) for unit, name, one in measurands(told)],
        enough_plot=_enough_plot(measurands(told)),
        effects=effects_table(record["effects"]),
        micrographs=len(material.images), images=images_table(material.images),
        arrangement=arrangement_page.sections(material.arrangement),
        pictures=[(name, colour_uri(picture)) for name, picture in material.pictures],
        gallery={name: [(caption, colour_uri(picture)) for caption, picture in crops]
                 for name, crops in material.gallery.items()},
        repeat=json.dumps({key: record[key] for key in ("settings", "rules", "model", "calibration", "versions")},
                          indent=1),
        files=files_table(record),
    )  # fmt: skip


def images_table(images: pd.DataFrame, most: int = 200) -> Table:
    """A row a micrograph: what was found in it, which tells the odd one out."""
    medians = [str(name) for name in images if str(name).startswith("median_")]
    columns = ["image", "counted", "measured", *medians, "pixel_size_nm"]
    rows = tuple(tuple(map(cell, row)) for row in images[columns].head(most).itertuples(index=False, name=None))
    more = f", the first {most} of {len(images):,}" if len(images) > most else ""
    heads = tuple(f"median ({name[-2:]})" if name in medians else heading(name) for name in columns)
    return Table(f"Of each micrograph{more}; median: of the equivalent diameter, weighted as the counting rules say.",
                 heads, rows)  # fmt: skip


def files_table(record: Mapping[str, Any]) -> Table:
    """What was analysed."""
    columns = ("name", "pixel_size_nm", "pixel_size_source", "sha256")
    rows = tuple(tuple(cell(one[name]) for name in columns) for one in record["micrographs"])
    heads = ("name", "pixel size (nm)", "from", "SHA-256")
    return Table("The micrographs, by the SHA-256 of their bytes.", heads, rows)


def measurands(told: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(unit, name, figures) of distribution.json."""
    return [(unit, name, one) for unit in ("nm", "px") for name, one in told.get(unit, {}).items()]


def title_of(material: Material) -> str:
    """What was counted, in how many micrographs."""
    return f"{material.record['counted']:,} particles in {len(material.images):,} micrographs"


def _part(unit: str, name: str, one: dict[str, Any], weights: str) -> dict[str, Any]:
    title = name_of(name, unit)
    return {
        "title": title, "plot": analysis_plots.distribution_svg(one, title, weights), "rule": one["histogram"]["rule"],
        "summary": summary_table(one, unit), "budget": budget_table(one) if one["budget"] else None,
        "combined": combined(one, unit), "enough": [told for key in ("d50", "d90") if (told := enough_text(one, key))],
        "fits": fits_table(one["fits"]) if one["fits"] else None,
        "reasons": no_interval(one),
    }  # fmt: skip


def no_interval(one: Mapping[str, Any]) -> list[str]:
    """Why figures have none."""
    return sorted({told["reason"] for told in one["estimates"].values() if told["reason"]})


def _enough_plot(parts: Sequence[tuple[str, str, dict[str, Any]]]) -> Markup | None:
    """Of the first measurand: the others are of the same particles."""
    return analysis_plots.enough_svg(parts[0][2], name_of(parts[0][1], parts[0][0])) if parts else None


def summary_table(one: Mapping[str, Any], unit: str) -> Table:
    """By number, area and volume."""
    rows = tuple((cell(by), *(cell(found[key]) for key in SUMMARY)) for by, found in one["summaries"].items())
    return Table(f"The distribution in figures, {unit}; worth: of particles of equal weight.",
                 ("weighted by", *SUMMARY.values()), rows)  # fmt: skip


def budget_table(one: Mapping[str, Any], quantity: str = "d50") -> Table | None:
    """Components of one figure's uncertainty; D50's by default."""
    found = one["budget"].get(quantity)
    if found is None:
        return None
    rows = tuple(tuple(cell(row[key]) for key in BUDGET) for row in found["components"])
    return Table(f"Uncertainty budget of {quantity.upper()}.", tuple(BUDGET.values()), rows)


def fits_table(fits: Sequence[Mapping[str, Any]]) -> Table:
    """Families by AICc."""
    columns = ("family", "ΔAICc", "weight", "A²", "p", "parameters, or why it was not fitted")
    rows = tuple(
        (cell(fit["family"].replace("_", " ")),
         cell(fit["delta_aicc"]), cell(fit["weight"], 3), cell(fit["anderson_darling"]), cell(fit["p_value"], 2),
         cell(fit["reason"] or ", ".join(f"{key.replace('_', ' ')} {value:.4g}"
                                         for key, value in (fit["parameters"] or {}).items())))
        for fit in fits
    )  # fmt: skip
    return Table('Fits by maximum likelihood (docs/uncertainty.md, "Fits").', columns, rows)


def effects_table(effects: Sequence[Mapping[str, Any]]) -> Table | None:
    """A row a counting rule; None where no rule was applied."""
    columns = ("rule", "setting", "before", "after", "median before", "median after", "worth")
    rows = tuple(
        (cell(one["rule"]), cell(one["setting"]), cell(one["before"]), cell(one["after"]),
         cell(_medians(one["median_before"])), cell(_medians(one["median_after"])), cell(one["effective"]))
        for one in effects
    )  # fmt: skip
    return Table("What each counting rule did.", columns, rows) if rows else None


def _medians(found: Mapping[str, float]) -> str:
    return ", ".join(f"{value:.4g} {name[-2:]}" for name, value in found.items())

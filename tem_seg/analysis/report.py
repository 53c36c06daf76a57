"""The report of an analysis: chooses what is shown and writes report.html, report.pdf and the pictures of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.analysis.analyse import Outcome
from tem_seg.analysis.one import picture, results_of
from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.measurement.counting import size_columns
from tem_seg.reporting import analysis_page, analysis_pdf, analysis_plots, gallery, numbered
from tem_seg.reporting.analysis_words import figure_text, name_of
from tem_seg.reporting.figures import png

SHOWN, OF_EACH_KIND = 12, 8
"""Micrographs in the report, and particles of each kind: a row of the gallery."""
SHOWN_PX = 1400


def write_reports(outcome: Outcome) -> None:
    """report.html, report.pdf, distribution.svg and .png, gallery.svg and .png in the folder of the outcome."""
    chosen = [(each.item.name, picture(outcome.out, each.item, ".png")) for each in outcome.done[:SHOWN]]
    crops = _gallery(outcome)
    material = analysis_page.Material(
        outcome.distribution, outcome.arrangement, outcome.record, headlines(outcome.distribution),
        [(name, _small(_read_png(path))) for name, path in chosen],
        outcome.images, crops,
    )  # fmt: skip
    figure = analysis_plots.distribution_figure(outcome.distribution)
    for kind in ("svg", "png"):
        with atomic.replacing(outcome.out / f"distribution.{kind}") as temporary:
            figure.savefig(temporary, format=kind, dpi=150)
    atomic.write_text(outcome.out / "gallery.svg", gallery.svg(crops))
    with atomic.replacing(outcome.out / "gallery.png") as temporary:
        temporary.write_bytes(png(gallery.picture(crops)))
    analysis_pdf.write_pdf(outcome.out / "report.pdf", material)
    atomic.write_text(outcome.out / "report.html", analysis_page.html(material))


def headlines(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    """D50 of each measurand in words: its name, the value, what is to be known of it."""
    return [(f"{name_of(name, unit)}, D50 by {told['weights']}", *figure_text(one, "d50", unit))
            for unit, name, one in analysis_page.measurands(told)]  # fmt: skip


def _gallery(outcome: Outcome) -> dict[str, list[tuple[str, NDArray[np.uint8]]]]:
    """The largest, the smallest and the least sure particles that count; of each unit's own sizes."""
    particles, groups = outcome.particles, {}
    for column in size_columns(particles) if len(particles) else []:
        known = particles[particles[column].notna()]
        unit = column[-2:]
        groups[f"largest ({unit})"] = (known.nlargest(OF_EACH_KIND, column), column)
        groups[f"smallest ({unit})"] = (known.nsmallest(OF_EACH_KIND, column), column)
        groups[f"least sure ({unit})"] = (known.nsmallest(OF_EACH_KIND, "score"), column)
    wanted = {name: chosen for name, chosen in groups.items() if len(chosen[0])}
    crops = _crops(outcome, [chosen for chosen, _ in wanted.values()])
    return {name: [(_caption(row, column), crops[key]) for row in chosen.to_dict("records")
                   if (key := (row["image_id"], row["particle"])) in crops]
            for name, (chosen, column) in wanted.items()}  # fmt: skip


def _caption(row: dict[Any, Any], column: str) -> str:
    return f"{row['image_id']}/{row['particle']}: {row[column]:.3g} {column[-2:]}, {row['score']:.2f}"


def _crops(outcome: Outcome, chosen: list[pd.DataFrame]) -> dict[tuple[int, int], NDArray[np.uint8]]:
    """By image id and particle; each micrograph is read once. One that has gone since has no crops."""
    outlines = {(row["image_id"], row["particle"]): row["outline"]
                for table in chosen for row in table.to_dict("records")}  # fmt: skip
    found = {}
    for image_id in sorted({image_id for image_id, _ in outlines}):
        item = outcome.done[image_id - 1].item
        try:
            pixels = _pixels(item.path, item.frame)
        except UserError:
            continue
        shown = normalise(pixels[: outcome.done[image_id - 1].record.height])
        rows = results_of(item, outcome.out)
        for number in (number for other, number in outlines if other == image_id):
            found[image_id, number] = numbered.crop(shown, rows[number - 1], outlines[image_id, number])
    return found


def _pixels(path: Any, frame: int | None) -> NDArray[np.float32]:
    return read_micrograph(path, frame=frame, pixel_size_nm=1.0).pixels  # its calibration plays no part here


def _read_png(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"{path} is damaged: delete it and run the analysis again")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _small(shown: NDArray[Any]) -> NDArray[np.uint8]:
    scale = SHOWN_PX / max(shown.shape[:2])
    if scale < 1:
        shown = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(shown, np.uint8)

"""report.pdf of an analysis: what report.html says, on A4."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import cv2
import numpy as np
from matplotlib import get_data_path
from matplotlib.figure import Figure
from numpy.typing import NDArray
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, TableStyle
from reportlab.platypus import Table as Grid

from tem_seg.data.atomic import replacing
from tem_seg.reporting import analysis_page, analysis_plots, arrangement_page, gallery
from tem_seg.reporting.analysis_page import Material, measurands
from tem_seg.reporting.analysis_words import combined, enough_text, name_of
from tem_seg.reporting.tables import Table

MARGIN = 17 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - 2 * MARGIN
DPI, JPEG = 200, 88
FONT, BOLD, FIXED = "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono"
"""matplotlib's: Greek and mathematical letters. What they lack is a box; report.html has it."""
TEXT = ParagraphStyle("text", fontName=FONT, fontSize=8, leading=11, spaceAfter=2)
SMALL = ParagraphStyle("small", TEXT, fontSize=6.5, leading=8, spaceAfter=0)
HEAD = ParagraphStyle("head", SMALL, fontName=BOLD)
TITLE = ParagraphStyle("title", TEXT, fontName=BOLD, fontSize=16, leading=20, spaceAfter=4)
SECTION = ParagraphStyle("section", TEXT, fontName=BOLD, fontSize=12, leading=15, spaceBefore=9, spaceAfter=4)
PART = ParagraphStyle("part", TEXT, fontName=BOLD, fontSize=9.5, leading=12, spaceBefore=6, spaceAfter=3)
FLAG = ParagraphStyle("flag", TEXT, textColor=colors.HexColor("#b3261e"), fontName=BOLD)
CODE = ParagraphStyle("code", TEXT, fontName=FIXED, fontSize=6, leading=7.5, wordWrap="CJK")
RULE, SHADE = colors.HexColor("#c4c7cc"), colors.HexColor("#f1f3f5")
GRID = TableStyle([("LINEBELOW", (0, 0), (-1, -1), 0.25, RULE), ("BACKGROUND", (0, 0), (-1, 0), SHADE),
                   ("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 3),
                   ("RIGHTPADDING", (0, 0), (-1, -1), 3), ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                   ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5)])  # fmt: skip


def write_pdf(path: Path, material: Material) -> None:
    """Sizes with uncertainty, arrangement, counting rules, particles, micrographs, what repeats it; room to sign."""
    for name in (FONT, BOLD, FIXED):
        pdfmetrics.registerFont(TTFont(name, Path(get_data_path(), "fonts", "ttf", f"{name}.ttf")))
    title = analysis_page.title_of(material)
    with replacing(path) as temporary:
        document = SimpleDocTemplate(
            str(temporary), pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN, bottomMargin=MARGIN,
            title=title, author="tem_seg", subject="tem-seg analyze",
        )  # fmt: skip

        def number(canvas: Any, sheet: Any) -> None:
            canvas.setFont(FONT, 7)
            canvas.drawString(MARGIN, 9 * mm, f"tem-seg analyze · {title} · {material.record['started'][:10]}")
            canvas.drawRightString(A4[0] - MARGIN, 9 * mm, f"{sheet.page}")

        document.build(list(_story(material)), onFirstPage=number, onLaterPages=number)


def _story(material: Material) -> Iterator[Flowable]:
    record = material.record
    yield _text(analysis_page.title_of(material), TITLE)
    yield from (_text(f"Red flag: {flag}", FLAG) for flag in record["red_flags"])
    yield from (_text(note) for note in record["notes"])
    yield from (_text(f"{name}: {value} ({note})") for name, value, note in material.figures)
    yield Spacer(1, 7 * mm)
    yield _text(
        "Measured by, date: ______________________________      Checked by, date: ______________________________"
    )
    yield from _sizes(material.told)
    yield _text("Arrangement", SECTION)
    for unit, one in material.arrangement.items():
        yield from _table(arrangement_page.arrangement_table(one, unit))
        yield _text(arrangement_page.verdict(one))
    if (figure := arrangement_page.arrangement_figure(material.arrangement)) is not None:
        yield _plot(figure)
    yield _text("Counting rules", SECTION)
    yield _text(f"Particles of score ≥ {record['min_score']:.3g} count ({record['min_score_source']}): "
                f"{record['measured']:,} were measured, {record['counted']:,} count.")  # fmt: skip
    if (effects := analysis_page.effects_table(record["effects"])) is not None:
        yield from _table(effects)
    yield from _particles_and_micrographs(material)
    yield _text("To repeat it", SECTION)
    yield _text(" ".join(record["command"]), CODE)
    yield from _table(analysis_page.files_table(record), shares=(3, 1.2, 2, 4))
    known = {key: record[key] for key in ("settings", "rules", "model", "calibration", "versions")}
    yield from (_text(f"{key}: {json.dumps(value, ensure_ascii=False)}", CODE) for key, value in known.items())


def _sizes(told: Mapping[str, Any]) -> Iterator[Flowable]:
    yield _text("Sizes", SECTION)
    if not measurands(told):
        yield _text("No particle counts, so there is no size distribution.")
    for unit, name, one in measurands(told):
        figure = analysis_plots.distribution_figure({"weights": told["weights"], unit: {name: one}})
        yield KeepTogether([_text(name_of(name, unit), PART), _plot(figure)])
        yield from _table(
            analysis_page.summary_table(one, unit), shares=(1.1, 0.8, 1, 1, 0.9, 1, 1, 1, 1, 1, 1.25, 1.25)
        )
        yield from (_text(text) for text in combined(one, unit))
        yield from (_text(text) for key in ("d50", "d90") if (text := enough_text(one, key)))
        if reasons := analysis_page.no_interval(one):
            yield _text(f"No interval: {'; '.join(reasons)}.")
        if one["budget"] and (budget := analysis_page.budget_table(one)) is not None:
            yield from _table(budget, shares=(1.7, 1, 1, 1.4, 0.9, 1.1, 1.3, 1, 1, 2.8))
        if one["fits"]:
            yield from _table(analysis_page.fits_table(one["fits"]), shares=(1.3, 0.9, 0.9, 0.9, 0.8, 5))


def _particles_and_micrographs(material: Material) -> Iterator[Flowable]:
    if material.gallery:
        words = _text("Micrograph / particle: size, score.")
        yield KeepTogether([_text("Particles", SECTION), words, _picture(gallery.picture(material.gallery))])
    yield _text("Micrographs", SECTION)
    yield from _table(analysis_page.images_table(material.images))
    for name, picture in material.pictures:
        yield KeepTogether([_text(name, PART), _picture(picture)])


def _text(words: str, style: ParagraphStyle = TEXT) -> Paragraph:
    return Paragraph(escape(words), style)


def _table(table: Table, shares: Sequence[float] | None = None) -> Iterator[Flowable]:
    """shares: of the page's width, a column."""
    rows = [[_text(name, HEAD) for name in table.columns], *([_text(c.text, SMALL) for c in row] for row in table.rows)]
    widths = (
        [WIDTH * share / sum(shares) for share in shares] if shares else [WIDTH / len(table.columns)] * len(rows[0])
    )
    yield Spacer(1, 1.5 * mm)
    yield _text(table.caption, SMALL)
    yield Spacer(1, 1 * mm)
    yield Grid(rows, colWidths=widths, repeatRows=1, style=GRID)
    yield Spacer(1, 2 * mm)


def _plot(figure: Figure) -> Image:
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    width = WIDTH * 0.8
    return Image(drawn, width, width * figure.get_figheight() / figure.get_figwidth())


def _picture(pixels: NDArray[np.uint8]) -> Image:
    """(h, w, 3) uint8 RGB, as wide as the page unless it would be higher than one."""
    coded = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG])[1]
    height, width = pixels.shape[:2]
    scale = min(WIDTH / width, (HEIGHT - 30 * mm) / height)
    return Image(BytesIO(coded.tobytes()), width * scale, height * scale)

"""Burnt-in scale bars of real figures: what the reader claims, against what the eye reads."""

from __future__ import annotations

import csv
import os
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import bench_common

from tem_seg.core.units import to_nm
from tem_seg.data.images import read_micrograph
from tem_seg.data.scalebar import NotRead, ScaleBar, read_scale_bar

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "tests" / "data"


def verdict(found: ScaleBar | NotRead, row: dict[str, str]) -> str:
    """ "right", "wrong", "refused", or for a picture that has no labelled bar "nothing to read"."""
    if isinstance(found, NotRead):
        return "refused" if row["value"] else "nothing to read"
    if not row["value"] or found.length_nm != to_nm(float(row["value"]), row["unit"]):
        return "wrong"
    return "right" if abs(found.length_px - float(row["bar_px"])) <= max(1.0, found.error_px) else "wrong"


def tally(images: Path, table: Path, most: int | None = None) -> tuple[Counter[str], list[str], float]:
    """Verdicts on the images of a table (image_id, value, unit, bar_px), a line on each, median seconds an image."""
    counts: Counter[str] = Counter()
    lines, times = [], []
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:most]
    for row in rows:
        picture = read_micrograph(images / f"{row['image_id']}.png").pixels
        start = bench_common.clock()
        found = read_scale_bar(picture)
        times.append(bench_common.clock() - start)
        said = verdict(found, row)
        counts[said] += 1
        counts["labelled"] += bool(row["value"])
        truth = f"{row['value']} {row['unit']} = {row['bar_px']} px" if row["value"] else "no label"
        lines.append(f"{row['image_id']}: {said}: {found if isinstance(found, ScaleBar) else found.reason} ({truth})")
    return counts, lines, statistics.median(times)


def scale_bars(quick: bool) -> Iterator[str]:
    """EMPS test images of tests/data/scalebar_emps_test.csv, read by eye before the reader ever saw them."""
    images = Path(os.environ.get("TEM_SEG_DATA", ROOT.parent / "shared" / "data")) / "emps" / "images"
    if not images.is_dir():
        yield f"scale bars: not read, no EMPS at {images}"
        return
    counts, _, taken = tally(images, TABLES / "scalebar_emps_test.csv", 3 if quick else None)
    labelled, claimed = counts["labelled"], counts["right"] + counts["wrong"]
    yield f"scale bars of EMPS test images: claimed {100 * claimed / max(labelled, 1):.0f} % of {labelled}"
    yield f"scale bars of EMPS test images: right {100 * counts['right'] / max(claimed, 1):.0f} % of {claimed} claims"
    yield f"scale bars, one figure of about 600 × 512 px: {1000 * taken:.0f} ms"

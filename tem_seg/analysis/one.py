"""One micrograph: read, segmented, measured, drawn, and kept, so that it is not done again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.analysis.inputs import Item
from tem_seg.core.errors import UserError
from tem_seg.core.types import Micrograph
from tem_seg.data import atomic
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.data.digest import file_digest
from tem_seg.data.pixel_size import PixelSize, read_with_pixel_size
from tem_seg.data.strip import strip_px
from tem_seg.measurement import counting
from tem_seg.measurement.counting import Rules
from tem_seg.measurement.particles import covered_px, particle_table, read_table, write_table

FOLDER, PICTURES = "micrographs", "pictures"
SEEN = ("sha256", "frame", "model", "calibration", "strip", "tem_seg")
"""Of the key: what the model's results depend on."""


@dataclass(frozen=True, slots=True)
class Read:
    """A micrograph in memory, or what its earlier result says (``kept``; micrograph is None then).

    rows, capped: what the same model has found in it before, where only counting rules or pixel size are others now.
    strip_px: rows of writing below that were taken off.
    """

    item: Item
    sha256: str
    micrograph: Micrograph | None
    pixel_size: PixelSize | None
    kept: dict[str, Any] | None
    rows: list[dict[str, Any]] | None = None
    capped: bool = False
    strip_px: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """Of one micrograph: its record (id 1), pixel size, all that was measured (``left_out``: by which rule a particle
    does not count), pixels covered by particles."""

    item: Item
    sha256: str
    record: ImageRecord
    pixel_size: PixelSize
    table: pd.DataFrame
    covered: float | None
    capped: bool
    strip_px: int
    again: bool


def read(item: Item, given_nm: float | None, key: dict[str, Any], out: Path) -> Read:
    """The micrograph, unless its result of the same bytes and settings (``key``) is there. UserError if it changes.

    A strip of writing below (data/strip.py) is taken off, unless the key says otherwise, once the scale bar is read.
    """
    before = _state(item.path)
    sha256 = _digest(item.path, before)
    wanted = key | {"sha256": sha256}
    kept = _kept(out, item)
    if kept is not None and kept["key"] == wanted and picture(out, item, ".svg").is_file():
        return Read(item, sha256, None, None, kept)
    micrograph, size = read_with_pixel_size(item.path, frame=item.frame, given_nm=given_nm)
    if _state(item.path) != before:
        raise UserError(f"{item.path} changed while it was read: wait until the program that writes it has finished")
    strip = strip_px(micrograph.pixels) if key["strip"] else 0
    micrograph = replace(micrograph, pixels=micrograph.pixels[: len(micrograph.pixels) - strip])
    if kept is not None and all(kept["key"].get(name) == wanted[name] for name in SEEN):
        return Read(item, sha256, micrograph, size, None, kept["results"], kept["micrograph"]["capped"], strip)
    return Read(item, sha256, micrograph, size, None, strip_px=strip)


def finish(
    found: Read, rows: list[dict[str, Any]], capped: bool, categories: list[str], key: dict[str, Any], out: Path,
    rules: Rules, min_score: float,
) -> Done:  # fmt: skip
    """Measures a segmented micrograph and writes DIR/micrographs/<name>.csv and .json, the latter last."""
    assert found.micrograph is not None and found.pixel_size is not None
    size = found.pixel_size
    height, width = found.micrograph.pixels.shape
    source = None if size.value_nm is None else size.source
    record = ImageRecord(1, Path(found.item.name), height, width, size.value_nm, source)
    dataset = CocoDataset(out, [record], categories, list(range(1, len(categories) + 1)), {1: []})
    grey: NDArray[np.float32] = found.micrograph.pixels
    table = particle_table(dataset, {1: rows}, min_score=min_score, rules=rules, pixels=lambda _: grey)
    table = table.assign(left_out=counting.left_out(table, rules, {1: (height, width)}))
    covered = covered_px(dataset, {1: rows}, min_score).get(1)
    write_table(_place(out, found.item, ".csv"), table)
    about = {"height": height, "width": width, "pixel_size": asdict(size), "capped": capped, "covered_px": covered,
             "strip_px": found.strip_px}  # fmt: skip
    told = {"key": key | {"sha256": found.sha256}, "file": str(found.item.path), "frame": found.item.frame,
            "micrograph": about, "categories": categories, "results": rows}  # fmt: skip
    atomic.write_json(_place(out, found.item, ".json"), told, synced=False)
    return Done(found.item, found.sha256, record, size, table, covered, capped, found.strip_px, False)


def earlier(found: Read, out: Path) -> Done:
    """What was kept of a micrograph."""
    assert found.kept is not None
    about = found.kept["micrograph"]
    stated = about["pixel_size"]
    size = PixelSize(stated["value_nm"], stated["source"], stated["relative_error"], tuple(stated["warnings"]))
    source = None if size.value_nm is None else size.source
    record = ImageRecord(1, Path(found.item.name), about["height"], about["width"], size.value_nm, source)
    table = pd.read_csv(_place(out, found.item, ".csv"), float_precision="round_trip")
    table["left_out"] = table["left_out"].fillna("")
    return Done(
        found.item, found.sha256, record, size, table, about["covered_px"], about["capped"], about["strip_px"], True
    )  # fmt: skip


def results_of(item: Item, out: Path) -> list[dict[str, Any]]:
    """The predictions that were kept of a micrograph."""
    rows: list[dict[str, Any]] = atomic.read_json(_place(out, item, ".json"))["results"]
    return rows


def picture(out: Path, item: Item, suffix: str) -> Path:
    """Where a micrograph with outlines is drawn."""
    return out / PICTURES / f"{item.stem}{suffix}"


@lru_cache(maxsize=4)
def _digest(path: Path, state: tuple[int, int]) -> str:
    """Frames of one file come one after the other: it is read once for all of them."""
    return file_digest(path)


def _kept(out: Path, item: Item) -> dict[str, Any] | None:
    told, table = _place(out, item, ".json"), _place(out, item, ".csv")
    if not (told.is_file() and table.is_file()):
        return None
    try:
        found = atomic.read_json(told)
        read_table(table)
    except (UserError, ValueError):
        return None  # damaged by hand or by a full disk: done again
    whole = isinstance(found, dict) and {"key", "results", "micrograph"} <= set(found)
    return dict(found) if whole else None


def _place(out: Path, item: Item, suffix: str) -> Path:
    return out / FOLDER / f"{item.stem}{suffix}"


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    return found.st_size, found.st_mtime_ns

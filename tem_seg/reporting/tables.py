"""Tables of the report: metrics, size statistics, particles. Values in, cells out; the template draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.core.weighted import mean_and_sd, quantile

UNDEFINED = "–"
AP_COLUMNS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "AP small", "ap_medium": "AP medium",
              "ap_large": "AP large", "ar": "AR"}  # fmt: skip
KINDS = {"segm": "masks", "rotated": "rotated boxes", "bbox": "boxes"}
"""What is compared, by its key in metrics.json."""
SIZES = {"equivalent_diameter": "Equivalent diameter: of the circle with the particle's area.",
         "max_feret": "Length: the long side of the rotated box, which knows no area."}  # fmt: skip
"""Column of particles.csv (without its unit) that stands for the size, the first that is known; what it is."""
WEIGHTED = " Large particles, which the border cuts more often, weigh more (Miles and Lantuéjoul)."
COUNT_COLUMNS = {"score": "score ≥", "precision": "precision", "recall": "recall", "f1": "F1", "accuracy": "accuracy",
                 "tp": "TP", "fp": "FP", "fn": "FN"}  # fmt: skip
WHOLE_IMAGE_COLUMNS = {"image_iou": "image IoU", "instance_iou": "instance IoU", "youden": "Youden's index",
                       "instance_iou_of_truths": "instance IoU, of each annotated"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """What is read (text) and what is sorted by (None: undefined, always last)."""

    text: str
    key: float | str | None

    @property
    def numeric(self) -> bool:
        """Numbers are set right-aligned."""
        return not isinstance(self.key, str)


@dataclass(frozen=True, slots=True)
class Table:
    """caption says n, thresholds and ranges; every row has one cell a column."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {index} has {len(row)} cells for {len(self.columns)} columns")


def cell(value: Any, decimals: int | None = None) -> Cell:
    """Any value → cell. Integers with thousands separators, floats with ``decimals`` (or 4 significant digits).

    >>> cell(1234).text, cell(0.61234, 3).text, cell(float("nan")).text, cell("rod").text
    ('1,234', '0.612', '–', 'rod')
    """
    if value is None or value is pd.NA or (isinstance(value, (float, np.floating)) and not np.isfinite(value)):
        return Cell(UNDEFINED, None)
    if isinstance(value, (bool, np.bool_)):
        return Cell("yes" if value else "no", "yes" if value else "no")
    if isinstance(value, (int, np.integer)):
        return Cell(f"{int(value):,}", float(value))
    if isinstance(value, (float, np.floating)):
        return Cell(f"{value:.{decimals}f}" if decimals is not None else f"{value:.4g}", float(value))
    return Cell(str(value), str(value))


def from_records(
    caption: str, columns: dict[str, str], records: Iterable[tuple[str, dict[str, Any]]], head: str
) -> Table:
    """(row name, values by key) → table; a key that a record lacks is undefined. columns: key → heading."""
    rows = tuple((cell(name), *(cell(record.get(key), 3) for key in columns)) for name, record in records)
    return Table(caption, (head, *columns.values()), rows)


def metric_tables(metrics: dict[str, Any]) -> list[Table]:
    """Tables of metrics.json: AP, AP by class, precision and recall, false alarms; [] where nothing was scored."""
    makers = (_average_precision, _per_class, _at_iou50, _outlines, _whole_image, _false_alarms)
    return [table for make in makers if (table := make(metrics)) is not None]


def _average_precision(metrics: dict[str, Any]) -> Table | None:
    records = [(name, metrics.get(kind)) for kind, name in KINDS.items()]
    for kind, name in KINDS.items():
        at_score = metrics.get(f"{kind}_at_score")
        records.append((f"{name}, score ≥ {at_score['score']:g}" if at_score else name, at_score))
    found = [(name, record) for name, record in records if record]
    if not found:
        return None
    agnostic = " Classes are ignored." if metrics.get("class_agnostic") else ""
    return from_records(
        f"Average precision over IoU 0.50:0.95 (AP), at 0.50 and 0.75, by COCO's size ranges, and average recall. "
        f"n = {_count(metrics, 'n_truths')} particles in {_count(metrics, 'n_images')} micrographs, at most "
        f"{_count(metrics, 'max_instances')} detections each.{agnostic}",
        AP_COLUMNS, found, "on",
    )  # fmt: skip


def _per_class(metrics: dict[str, Any]) -> Table | None:
    kind = headline(metrics)
    per_class = (metrics.get(kind) or {}).get("per_class") or {}
    if not per_class:
        return None
    columns = {"n_truths": "n", "ap": "AP", "ap50": "AP50", "ap75": "AP75"}
    return from_records(f"By class, on {KINDS[kind]}.", columns, per_class.items(), "class")


def headline(metrics: dict[str, Any]) -> str:
    """Which kind of metrics.json the first figures are of: a key of KINDS."""
    return str(metrics.get("headline") or ("segm" if metrics.get("segm") else "bbox"))


def _at_iou50(metrics: dict[str, Any]) -> Table | None:
    scored = metrics.get("at_iou50") or {}
    names = {"fixed": "the papers' threshold", "best": "best F1 on validation"}
    records = [(names[key], scored[key]) for key in names if scored.get(key)]
    if not records:
        return None
    return from_records("One threshold, IoU 0.5. Accuracy is TP / (TP + FP + FN).", COUNT_COLUMNS, records, "threshold")


def _outlines(metrics: dict[str, Any]) -> Table | None:
    found = metrics.get("boundary")
    if not found or not found.get("n"):
        return None
    columns = {
        "n": "n", "iou": "boundary IoU", "f1": "boundary F1", "distance_px": "distance, px", "bias_px": "bias, px",
    }  # fmt: skip
    records = [("all", found), ("diameter above 100 px", found["large"])]
    return from_records(
        f"Outlines of particles found, against the true ones, within {found['width_px']:g} px. Distance: the mean way "
        "from one to the other; bias above 0: predicted too large.", columns, records, "particles",
    )  # fmt: skip


def _whole_image(metrics: dict[str, Any]) -> Table | None:
    found = metrics.get("whole_image")
    if not found:
        return None
    return from_records(
        f"As paper 002's authors define them, at score ≥ {cell(found['score'], 3).text}. Image IoU and Youden's index "
        "(recall + specificity - 1) are of pixels; instance IoU is each predicted particle's best with any annotated "
        "one, to which a missed particle is nothing: the last column starts from the annotated ones.",
        WHOLE_IMAGE_COLUMNS, [(f"mean of {found['n_images']} micrographs", found)], "",
    )  # fmt: skip


def _false_alarms(metrics: dict[str, Any]) -> Table | None:
    alarms = metrics.get("false_positives_per_empty_image")
    if not alarms:
        return None
    columns = {"fixed": "the papers' threshold", "best": "best F1 on validation", "n_images": "empty micrographs"}
    return from_records("False positives per micrograph without particles.", columns, [("mean", alarms)], "")


def _count(metrics: dict[str, Any], key: str) -> str:
    return cell(metrics.get(key)).text


class Sample(NamedTuple):
    """values (N,) and weights (N,) > 0 of particles: what the counting rule of the border gives them, or 1."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def weighted(self) -> bool:
        """Whether some particles stand for more than others."""
        return len(self.weights) > 0 and float(np.ptp(self.weights)) > 1e-9

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """As everywhere (core.weighted.quantile); NaN where it is not known."""
        return [float(value) for value in quantile(self.values, levels, self.weights)]

    def mean_and_sd(self) -> tuple[float, float]:
        """As everywhere (core.weighted.mean_and_sd); NaN where undefined."""
        return mean_and_sd(self.values, self.weights)


def sample(frame: pd.DataFrame | None, column: str) -> Sample:
    """Finite values of a column of particles that do not touch the border; empty where there is no such column."""
    if frame is None or column not in frame:
        return Sample(np.zeros(0), np.zeros(0))
    if "touches_border" in frame:
        frame = frame[~frame["touches_border"].eq(True)]
    found = np.asarray(pd.to_numeric(frame[column]), np.float64)
    weights = np.asarray(frame["weight"], np.float64) if "weight" in frame else np.ones(len(found))
    known = np.isfinite(found)
    return Sample(found[known], weights[known])


def values(frame: pd.DataFrame | None, column: str) -> NDArray[np.float64]:
    """The values of :func:`sample`, each particle as one: what is compared particle by particle."""
    return sample(frame, column).values


def measured_in(frame: pd.DataFrame | None, unit: str) -> pd.DataFrame | None:
    """The particles whose size is known in this unit ("nm" or "px"), be it a length alone."""
    known = [f"{name}_{unit}" for name in SIZES if frame is not None and f"{name}_{unit}" in frame]
    return frame[frame[known].notna().any(axis=1)] if frame is not None and known else None


def size_of(particles: pd.DataFrame, unit: str) -> str:
    """The key of SIZES that these particles have; the equivalent diameter without particles."""
    return next((name for name in SIZES if len(values(particles, f"{name}_{unit}"))), "equivalent_diameter")


def on_border(frame: pd.DataFrame | None) -> int:
    """Number of particles that the border cuts."""
    return int(frame["touches_border"].eq(True).sum()) if frame is not None and "touches_border" in frame else 0


def size_units(*frames: pd.DataFrame | None) -> list[str]:
    """Units in which sizes are known: ["nm"], ["px"], both, or [] for tables without particles."""
    return [unit for unit in ("nm", "px") if any(len(values(f, f"{s}_{unit}")) for f in frames for s in SIZES)]


def size_table(samples: Sequence[tuple[str, Sample]], unit: str, size: str = "equivalent_diameter") -> Table:
    """N, mean, SD, median, 10 % and 90 % of (name, sample), weighted as it is; undefined stays so."""
    columns = ("", "N", f"mean ({unit})", f"SD ({unit})", f"median ({unit})", f"10 % ({unit})", f"90 % ({unit})")
    rows = []
    for name, one in samples:
        found = [*one.mean_and_sd(), *one.quantiles([0.5, 0.1, 0.9])]
        rows.append((cell(name), cell(len(one.values)), *(cell(value) for value in found)))
    return Table(SIZES[size] + (WEIGHTED if any(one.weighted for _, one in samples) else ""), columns, tuple(rows))


def particle_table(particles: pd.DataFrame, most: int = 200) -> Table:
    """The first ``most`` rows, columns without a single value left out, headings with their unit."""
    shown = particles.head(most).dropna(axis="columns", how="all")
    places = [_decimals(shown[name]) for name in shown.columns]
    rows = tuple(
        tuple(cell(value, decimals) for value, decimals in zip(row, places, strict=True))
        for row in shown.itertuples(index=False, name=None)
    )
    total = f"{len(particles):,} particles"
    note = f"First {len(shown):,} of {total}" if len(shown) < len(particles) else total
    return Table(f"{note}; click a heading to sort.", tuple(heading(str(name)) for name in shown.columns), rows)


def _decimals(column: pd.Series) -> int | None:
    """Places that give the column's median four digits, the same in all rows, so that points stand in line."""
    if not pd.api.types.is_float_dtype(column):
        return None
    middle = float(column.abs().median())
    return int(np.clip(3 - np.floor(np.log10(middle)), 0, 4)) if middle > 0 and np.isfinite(middle) else 3


def heading(column: str) -> str:
    """Column name → words and unit.

    >>> heading("min_feret_nm"), heading("area_nm2"), heading("aspect_ratio")
    ('min Feret (nm)', 'area (nm²)', 'aspect ratio')
    """
    units = {"nm2": "nm²", "px2": "px²", "nm": "nm", "px": "px", "deg": "°"}
    words, _, last = column.replace("feret", "Feret").rpartition("_")
    return (f"{words} ({units[last]})" if words and last in units else f"{words} {last}").replace("_", " ").strip()

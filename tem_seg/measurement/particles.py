"""particles.csv: one row a particle, unit in every column name (docs/results-format.md, docs/measurands.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.data.annotations import has_masks
from tem_seg.data.atomic import replacing
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.data.results import NAMED_SHAPE, SHAPE_PROBABILITY
from tem_seg.measurement import contacts, counting
from tem_seg.measurement.counting import Effect, Rules
from tem_seg.measurement.masks import LENGTHS, SHAPES
from tem_seg.measurement.micrograph import Row, mask_of, measure_rows, unit_of
from tem_seg.measurement.runs import runs_of

AROUND = {"nearest_edge": 1, "nearest_centre": 1}
NEIGHBOURS = ("touches_particle", "overlaps", "agglomerate")
GREY = ("grey_mean", "grey_background")
KEYS = ("image_id", "image", "particle", "category", "score")
AGREEMENT = ("agreement", "agreement_iou")
"""What results may say of the looks, or members of an ensemble, that found them."""
CARRIED = ("confidence", *AGREEMENT, "edge_sd_px")
"""What results may say of themselves: confidence and edges once they have been calibrated (evaluation.calibration)."""
NAMED = (NAMED_SHAPE, SHAPE_PROBABILITY)
"""What results say where a classifier has looked at each particle (inference.classify)."""
Rows = Mapping[int, Sequence[Row]]
Pixels = Callable[[ImageRecord], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Counted:
    """particles: those that count. measured: all that were measured, with the same columns. effects: of each rule."""

    particles: pd.DataFrame
    measured: pd.DataFrame
    effects: list[Effect]


def counted(
    dataset: CocoDataset, rows: Rows, rules: Rules, *, min_score: float = 0.0, subpixel: bool = True,
    pixels: Pixels | None = None,
) -> Counted:  # fmt: skip
    """The particles that count by the ``rules``, as :func:`particle_table` measures them, and what each rule did."""
    table = particle_table(dataset, rows, min_score=min_score, rules=rules, subpixel=subpixel, pixels=pixels)
    effects = []
    if rules.aggregated == "split":
        unsplit = replace(rules, aggregated="count")
        whole = particle_table(dataset, rows, min_score=min_score, rules=unsplit, subpixel=subpixel)
        effects.append(counting.effect_of("aggregated", "split", whole, table))
    frames = {image.id: (image.height, image.width) for image in dataset.images}
    left, more = counting.apply(table, rules, frames)
    return Counted(left, table, effects + more)


def particle_table(
    dataset: CocoDataset, rows: Rows, *, min_score: float = 0.0, rules: Rules | None = None, subpixel: bool = True,
    pixels: Pixels | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Measures results or annotations, given by image id (``results.by_image``, ``dataset.annotations``).

    Masks are measured, on their contours where rows carry them and ``subpixel`` says so; where an image's particles
    have none, their rotated boxes (see ``measure_rotated_boxes``). min_score: results below it are left out
    (annotations have no score and stay). Empty masks are no particles. ``particle`` is the place, from 1, in the
    image's list as given. Lengths are in nm where the image's pixel size is known, else in px; a table that mixes both
    has both sets of columns, NaN where not applicable. Calibrated results add ``confidence`` and the length
    ``edge_sd``, those of several looks or models their agreement. pixels: an image's micrograph (H, W), for the columns
    of grey levels. rules: masks of several particles are looked for and split, and neighbours are large enough, as they
    say; all particles stay in the table, with weight 1 (:func:`counted` applies the rest).
    """
    images = [image for image in dataset.images if image.id in rows]
    if unknown := sorted(set(rows) - {image.id for image in images}):
        raise UserError(f"{dataset.path} holds no image with id {', '.join(map(str, unknown[:10]))}")
    rules = rules or Rules()
    tables = [_measure_image(dataset, image, rows[image.id], min_score, rules, subpixel, pixels) for image in images]
    carried = {key for key in (*CARRIED, *NAMED) if any(key in row for image in images for row in rows[image.id])}
    columns = _columns([unit_of(image)[0] for image in images], carried, rules, pixels is not None)
    filled = [table for table in tables if len(table)]
    result = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame({name: [] for name in columns})
    return result.reindex(columns=columns)


def _columns(units: list[str], carried: set[str], rules: Rules, grey: bool) -> list[str]:
    """The table's columns, in order, whether or not there are particles."""
    names = [*LENGTHS, *(["edge_sd"] if "edge_sd_px" in carried else []), *AROUND]
    lengths = [_column(name, unit) for unit in ("nm", "px") if unit in (units or ["px"]) for name in names]
    keys = [*KEYS[:3], *({"split": ["part"], "exclude": ["parts"]}.get(rules.aggregated, [])), *KEYS[3:]]
    keys += [name for name in ("confidence", *AGREEMENT) if name in carried]
    named = [key for key in NAMED if key in carried]
    return [*keys, *lengths, *SHAPES, *named, *NEIGHBOURS, *(GREY if grey else ()), "weight", "pixel_size_nm",
            "pixel_size_source"]  # fmt: skip


def _measure_image(
    dataset: CocoDataset, image: ImageRecord, rows: Sequence[Row], min_score: float, rules: Rules, subpixel: bool,
    pixels: Pixels | None,
) -> pd.DataFrame:  # fmt: skip
    unit, scale = unit_of(image)
    kept = [(place + 1, row) for place, row in enumerate(rows) if row.get("score", np.inf) >= min_score]
    levels = None if pixels is None or not kept else pixels(image)
    owner, measured = measure_rows([row for _, row in kept], image, rules, subpixel=subpixel, pixels=levels)
    own = [kept[index][1] for index in owner.tolist()]
    columns: dict[str, Any] = {
        "image_id": image.id,
        "image": image.path.name,
        "particle": np.array([kept[index][0] for index in owner.tolist()], np.int64),
        "category": [_category(dataset, row, image) for row in own],
        "weight": 1.0,
        "pixel_size_nm": image.pixel_size_nm or np.nan,
        "pixel_size_source": image.pixel_size_source,
    }
    carried = {key: _numbers(key, own) for key in ("score", *CARRIED)}
    columns |= {name: carried[name] for name in ("score", "confidence", *AGREEMENT)}
    columns |= {NAMED_SHAPE: [row.get(NAMED_SHAPE) for row in own]}
    columns |= {SHAPE_PROBABILITY: _numbers(SHAPE_PROBABILITY, own)}
    columns[_column("edge_sd", unit)] = carried["edge_sd_px"] * scale
    powers = LENGTHS | AROUND
    columns |= {_column(name, unit): measured[f"{name}_px"] * scale**power for name, power in powers.items()}
    columns |= {name: values for name, values in measured.items() if name.removesuffix("_px") not in powers}
    table: pd.DataFrame = pd.DataFrame(columns)[measured["area_px"] != 0]  # NaN stays: a box does not know it
    return table


def covered_px(dataset: CocoDataset, rows: Rows, min_score: float = 0.0) -> dict[int, float]:
    """Pixels that lie in at least one mask, by image id; images whose particles have no masks are left out."""
    found = {}
    for image in dataset.images:
        kept = [row for row in rows.get(image.id, ()) if row.get("score", np.inf) >= min_score]
        if has_masks(kept):
            masks = [mask_of(row, image) for row in kept]
            found[image.id] = contacts.covered_px(runs_of(masks, (image.height, image.width)))
    return found


def _numbers(key: str, rows: Sequence[Row]) -> NDArray[np.float64]:
    """A number that rows may carry (N,), NaN where they do not."""
    return np.array([np.nan if row.get(key) is None else row[key] for row in rows], np.float64)


def _column(name: str, unit: str) -> str:
    return f"{name}_nm2" if (name, unit) == ("area", "nm") else f"{name}_{unit}"


def _category(dataset: CocoDataset, row: Row, image: ImageRecord) -> str:
    if row["category_id"] not in dataset.category_ids:
        raise UserError(
            f"a particle in image {image.id} has category {row['category_id']}, which {dataset.path} does not know: "
            f"it has {dataset.category_ids}"
        )
    return dataset.categories[dataset.category_ids.index(row["category_id"])]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a CSV atomically, every figure with all its digits; an undefined one is an empty field."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """Reads a CSV written by :func:`write_table`."""
    if not path.is_file():
        raise UserError(f"no particle table at {path}: run the 'measure' stage first")
    return pd.read_csv(path)

"""particles.csv: one row a particle, unit in every column name (docs/results-format.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Rle
from tem_seg.data.annotations import has_masks, has_rotated_boxes, rotated_boxes_of
from tem_seg.data.atomic import replacing
from tem_seg.data.coco import CocoDataset, ImageRecord, as_rle
from tem_seg.data.rle import encode_crop
from tem_seg.measurement import hull, measurands
from tem_seg.measurement.boxes import measure_rotated_boxes
from tem_seg.measurement.runs import runs_of

LENGTHS = {"area": 2, "equivalent_diameter": 1, "min_feret": 1, "max_feret": 1}
"""Measurands with a unit, and the power of the pixel size that turns them into nm."""
SHAPES = (
    "aspect_ratio", "solidity", "circularity", "orientation_deg", "centroid_x_px", "centroid_y_px", "touches_border",
)  # fmt: skip
KEYS = ("image_id", "image", "particle", "category", "score")
CARRIED = ("confidence", "edge_sd_px")
"""What results may say of themselves once they have been calibrated (evaluation.calibration.applied)."""


def measure_masks(masks: Sequence[Rle], size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """N masks of one frame ``size`` (H, W) → measurand: (N,); lengths in px, NaN for an empty mask (its area is 0).

    Keys: those of LENGTHS with ``_px``, and SHAPES. aspect_ratio = max Feret / min Feret >= 1, whatever the angle;
    solidity = area / number of pixels in the convex hull, in (0, 1].
    """
    runs = runs_of(masks, size)
    area = measurands.area_px(runs)
    hulls = hull.centre_hulls(runs)
    outlines = hull.outlines(hulls)
    min_feret, max_feret = hull.min_feret(outlines), hull.max_feret(outlines)
    x, y = measurands.centroid_px(runs)
    with np.errstate(invalid="ignore"):  # 0 / 0 of an empty mask
        solidity = area / hull.convex_area_px(hulls)
    return {
        "area_px": area,
        "equivalent_diameter_px": measurands.equivalent_diameter(area),
        "min_feret_px": min_feret,
        "max_feret_px": max_feret,
        "aspect_ratio": max_feret / min_feret,
        "solidity": solidity,
        "circularity": measurands.circularity(area, measurands.perimeter_px(runs)),
        "orientation_deg": measurands.orientation_deg(runs),
        "centroid_x_px": x,
        "centroid_y_px": y,
        "touches_border": measurands.touches_border(runs),
    }


def measure_mask(crop: NDArray[np.bool_], x0: int, y0: int, size: tuple[int, int]) -> dict[str, Any]:
    """One mask, cut out as crop (h, w) bool with its top-left pixel at (x0, y0) of a frame (H, W)."""
    return {name: values[0].item() for name, values in measure_masks([encode_crop(crop, x0, y0, size)], size).items()}


def particle_table(
    dataset: CocoDataset, rows: Mapping[int, Sequence[Mapping[str, Any]]], *, min_score: float = 0.0,
    exclude_border: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Measures results or annotations, given by image id (``results.by_image``, ``dataset.annotations``).

    Masks are measured; where an image's particles have none, their rotated boxes (see ``measure_rotated_boxes``).
    min_score: results below it are left out (annotations have no score and stay). exclude_border: so are particles
    that touch the image's border. Empty masks are no particles. ``particle`` is the place, from 1, in the image's
    list as given. Lengths are in nm where the image's pixel size is known, else in px; a table that mixes both has
    both sets of columns, NaN where not applicable. Calibrated results add ``confidence`` and the length ``edge_sd``.
    """
    images = [image for image in dataset.images if image.id in rows]
    if unknown := sorted(set(rows) - {image.id for image in images}):
        raise UserError(f"{dataset.path} holds no image with id {', '.join(map(str, unknown[:10]))}")
    tables = [_measure_image(dataset, image, rows[image.id], min_score) for image in images]
    known = [image.pixel_size_nm is not None for image in images] or [False]
    units = [unit for unit, used in (("nm", any(known)), ("px", not all(known))) if used]
    carried = {key for key in CARRIED if any(key in row for image in images for row in rows[image.id])}
    names = [*LENGTHS, *(["edge_sd"] if "edge_sd_px" in carried else [])]
    lengths = [_column(name, unit) for unit in units for name in names]
    keys = [*KEYS, *(["confidence"] if "confidence" in carried else [])]
    columns = [*keys, *lengths, *SHAPES, "pixel_size_nm", "pixel_size_source"]
    filled = [table for table in tables if len(table)]
    result = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame({name: [] for name in columns})
    if exclude_border and filled:
        result = result[~result["touches_border"]].reset_index(drop=True)
    return result.reindex(columns=columns)


def _measure_image(
    dataset: CocoDataset, image: ImageRecord, rows: Sequence[Mapping[str, Any]], min_score: float
) -> pd.DataFrame:
    kept = [(place + 1, row) for place, row in enumerate(rows) if row.get("score", np.inf) >= min_score]
    measured = _measured([row for _, row in kept], image)
    columns: dict[str, Any] = {
        "image_id": image.id,
        "image": image.path.name,
        "particle": np.array([place for place, _ in kept], np.int64),
        "category": [_category(dataset, row, image) for _, row in kept],
    }
    carried = {key: _numbers(key, [row for _, row in kept]) for key in ("score", *CARRIED)}
    unit, scale = ("px", 1.0) if image.pixel_size_nm is None else ("nm", image.pixel_size_nm)
    columns |= {"score": carried["score"], "confidence": carried["confidence"]}
    columns[_column("edge_sd", unit)] = carried["edge_sd_px"] * scale
    columns |= {_column(name, unit): measured[f"{name}_px"] * scale**power for name, power in LENGTHS.items()}
    columns |= {name: measured[name] for name in SHAPES}
    columns |= {"pixel_size_nm": image.pixel_size_nm or np.nan, "pixel_size_source": image.pixel_size_source}
    table: pd.DataFrame = pd.DataFrame(columns)[measured["area_px"] != 0]  # NaN stays: a box does not know it
    return table


def _numbers(key: str, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """A number that rows may carry (N,), NaN where they do not."""
    return np.array([np.nan if row.get(key) is None else row[key] for row in rows], np.float64)


def _measured(rows: Sequence[Mapping[str, Any]], image: ImageRecord) -> dict[str, NDArray[Any]]:
    size = (image.height, image.width)
    if has_masks(rows) or not has_rotated_boxes(rows):
        return measure_masks([_mask(row, image) for row in rows], size)
    return measure_rotated_boxes(rotated_boxes_of(rows), size)


def _column(name: str, unit: str) -> str:
    return f"{name}_nm2" if (name, unit) == ("area", "nm") else f"{name}_{unit}"


def _mask(row: Mapping[str, Any], image: ImageRecord) -> Rle:
    if row.get("segmentation") is None:
        raise UserError(
            f"a particle in image {image.id} ({image.path.name}) has no mask and no rotated box: an upright box does "
            "not know its size, so use a model with masks or rotated boxes, or leave out the 'measure' stage"
        )
    mask = as_rle(row["segmentation"], (image.height, image.width))
    if tuple(mask["size"]) != (image.height, image.width):
        raise UserError(
            f"a mask in image {image.id} ({image.path.name}) has size {mask['size']}, the image "
            f"{[image.height, image.width]}: were the predictions made on another version of this dataset?"
        )
    return mask


def _category(dataset: CocoDataset, row: Mapping[str, Any], image: ImageRecord) -> str:
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

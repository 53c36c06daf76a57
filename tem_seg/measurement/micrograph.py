"""All particles of one micrograph: outlines, neighbours, grey levels, each a column (N,), lengths in px."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import rotated_boxes_corners
from tem_seg.core.types import Rle
from tem_seg.data.annotations import has_masks, has_rotated_boxes, rotated_boxes_of
from tem_seg.data.coco import ImageRecord, as_rle
from tem_seg.measurement import contacts, intensity, measurands
from tem_seg.measurement.boxes import measure_rotated_boxes
from tem_seg.measurement.contacts import Contacts
from tem_seg.measurement.counting import Rules
from tem_seg.measurement.masks import Measured, measure_runs
from tem_seg.measurement.runs import runs_of

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outlines:
    """What is measured of a micrograph: masks of one frame, the rows they come from, contours where they are known.

    row (N,): place in the list of rows. part (N,): 1 for a whole mask, else its parts' numbers from 1; parts (N,): how
    many particles the mask of the row seems to hold.
    """

    masks: list[Rle]
    contours: list[Any]
    row: NDArray[np.int64]
    part: NDArray[np.int64]
    parts: NDArray[np.int64]


def measure_rows(
    rows: Sequence[Row], image: ImageRecord, rules: Rules, *, subpixel: bool, pixels: NDArray[np.float32] | None
) -> tuple[NDArray[np.int64], Measured]:
    """Rows of one image → the row (N,) that each particle comes from, and what is measured of it.

    Masks are measured, or where there are none rotated boxes. Neighbours are particles of at least
    ``rules.min_size_px``.
    """
    size = (image.height, image.width)
    if not has_masks(rows) and has_rotated_boxes(rows):
        found = measure_rotated_boxes(rotated_boxes_of(rows), size, rules.border_px)
        kept = ~(found["max_feret_px"] < rules.min_size_px)
        corners = rotated_boxes_corners(rotated_boxes_of(rows))[kept]
        return np.arange(len(rows)), found | _among(kept, found, *contacts.of_polygons(corners))
    outlines = _outlines(rows, image, rules, subpixel)
    runs = runs_of(outlines.masks, size)
    found = measure_runs(runs, outlines.contours)
    found["touches_border"] = measurands.touches_border(runs, rules.border_px)
    kept = (found["area_px"] > 0) & ~(found["equivalent_diameter_px"] < rules.min_size_px)
    real = runs.only(kept)
    touching = contacts.of_runs(real)
    found |= _among(kept, found, touching, contacts.nearest_edge(real, touching))
    if pixels is not None:
        found["grey_mean"] = intensity.mean_inside(runs, pixels)
        found["grey_background"] = intensity.background(runs, pixels)
    return outlines.row, found | {"part": outlines.part, "parts": outlines.parts}


def _outlines(rows: Sequence[Row], image: ImageRecord, rules: Rules, subpixel: bool) -> Outlines:
    masks = [mask_of(row, image) for row in rows]
    contours = [row.get("contour") if subpixel else None for row in rows]
    place, ones = np.arange(len(rows)), np.ones(len(rows), np.int64)
    if not rules.looks_for_necks:
        return Outlines(masks, contours, place, ones, ones)
    from tem_seg.measurement.splitting import split_mask  # a quarter of a second of imports, and few ask for it

    found = [split_mask(mask, rules.neck) for mask in masks]
    parts = np.array([len(each) for each in found], np.int64)
    if rules.aggregated != "split":
        return Outlines(masks, contours, place, ones, parts)
    row = np.repeat(place, parts)
    number = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts) + 1
    lines = [contours[index] if parts[index] == 1 else None for index in row]  # a contour is the whole mask's
    return Outlines([mask for each in found for mask in each], lines, row, number, parts[row])


def _among(kept: NDArray[np.bool_], found: Measured, touching: Contacts, nearest_edge: NDArray[np.float64]) -> Measured:
    """Columns (N,) on the neighbours of particles, worked out among the ``kept`` ones and undefined for the others."""
    points = np.stack([found["centroid_x_px"], found["centroid_y_px"]], axis=1)[kept]
    edge, centre = np.full(len(kept), np.nan), np.full(len(kept), np.nan)
    edge[kept], centre[kept] = nearest_edge, contacts.nearest_centre(points)
    flags = np.zeros((2, len(kept)), bool)
    flags[:, kept] = touching.touches, touching.overlaps
    agglomerate = pd.array([pd.NA] * len(kept), "Int64")
    agglomerate[kept] = touching.agglomerates()
    return {
        "nearest_edge_px": edge, "nearest_centre_px": centre, "touches_particle": flags[0], "overlaps": flags[1],
        "agglomerate": agglomerate,
    }  # fmt: skip


def mask_of(row: Row, image: ImageRecord) -> Rle:
    """A row's mask; raises UserError where it has none or one of another frame."""
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


def unit_of(image: ImageRecord) -> tuple[str, float]:
    """("nm", nm a pixel) or, without a calibration, ("px", 1). Raises UserError for what is no pixel size."""
    size: Any = image.pixel_size_nm
    if size is None:
        return "px", 1.0
    where = f"image {image.id} ({image.path.name})"
    if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str):
        raise UserError(
            f"{where} has pixel_size_nm = {list(size)}: sizes are measured on square pixels, which have one; resample "
            "the micrograph to square pixels"
        )
    if isinstance(size, bool | str) or not (math.isfinite(size) and size > 0):
        raise UserError(
            f"{where} has pixel_size_nm = {size!r}: expected a positive number of nm, or nothing at all where it is "
            "not known (sizes are then in px)"
        )
    return "nm", float(size)

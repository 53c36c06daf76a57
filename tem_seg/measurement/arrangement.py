"""How the particles of a set of micrographs lie, from their table: density, cover, agglomerates, Ripley's L."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.data.coco import ImageRecord
from tem_seg.measurement.counting import in_px, inside_share
from tem_seg.measurement.micrograph import unit_of
from tem_seg.measurement.spatial import Pattern, clark_evans, ripley

FloatArray = NDArray[np.float64]
MANY = 2000
SIMULATIONS, FEWER = 199, 39
"""Envelopes of random points; FEWER (enough for a test at 5 %) above MANY particles, where each takes long."""


def arrangement(
    table: pd.DataFrame, images: Sequence[ImageRecord], covered_px: dict[int, float], rng: np.random.Generator,
    border_px: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """{"nm": …, "px": …} for calibrated and uncalibrated micrographs, those that there are (docs/results-format.md).

    table: all measured particles, border ones too. covered_px: pixels in at least one mask by image id, of those whose
    particles have masks. border_px: of the counting rules by which particles touch the border.
    """
    table = table[table["agglomerate"].notna()]
    grouped = {unit: [image for image in images if unit_of(image)[0] == unit] for unit in ("nm", "px")}
    return {unit: _of_unit(table, chosen, covered_px, rng, border_px) for unit, chosen in grouped.items() if chosen}


def _of_unit(
    table: pd.DataFrame, images: Sequence[ImageRecord], covered_px: dict[int, float], rng: np.random.Generator,
    border_px: int,
) -> dict[str, Any]:  # fmt: skip
    table = table[table["image_id"].isin([image.id for image in images])]
    patterns = [_pattern(table[table["image_id"] == image.id], image) for image in images]
    field = sum(pattern.extent[0] * pattern.extent[1] for pattern in patterns)
    found = ripley(patterns, rng, simulations=SIMULATIONS if len(table) <= MANY else FEWER)
    index = clark_evans(patterns)
    return {
        "n_images": len(images),
        "n_particles": len(table),
        "field": field,
        "number_density": float(inside_counts(table, images, border_px).sum() / field),
        "area_fraction": _cover(images, covered_px),
        "agglomerates": agglomerate_figures(agglomerate_table(table), unit_of(images[0])[0]),
        "clark_evans": None if index is None else {"index": index.index, "p": index.p, "n": index.n},
        "ripley": None if found is None else {
            "r": found.r.tolist(), "l": found.l_of_r.tolist(), "low": found.low.tolist(), "high": found.high.tolist(),
            "p": found.p, "clustered": found.clustered,
            "simulations": SIMULATIONS if len(table) <= MANY else FEWER,
        },
    }  # fmt: skip


def inside_counts(table: pd.DataFrame, images: Sequence[ImageRecord], border_px: int = 0) -> FloatArray:
    """What each particle (N,) counts for in its frame: 0 on the border, else its Miles-Lantuéjoul weight.

    Their sum over the field is an unbiased number density: border particles belong to the neighbouring field as well.
    """
    frames = {image.id: (image.height, image.width) for image in images}
    inside = ~table["touches_border"].eq(True).to_numpy(bool)
    return np.where(inside, 1.0 / inside_share(table, frames, border_px), 0.0)


def _pattern(table: pd.DataFrame, image: ImageRecord) -> Pattern:
    scale = unit_of(image)[1]
    points = table[["centroid_x_px", "centroid_y_px"]].to_numpy(np.float64).reshape(-1, 2)
    there = ((points >= 0) & (points <= (image.width, image.height))).all(axis=1)  # a box may have its centre outside
    return Pattern(points[there] * scale, (image.width * scale, image.height * scale))


def _cover(images: Sequence[ImageRecord], covered_px: dict[int, float]) -> float | None:
    known = [image for image in images if image.id in covered_px]
    if len(known) < len(images):
        return None
    return sum(covered_px[image.id] for image in known) / sum(image.height * image.width for image in known)


def agglomerate_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row an agglomerate, single particles too: image_id, agglomerate, particles, touches_border, and with masks
    area and gyration_radius in nm² and nm (or px).

    The radius of gyration about the centre of mass of its projection: Rg² = Σ A (d² + g²) / Σ A, d a particle's
    distance from the centre, g its own radius of gyration, g² = (major² + minor²) / 16 of the fitted ellipse.
    Pixels that particles share count for each.
    """
    area = in_px(table, "equivalent_diameter") ** 2 * np.pi / 4
    own = (in_px(table, "ellipse_major") ** 2 + in_px(table, "ellipse_minor") ** 2) / 16
    x, y = table["centroid_x_px"].to_numpy(np.float64), table["centroid_y_px"].to_numpy(np.float64)
    scale = table["pixel_size_nm"].astype(np.float64)
    parts = pd.DataFrame({
        "image_id": table["image_id"], "agglomerate": table["agglomerate"], "particles": 1, "scale": scale,
        "touches_border": table["touches_border"].eq(True), "area": area, "x": area * x, "y": area * y,
        "squares": area * (x**2 + y**2 + own),
    })  # fmt: skip
    keys = ["image_id", "agglomerate"]
    groups = parts.groupby(keys)
    whole = groups.agg({"particles": "sum", "scale": "first", "touches_border": "any"})
    whole = whole.join(groups[["area", "x", "y", "squares"]].sum(min_count=1)).reset_index()
    spread = whole["squares"] / whole["area"] - (whole["x"] ** 2 + whole["y"] ** 2) / whole["area"] ** 2
    result = whole[[*keys, "particles", "touches_border"]].copy()
    known = whole["scale"].notna()
    for unit, chosen, size in (("nm", known, whole["scale"]), ("px", ~known, 1.0)):
        if chosen.any():
            result["area_nm2" if unit == "nm" else "area_px"] = (whole["area"] * size**2).where(chosen)
            result[f"gyration_radius_{unit}"] = (np.sqrt(spread.clip(lower=0)) * size).where(chosen)
    return result


def agglomerate_figures(agglomerates: pd.DataFrame, unit: str) -> dict[str, Any]:
    """Of :func:`agglomerate_table`: how many particles lie alone, how many agglomerates (of two or more) there are, how
    large they are; undefined figures are None."""
    several = agglomerates[agglomerates["particles"] > 1]
    radii = several.get(f"gyration_radius_{unit}", pd.Series(dtype=float)).dropna()
    sizes = several["particles"].value_counts().sort_index()
    total = int(agglomerates["particles"].sum())
    return {
        "single_particles": int((agglomerates["particles"] == 1).sum()),
        "n": len(several),
        "share_of_particles": float(several["particles"].sum() / total) if total else None,
        "mean_particles": float(several["particles"].mean()) if len(several) else None,
        "largest_particles": int(several["particles"].max()) if len(several) else None,
        "by_particles": {str(size): int(count) for size, count in sizes.items()},
        "median_gyration_radius": float(radii.median()) if len(radii) else None,
        "largest_gyration_radius": float(radii.max()) if len(radii) else None,
    }

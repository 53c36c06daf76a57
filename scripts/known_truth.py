"""Sizes of particles whose true sizes are known: what measurement alone, and what segmentation adds to its errors.

    python scripts/known_truth.py                                   all recipes, 40 micrographs of 1024² each
    python scripts/known_truth.py --recipes gold_aunp --images 4 --into outputs/known_truth

Writes known_truth.csv into docs/results (or --into). The truth is each particle's outline as it was drawn, a polygon
in nm, before any pixel. A row a recipe, masks and measurand:

- ``masks`` given: the dataset's, of whole particles; predicted: what ``tem-seg analyze`` finds (starter weights).
- d10, d50, d90: measured over true, less 1, in %, of the same whole particles (predicted: those with IoU >= 0.5);
  bias_px, with its standard error, and sd_px: measured less true of each of them.
- all_d10, all_d50, all_d90: the sample's. True: particles of at least 5 px with their centroid in the frame. Measured:
  without those that the frame cuts, the others weighted, as ``tem-seg analyze`` does; predicted: missed and false, too.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import shapely
from bench_generation import job

from tem_seg.analysis.segment import Segmenter, load
from tem_seg.analysis.settings import Settings
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Scene
from tem_seg.core.weighted import quantile
from tem_seg.data import coco
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import read_micrograph
from tem_seg.evaluation.matching import match_dataset
from tem_seg.generation.dataset import Job, build_dataset
from tem_seg.generation.truth import true_sizes
from tem_seg.measurement.particles import counted

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ("gold_aunp", "polylatex_silica", "vesicles", "nanorods_haadf", "sem_agglomerates", "catalyst_haadf")
"""Recipes that draw outlines; the others paste or combine."""
MEASURANDS = ("equivalent_diameter", "min_feret")
LEVELS = {"d10": 0.1, "d50": 0.5, "d90": 0.9}
RULES = Settings().rules
FIELDS = ("recipe", "masks", "measurand", "images", "true_particles", "measured_particles", "true_d50_nm",
          "true_d50_px", "pairs", "bias_px", "bias_se_px", "sd_px", *(f"{name}_percent" for name in LEVELS),
          *(f"all_{name}_percent" for name in LEVELS))  # fmt: skip
Rows = dict[int, list[dict[str, Any]]]
SIZE_PX = 1024


def drawn(made: Job, dataset: CocoDataset) -> pd.DataFrame:
    """True sizes in nm of the particles with their centroid in the frame that can be seen at all: recipes draw the same
    scene from the same random numbers again."""
    found = []
    for index, image in enumerate(dataset.images):
        scene = made.recipe.draw(child_rng(made.seed, "test", index), made.image_size)
        assert isinstance(scene, Scene), "a recipe of RECIPES"
        frame = shapely.box(0, 0, *scene.field_of_view_nm[::-1])
        seen = {tuple(entry[f"true_{name}_nm"] for name in MEASURANDS) for entry in dataset.annotations[image.id]}
        for particle in scene.particles:
            sizes = true_sizes(particle)
            own = tuple(sizes[f"true_{name}_nm"] for name in MEASURANDS)
            inside = frame.contains(shapely.Polygon(particle.outline_nm).centroid)
            if own in seen and inside and own[0] >= RULES.min_size_px * image.pixel_size_nm:
                found.append((*own, image.pixel_size_nm))
    return pd.DataFrame(found, columns=[*MEASURANDS, "pixel_size_nm"])


def whole(dataset: CocoDataset) -> Rows:
    """Annotations with the masks of whole particles, also where others lie over them."""
    return {
        image: [entry | {"segmentation": entry.get("full_segmentation", entry["segmentation"])} for entry in entries]
        for image, entries in dataset.annotations.items()
    }


def predicted(dataset: CocoDataset, segmenter: Segmenter) -> Rows:
    """What the starter weights find, from the score on at which it counts."""
    found: Rows = {}
    for image in dataset.images:
        rows, _ = segmenter(read_micrograph(image.path).pixels)
        found[image.id] = [row | {"image_id": image.id} for row in rows if row["score"] >= segmenter.min_score]
    return found


def pairs_of(dataset: CocoDataset, given: Rows, rows: Rows, masks: str) -> dict[tuple[int, int], dict[str, Any]]:
    """(image, place from 1 among its rows, in descending score) → the annotation of the same particle."""
    if masks == "given":
        return {(i, place): entry for i, entries in given.items() for place, entry in enumerate(entries, start=1)}
    one_class = {image: [row | {"category_id": 1} for row in each] for image, each in rows.items()}
    matchings = match_dataset(dataset, [row for each in one_class.values() for row in each], class_agnostic=True)
    found = {}
    for image, matching in matchings.items():
        for position, truth in zip(matching.positions.tolist(), matching.matched.tolist(), strict=True):
            if truth >= 0:
                found[image, position + 1] = given[image][truth]
    return found


def figures(recipe: str, images: int, folder: Path, segmenter: Segmenter | None) -> Iterator[dict[str, Any]]:
    """Rows of one recipe; segmenter None: masks given alone."""
    made = job(recipe, SIZE_PX, folder, hundred=False)
    build_dataset(folder / "set", made.recipe, made.imaging, {"test": images}, made.image_size, made.seed)
    dataset = coco.read(folder / "set" / "test" / "dataset.json")
    truth, given = drawn(made, dataset), whole(dataset)
    sets = {"given": given} | ({"predicted": predicted(dataset, segmenter)} if segmenter else {})
    for masks, rows in sets.items():
        table = counted(dataset, rows, RULES).particles
        same = pairs_of(dataset, given, rows, masks)
        truths = [same.get(key) for key in zip(table["image_id"], table["particle"], strict=True)]
        for name in MEASURANDS:
            sizes, true = table[f"{name}_nm"].to_numpy(), truth[name].to_numpy()
            known = np.array([np.nan if entry is None else entry[f"true_{name}_nm"] for entry in truths], np.float64)
            paired = np.isfinite(known)
            less = ((sizes - known) / table["pixel_size_nm"].to_numpy())[paired]
            yield {
                "recipe": recipe, "masks": masks, "measurand": name, "images": images, "true_particles": len(true),
                "measured_particles": len(table), "true_d50_nm": round(float(np.median(true)), 3),
                "true_d50_px": round(float(np.median(true / truth["pixel_size_nm"])), 1),
                "pairs": len(less), "bias_px": round(float(less.mean()), 3),
                "bias_se_px": round(float(less.std(ddof=1) / np.sqrt(len(less))), 3),
                "sd_px": round(float(less.std(ddof=1)), 3),
                **off("", sizes[paired], known[paired], None),
                **off("all_", sizes, true, table["weight"]),
            }  # fmt: skip


def off(prefix: str, sizes: Any, true: Any, weights: Any) -> dict[str, float]:
    """Quantiles of sizes (N,), weighted, over those of the true ones (M,), less 1, in %."""
    levels = list(LEVELS.values())
    ratios = quantile(sizes, levels, weights) / quantile(true, levels)
    return {f"{prefix}{name}_percent": round(100 * (ratio - 1), 2) for name, ratio in zip(LEVELS, ratios, strict=True)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--given-alone", action="store_true", help="no predictions")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "results")
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    segmenter = None if args.given_alone else load("starter")
    rows: list[dict[str, Any]] = []
    for recipe in args.recipes:
        with TemporaryDirectory() as folder:
            for row in figures(recipe, args.images, Path(folder), segmenter):
                rows.append(row)
                print("  ".join(str(value) for value in row.values()), flush=True)
    with (args.into / "known_truth.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

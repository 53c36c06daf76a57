"""How real a recipe's micrographs look: next to real ones in a picture, and in figures.

    python scripts/realism.py gold_aunp --out outputs/gold.png              figures, and 8 synthetic beside 8 real ones
    python scripts/realism.py gold_aunp --out outputs/gold.png --shuffle    mixed: guess, then see gold.key.txt
    python scripts/realism.py my_experiment --real '../shared/data/my_micrographs/*.tif' --no-table

Appends a row to docs/results/realism.csv, of which docs/generation.md says what the columns mean. Pictures hold real
micrographs: look at them, never commit them.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import bench_common
import cv2
import numpy as np
import realism_measures as measures
import result_table
from realism_measures import Image
from realism_sources import REAL, EmpsImages, Folder, Looked, union

from tem_seg.core import provenance
from tem_seg.core.errors import UserError, user_errors_exit
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.render import GENERATOR_VERSION
from tem_seg.generation.stream import RecipeStream
from tem_seg.stages import common

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "results" / "realism.csv"
MOST, LEAST_SYNTHETIC, CROPS = 60, 24, 240
"""Micrographs of a kind, at most; synthetic ones, at least; crops of a kind, about."""
CELL_PX, GAP_PX = 460, 8


def _evenly(found: list[Looked], most: int) -> list[Looked]:
    return [found[int((k + 0.5) * len(found) / most)] for k in range(most)] if len(found) > most else found


def synthetic(stream: RecipeStream, count: int) -> list[Looked]:
    """``count`` micrographs of the stream; of videos a frame of each of the first ``count`` sequences."""
    frames = int(getattr(stream.recipe, "frames", 1))
    found = []
    for k in range(count):
        drawn = stream.drawn(k * frames + 7 * k % frames)
        pixels, entries = stream.seen(drawn)
        masks = [entry["segmentation"] for entry in entries]
        found.append(Looked(pixels, union(masks, pixels.shape), str(drawn.keys.get("group_id", k))))
    return found


def without_overlays(stream: RecipeStream) -> RecipeStream:
    """The same micrographs without what is written over them: every step has a randomness of its own."""
    kept = {name: step for name, step in stream.imaging.steps.items() if not _is_overlay(step)}
    return replace(stream, imaging=Imaging(stream.imaging.modality, stream.imaging.contrast, kept))


def _is_overlay(step: Any) -> bool:
    return type(step).__module__ == "tem_seg.generation.microscope.overlays"


def figures(real: list[Looked], drawn: list[Looked], plain: list[Looked], seed: int) -> dict[str, Any]:
    """The row's figures. plain: the drawn micrographs without overlays."""
    rng = np.random.default_rng(seed)
    sets = [_crops(looked, rng) for looked in (real, drawn)]
    bare = [_crops(looked, rng, clean=True) for looked in (real, plain)]
    apart = measures.separation(*sets, rng)
    apart_bare = measures.separation(*bare, rng)
    halves = list(measures.halves(sets[0], rng))
    return {
        "real_images": len(real), "synthetic_images": len(drawn), "crop_px": measures.CROP_PX,
        "real_crops": len(sets[0]), "synthetic_crops": len(sets[1]), "auc": apart.auc, "auc_sd": apart.sd,
        "auc_no_overlays": apart_bare.auc, "auc_no_overlays_sd": apart_bare.sd,
        "spectrum_distance": measures.spectrum_distance(*sets),
        "spectrum_real_halves": _mean(measures.spectrum_distance(*pair) for pair in halves),
        "histogram_distance": measures.histogram_distance(*sets),
        "histogram_real_halves": _mean(measures.histogram_distance(*pair) for pair in halves),
        "tells": "; ".join(apart_bare.tells or apart.tells),
    }  # fmt: skip


def _mean(values: Iterator[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")


def _crops(looked: list[Looked], rng: np.random.Generator, clean: bool = False) -> measures.Set:
    avoid = [measures.overlay_px(one.pixels, one.particles) for one in looked] if clean else None
    each = int(np.clip(CROPS / len(looked), 6, 40))
    return measures.crops_of([one.pixels for one in looked], [one.group for one in looked], each, rng, avoid)


# -------------------------------------------------------------------------------------------------------- picture


def picture(real: list[Looked], drawn: list[Looked], shuffle: np.random.Generator | None) -> tuple[Image, list[str]]:
    """Four rows of four: synthetic left, real right; or mixed, with what each is, row by row."""
    cells: list[tuple[str, Looked] | None] = []
    for row in range(4):
        for kind, found in (("synthetic", _evenly(drawn, 8)), ("real", _evenly(real, 8))):
            part = found[2 * row : 2 * row + 2]
            cells += [*((kind, one) for one in part), *[None] * (2 - len(part))]
    if shuffle is not None:
        some = [cell for cell in cells if cell]
        cells = [some[k] for k in shuffle.permutation(len(some))]
    step = CELL_PX + GAP_PX
    canvas = np.ones((-(-len(cells) // 4) * step + GAP_PX, 4 * step + GAP_PX), np.float32)
    for place, cell in enumerate(cells):
        y, x = (GAP_PX + part * step for part in divmod(place, 4))
        if cell:
            canvas[y : y + CELL_PX, x : x + CELL_PX] = _square(cell[1].pixels)
    return canvas, [cell[0] for cell in cells if cell]


def _square(pixels: Image) -> Image:
    """The middle, at most 512 px of it: the scale at which the figures are taken."""
    side = min(512, *pixels.shape)
    y, x = ((length - side) // 2 for length in pixels.shape)
    part = pixels[y : y + side, x : x + side]
    return np.asarray(cv2.resize(part, (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA), np.float32)


def save_picture(path: Path, real: list[Looked], drawn: list[Looked], shuffle: np.random.Generator | None) -> None:
    """Writes the picture, and beside a mixed one its key."""
    canvas, kinds = picture(real, drawn, shuffle)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.rint(canvas * 255).astype(np.uint8))[1].tobytes())
    rows = iter(f"{number}: {kind}" for number, kind in enumerate(kinds, start=1))
    if shuffle is not None:
        lines = ["   ".join(islice(rows, 4)) for _ in range(-(-len(kinds) // 4))]
        path.with_suffix(".key.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


# ----------------------------------------------------------------------------------------------------------- main


def append(table: Path, row: dict[str, Any]) -> None:
    """One more line, figures with four digits. Raises UserError for a table with other columns."""
    written = {key: f"{value:.4f}" if isinstance(value, float) else str(value) for key, value in row.items()}
    if table.is_file() and table.read_text(encoding="utf-8").splitlines()[0] != ",".join(row):
        raise UserError(f"{table} has other columns than {','.join(row)}: move it away, or give --no-table")
    result_table.append(table, list(row), written)


def _about(experiment: str, source: EmpsImages | Folder) -> dict[str, Any]:
    git = provenance.git_state(ROOT)
    commit = (git["commit"] or "none")[:12] + ("+changes" if git["diff"] else "")
    return {"date": str(date.today()), "commit": commit, "generator_version": GENERATOR_VERSION,
            "experiment": experiment, "real": str(source)}  # fmt: skip


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one experiment; writes what was asked for."""
    source = REAL.get(options.experiment) if options.real is None else Folder(options.real)
    if source is None:
        raise UserError(f"no real micrographs are known for {options.experiment} ({', '.join(REAL)}): give --real")
    if options.out and options.out.suffix not in (".png", ".jpg"):
        raise UserError(f"--out {options.out}: give the name of a .png or .jpg file")
    stream = common.stream(bench_common.config(*options.overrides, experiment=options.experiment))
    found = source(Path("/") if options.real and Path(options.real).is_absolute() else options.data)
    real = _evenly(found, options.images)
    count = max(len(real), min(LEAST_SYNTHETIC, options.images))
    drawn, plain = synthetic(stream, count), synthetic(without_overlays(stream), count)
    if options.out:
        save_picture(options.out, real, drawn, np.random.default_rng(options.seed) if options.shuffle else None)
    row = _about(options.experiment, source) | figures(real, drawn, plain, options.seed)
    if not options.no_table:
        append(options.table, row)
    return row


def main() -> None:
    """Prints a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help=f"with known real micrographs: {', '.join(REAL)}")
    parser.add_argument("overrides", nargs="*", help="of the configuration, e.g. recipe.crystalline=[0,0]")
    parser.add_argument("--real", metavar="GLOB", help="files to compare with, below --data or absolute")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TEM_SEG_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--out", type=Path, metavar="FILE", help="picture of 8 synthetic beside 8 real micrographs")
    parser.add_argument("--shuffle", action="store_true", help="mixed, with a key beside it")
    parser.add_argument("--images", type=int, default=MOST, help="of each kind, at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of crops, folds and order (default: %(default)s)")
    parser.add_argument("--table", type=Path, default=TABLE, help="(default: docs/results/realism.csv)")
    parser.add_argument("--no-table", action="store_true", help="print only")
    warnings.filterwarnings("ignore")
    with user_errors_exit("realism"):
        row = run(parser.parse_args())
    for key, value in row.items():
        print(f"{key}: {value:.3f}" if isinstance(value, float) else f"{key}: {value}")


if __name__ == "__main__":
    main()

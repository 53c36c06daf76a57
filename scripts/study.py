"""Which training data is worth what on real micrographs: trains every row of the study and appends it to a table.

    python scripts/study.py                           every row that is not in docs/results/emps_spheres.csv yet
    python scripts/study.py --rows real cut_paste --images 5 --seeds 0
    python scripts/study.py --explore --into outputs/tried.csv seed=7    validation part only, with changed values

Rows: synthetic (i), overlay (ii), real (iii), cut_paste (iv); what each is: conf/experiment/emps_spheres_<row>.yaml.
A row's key is its name, number of real micrographs, seed, steps, and a digest of its configuration and
GENERATOR_VERSION: a changed recipe is a new row.
Choices are made on the validation part (--explore trains and never reads the test split).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "results" / "emps_spheres.csv"
SEEDS = {
    ("synthetic", 0): 3, ("overlay", 0): 3,
    ("real", 5): 3, ("cut_paste", 5): 3, ("real", 30): 3, ("cut_paste", 30): 3,
    ("real", 10): 1, ("cut_paste", 10): 1, ("real", 20): 1, ("cut_paste", 20): 1,
}  # fmt: skip
"""Trainings of each row: three where the spread matters."""
FIELDS = (
    "row", "real_images", "seed", "steps", "digest", "val_ap", "val_ap50", "val_f1", "test_ap", "test_ap50", "test_f1",
    "minutes", "commit", "date",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One training."""

    name: str
    real_images: int
    seed: int

    def overrides(self) -> list[str]:
        """What the row is on the command line."""
        found = [
            f"experiment=emps_spheres_{self.name}",
            "profile=study",
            "model.backend=torchvision",
            f"seed={self.seed}",
        ]
        if self.real_images:
            count = self.real_images * (6 if self.name == "cut_paste" else 1)
            found += [f"recipe.parts.real.images.images={self.real_images}", f"budgets.study.images.train={count}"]
        return found


def rows(names: list[str], images: list[int], seeds: list[int]) -> Iterator[Row]:
    """The wanted rows, those with the first seed first."""
    for seed in range(max(SEEDS.values())):
        for (name, count), wanted in SEEDS.items():
            if (
                seed < wanted
                and name in names
                and (not count or not images or count in images)
                and (not seeds or seed in seeds)
            ):
                yield Row(name, count, seed)


def digest(overrides: list[str]) -> tuple[str, int]:
    """(digest of the composed configuration, where data lies apart, and of the generator's version; steps)."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from tem_seg.config import check, schema
    from tem_seg.generation.render import GENERATOR_VERSION

    schema.register()
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        cfg = compose("config", [*overrides, "paths.data=data", "paths.outputs=outputs"])
    cfg.budgets = {cfg.profile: cfg.budgets[cfg.profile]}
    text = f"{GENERATOR_VERSION} {OmegaConf.to_yaml(cfg, resolve=True)}"
    return hashlib.sha256(text.encode()).hexdigest()[:10], int(cfg.train.steps)


def train(row: Row, extra: list[str], explore: bool) -> dict[str, Any]:
    """One run; its figures on the validation part, and on the test split unless exploring."""
    from tem_seg.core import provenance

    key, steps = digest([*row.overrides(), *extra])
    stages = "stages=[generate,train]" if explore else "stages=[generate,train,predict,evaluate]"
    command = [sys.executable, "-m", "tem_seg.run", *row.overrides(), *extra, stages]
    subprocess.run(command, cwd=ROOT, check=True)
    outputs = Path(os.environ.get("TEM_SEG_OUTPUTS", ROOT / "outputs"))
    folder = max((outputs / "runs" / f"emps_spheres_{row.name}").iterdir(), key=lambda path: path.name)
    seconds = sum(stage["wall_s"] for stage in json.loads((folder / "run.json").read_text())["stages"].values())
    figures = _curve_end(folder / "metrics.csv") if explore else _figures(folder / "metrics.json")
    return {
        "row": row.name, "real_images": row.real_images, "seed": row.seed, "steps": steps, "digest": key, **figures,
        "minutes": round(seconds / 60, 1), "date": date.today(),
        "commit": (provenance.git_state(ROOT)["commit"] or "")[:10],
    }  # fmt: skip


def _figures(path: Path) -> dict[str, float]:
    metrics = json.loads(path.read_text())
    parts = {"val": metrics["splits"]["val"], "test": metrics}
    return {f"{part}_{key}": round(found[key], 4) for part, found in parts.items() for key in ("ap", "ap50", "f1")}


def _curve_end(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        found = [line for line in csv.DictReader(file) if line.get("val/ap50")]
    return {f"val_{key}": round(float(found[-1][f"val/{key}"]), 4) for key in ("ap", "ap50")}


def _there(table: Path) -> set[tuple[str, ...]]:
    if not table.is_file():
        return set()
    with table.open(newline="") as file:
        return {tuple(line[key] for key in FIELDS[:5]) for line in csv.DictReader(file)}


def main() -> None:
    """Trains what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(name for name, _ in SEEDS))
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument("--images", nargs="+", type=int, default=[], help="numbers of real micrographs (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="(default: all)")
    parser.add_argument("--explore", action="store_true", help="figures of the validation part only")
    parser.add_argument("--into", type=Path, default=TABLE, help="table (default: %(default)s)")
    parser.add_argument("extra", nargs="*", metavar="key=value", help="changed values, for every row")
    options = parser.parse_intermixed_args()
    if (options.explore or options.extra) and options.into == TABLE:
        parser.error("changed values and explorations do not belong into the tracked table: give --into FILE")
    for row in rows(options.rows, options.images, options.seeds):
        key, steps = digest([*row.overrides(), *options.extra])
        if (row.name, str(row.real_images), str(row.seed), str(steps), key) in _there(options.into):
            print(f"{row}: is there", flush=True)
            continue
        found = train(row, options.extra, options.explore)
        new = not options.into.is_file()
        with options.into.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(found)
        print(found, flush=True)


if __name__ == "__main__":
    main()

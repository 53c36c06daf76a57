"""Which training data is worth what on real micrographs: trains every row of a study and appends it to a table.

    python scripts/study.py                           every row of emps_spheres that is not in its table yet
    python scripts/study.py utile_data_efficiency     paper 003's Table 5; its 3 and 4: utile_generator, utile_one_image
    python scripts/study.py utile_data_efficiency --summary       the paper's figures beside those of the table
    python scripts/study.py emps_spheres --rows real cut_paste --images 5 --seeds 0
    python scripts/study.py emps_spheres --explore --into outputs/tried.csv --set seed=7    validation part only

Rows of emps_spheres: synthetic (i), overlay (ii), real (iii), cut_paste (iv): conf/experiment/emps_spheres_<row>.yaml;
of the others: the arms of conf/experiment/<study>.yaml. The table is docs/results/<study>.csv.
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
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from result_table import append

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "docs" / "results"
SPHERES = {
    ("synthetic", 0): 3, ("overlay", 0): 3,
    ("real", 5): 3, ("cut_paste", 5): 3, ("real", 30): 3, ("cut_paste", 30): 3,
    ("real", 10): 1, ("cut_paste", 10): 1, ("real", 20): 1, ("cut_paste", 20): 1,
}  # fmt: skip
"""Trainings of each row: three where the spread matters."""
ARMS = {"utile_generator": 3, "utile_one_image": 5, "utile_data_efficiency": 3}
"""Paper 003's experiments, all arms: trainings of each."""
STUDIES = ("emps_spheres", *ARMS)
FIELDS = (
    "row", "real_images", "seed", "steps", "digest", "val_ap", "val_ap50", "val_f1", "test_ap", "test_ap50", "test_f1",
    "minutes", "commit", "date",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One training. paper: the figure that it is held against; arm: of the experiment, or None."""

    name: str
    real_images: int
    seed: int
    experiment: str
    arm: str | None = None
    paper: float | None = None

    def overrides(self) -> list[str]:
        """What the row is on the command line."""
        found = [f"experiment={self.experiment}", "profile=study", f"seed={self.seed}"]
        if self.arm:
            return [*found, f"arm={self.arm}"]
        found.append("model.backend=torchvision")
        if self.real_images:
            count = self.real_images * (6 if self.name == "cut_paste" else 1)
            found += [f"recipe.parts.real.images.images={self.real_images}", f"budgets.study.images.train={count}"]
        return found


def rows(study: str) -> list[Row]:
    """All rows of a study, those with the first seed first."""
    if study == "emps_spheres":
        found = [(Row(name, count, 0, f"emps_spheres_{name}"), n) for (name, count), n in SPHERES.items()]
    else:
        arms = yaml.safe_load((ROOT / "conf" / "experiment" / f"{study}.yaml").read_text())["arms"]
        found = [(Row(arm, values.get("real", 1), 0, study, arm, values["f1"]), ARMS[study])
                 for arm, values in arms.items()]  # fmt: skip
    most = max(seeds for _, seeds in found)
    return [replace(row, seed=seed) for seed in range(most) for row, seeds in found if seed < seeds]


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
    given = _given(OmegaConf.to_container(cfg, resolve=True))
    text = f"{GENERATOR_VERSION} {json.dumps(given, sort_keys=True, default=str)}"
    return hashlib.sha256(text.encode()).hexdigest()[:10], int(cfg.train.steps)


def _given(node: Any) -> Any:
    """A configuration without the keys that have no value: one that has been added since, and is left out, changes
    no digest."""
    if not isinstance(node, dict):
        return node
    kept = {str(key): _given(value) for key, value in node.items()}
    return {key: value for key, value in kept.items() if value not in (None, "???", {})}


def train(row: Row, extra: list[str], explore: bool) -> dict[str, Any]:
    """One run; its figures on the validation part, and on the test split unless exploring.

    Its folder bears the row's key: what was stopped goes on there, and studies side by side do not mix theirs up.
    """
    from tem_seg.core import provenance

    key, steps = digest([*row.overrides(), *extra])
    stages = "stages=[generate,train]" if explore else "stages=[generate,train,predict,evaluate]"
    outputs = Path(os.environ.get("TEM_SEG_OUTPUTS", ROOT / "outputs"))
    folder = outputs / "runs" / row.experiment / f"{row.name}-{row.real_images}-seed{row.seed}-{key}"
    command = [sys.executable, "-m", "tem_seg.run", *row.overrides(), *extra, stages, f"run_dir={folder}"]
    subprocess.run(command, cwd=ROOT, check=True)
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


def lines(table: Path) -> list[dict[str, str]]:
    """What a table holds; [] where there is none."""
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def summary(wanted: Iterable[Row], found: Iterable[dict[str, str]]) -> str:
    """Markdown: of each row the test F1 over its seeds (mean, standard error, median) beside the paper's.

    Lines of a name are taken together whatever their digest; one whose F1 is undefined (empty) is left out.
    """
    text = ["| row | real | seeds | F1, mean | standard error | median | the paper |", "|---|---|---|---|---|---|---|"]
    held = list(found)
    for name, real, paper in dict.fromkeys((row.name, row.real_images, row.paper) for row in wanted):
        key = name, str(real)
        ours = [float(one["test_f1"]) for one in held if (one["row"], one["real_images"]) == key and one["test_f1"]]
        mean, middle = (f"{of(ours):.3f}" if ours else "–" for of in (statistics.fmean, statistics.median))
        error = f"{statistics.stdev(ours) / len(ours) ** 0.5:.3f}" if len(ours) > 1 else "–"
        theirs = "–" if paper is None else f"{paper:.2f}"
        text.append(f"| {name} | {real} | {len(ours)} | {mean} | {error} | {middle} | {theirs} |")
    return "\n".join(text)


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", choices=STUDIES, default=STUDIES[0], help="(default: %(default)s)")
    parser.add_argument("--rows", nargs="+", default=[], help="(default: all)")
    parser.add_argument("--images", nargs="+", type=int, default=[], help="numbers of real micrographs (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="(default: all)")
    parser.add_argument("--explore", action="store_true", help="figures of the validation part only")
    parser.add_argument("--summary", action="store_true", help="trains nothing: prints what the table says")
    parser.add_argument("--into", type=Path, help="table (default: docs/results/<study>.csv)")
    parser.add_argument("--set", nargs="+", default=[], dest="extra", metavar="key=value", help="for every row")
    options = parser.parse_args(arguments)
    tracked = TABLES / f"{options.study}.csv"
    options.into = options.into or tracked
    if (options.explore or options.extra) and options.into == tracked:
        parser.error("changed values and explorations do not belong into the tracked table: give --into FILE")
    names = list(dict.fromkeys(row.name for row in rows(options.study)))
    if unknown := sorted(set(options.rows) - set(names)):
        parser.error(f"{options.study} has no row {', '.join(unknown)}; it has {', '.join(names)}")
    return options


def chosen(row: Row, options: argparse.Namespace) -> bool:
    """Whether the command line asks for this row; --images says nothing of rows without real micrographs."""
    images = not options.images or not row.real_images or row.real_images in options.images
    return images and row.name in (options.rows or [row.name]) and row.seed in (options.seeds or [row.seed])


def main() -> None:
    """Trains what is missing."""
    options = options_of()
    if options.summary:
        print(summary(rows(options.study), lines(options.into)))
        return
    for row in rows(options.study):
        if not chosen(row, options):
            continue
        key, steps = digest([*row.overrides(), *options.extra])
        there = {tuple(line[field] for field in FIELDS[:5]) for line in lines(options.into)}
        if (row.name, str(row.real_images), str(row.seed), str(steps), key) in there:
            print(f"{row}: is there", flush=True)
            continue
        found = train(row, options.extra, options.explore)
        append(options.into, FIELDS, found)
        print(found, flush=True)


if __name__ == "__main__":
    main()

"""Run directories to compare, written as the stages write them: discs on noise, figures as a test wants them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tem_seg.data import coco
from tem_seg.data.rle import encode_crop
from tem_seg.reporting.compared import RunFiles

SIZE = (96, 128)
PLACES = {1: [(24, 24, 10), (70, 30, 14), (100, 70, 8)], 2: [(30, 60, 12), (90, 40, 16)], 3: []}
"""Image id → x, y, radius in px."""
DRAWN = {"recipe": {"_target_": "Gold", "seed": 0}, "generation": {"images": {"test": 4}}}
"""Settings of a run whose test split is drawn."""


def disc(x: float, y: float, radius: float) -> dict[str, Any]:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return dict(encode_crop(np.hypot(columns - x, rows - y) <= radius, 0, 0, SIZE))


def write_dataset(folder: Path, seed: int = 0) -> Path:
    """<folder>/test/dataset.json: three micrographs, the last one empty; other pixels for another seed."""
    rng = np.random.default_rng(seed)
    place = folder / "test"
    place.mkdir(parents=True)
    images, annotations = [], []
    for image_id, discs in PLACES.items():
        pixels = rng.normal(150, 10, SIZE)
        for x, y, radius in discs:
            cv2.circle(pixels, (x, y), radius, 60.0, -1)
            annotations.append(coco.annotation_of(disc(x, y, radius), image_id, 1, len(annotations) + 1))
        cv2.imwrite(str(place / f"{image_id}.png"), np.clip(pixels, 0, 255).astype(np.uint8))
        images.append({"id": image_id, "file_name": f"{image_id}.png", "height": SIZE[0], "width": SIZE[1],
                       "pixel_size_nm": 0.5})  # fmt: skip
    coco.write(place / "dataset.json", images, annotations, ["particle"])
    return place / "dataset.json"


def write_run(
    folder: Path, dataset: Path, *, seed: int = 0, lr: float = 0.1, ap: float = 0.6, missed: int = 0,
    scale: float = 1.0, experiment: str = "discs", finished: bool = True, read: bool = True,
) -> Path:  # fmt: skip
    """A run directory whose model misses the first ``missed`` particles of each image and draws all ``scale`` times as
    large. finished: else it stopped while training. read: the test split is read, else drawn with the seed."""
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "name": experiment, "seed": seed, "profile": "smoke", "run_dir": None, "paths": {"outputs": str(folder.parent)},
        "dataset": {"name": experiment, "reader": {"_target_": "tem_seg.data.readers.emps.Emps"} if read else None,
                    "read": None, "limit": None, "classes": None},
        "recipe": None if read else {"_target_": "tem_seg.generation.recipes.gold_aunp.GoldAuNP"}, "imaging": None,
        "optimizer": {"lr": lr}, "train": {"steps": 100}, "evaluation": {"class_agnostic": False}, "stages": ["train"],
    }  # fmt: skip
    stages: dict[str, Any] = {"generate": {"wall_s": 1.0}}
    _write(folder / "datasets.json", {"test": str(dataset)})
    steps = [49, 99] if finished else [49]
    curves = {"step": steps, "train/loss": [1.0, 0.5], "val/ap": [ap / 2, ap]}
    pd.DataFrame({key: values[: len(steps)] for key, values in curves.items()}).to_csv(
        folder / "metrics.csv", index=False
    )
    if finished:
        stages |= {"train": {"wall_s": 60.0, "backend": "torchvision", "parameters_m": 1.5, "peak_memory_gb": 1.0},
                   "predict": {"backend": "torchvision"}, "measure": {"min_score": 0.5}}  # fmt: skip
        write_predictions(folder, dataset, missed, scale)
        _write(folder / "metrics.json", metrics(ap))
        _particles(folder / "particles.csv", missed, scale)
        _particles(folder / "particles_truth.csv", 0, 1.0)
    _write(folder / "run.json", {
        "experiment": experiment, "seed": seed, "config": config, "started": "2026-01-02T03:04:05", "stages": stages,
        "finished": "2026-01-02T03:05:06" if finished else None, "git": {"commit": "abcdef", "diff": ""},
    })  # fmt: skip
    return folder


def write_predictions(folder: Path, dataset: Path, missed: int = 0, scale: float = 1.0, keep: bool = True) -> None:
    """predictions.json; keep=False: nothing was found."""
    rows = []
    for image_id, discs in PLACES.items():
        for x, y, radius in discs[missed:] if keep else []:
            entry = coco.annotation_of(disc(x, y, radius * scale), image_id, 1, 1)
            rows.append(
                {key: entry[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.9}
            )
    info = {"dataset": str(dataset), "image_ids": list(PLACES), "categories": ["particle"], "seconds_per_image": 0.25}
    _write(folder / "predictions.json", {"info": info, "results": rows})


def metrics(ap: float | None) -> dict[str, Any]:
    """metrics.json with one figure to look for."""
    figures = {"ap": ap, "ap50": ap, "ap75": None, "n_truths": 5}
    pr = {"score": [0.9, 0.5], "precision": [1.0, None], "recall": [0.5, 0.8], "f1": [0.6, 0.7]}
    return {"n_images": 3, "n_truths": 5, "headline": "segm", "segm": figures, "bbox": figures, "red_flags": [],
            "class_agnostic": False, "curves": {"pr": pr, "f1": pr}, "ap": ap, "ap50": ap, "f1": ap,
            "at_iou50": {"best": {"f1": ap, "precision": ap, "recall": ap, "score": 0.5}}}  # fmt: skip


def _particles(path: Path, missed: int, scale: float) -> None:
    rows = [
        {"image_id": image_id, "equivalent_diameter_nm": radius * scale, "touches_border": False}
        for image_id, discs in PLACES.items()
        for _, _, radius in discs[missed:]
    ]
    pd.DataFrame(rows, columns=["image_id", "equivalent_diameter_nm", "touches_border"]).to_csv(path, index=False)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def change(path: Path, **changes: Any) -> None:
    """Replaces top-level keys of a JSON file."""
    _write(path, json.loads(path.read_text()) | changes)


def run_of(name: str = "gold", seed: int = 0, tested: str | None = "t", metrics: Any = None, **config: Any) -> RunFiles:
    """A run without files. config: what its settings are beside name and seed."""
    composed = {"name": name, "seed": seed, **config}
    record = {"experiment": name, "seed": seed, "config": composed, "finished": "now"}
    nothing = pd.DataFrame()
    folder = Path(f"/runs/{name}-{seed}-{len(str(config))}")
    return RunFiles(folder, record, metrics or {}, nothing, nothing, None, {}, tested, None)

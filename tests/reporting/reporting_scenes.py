"""A small run made of synthetic shapes: discs on noise, predictions that are right, shifted, invented or missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tem_seg.core.types import Rle
from tem_seg.data import coco
from tem_seg.data.rle import encode_crop

SIZE = (160, 200)


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> Rle:
    """A filled disc; pixels whose centre lies within the radius."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return encode_crop(np.hypot(columns - x, rows - y) <= radius, 0, 0, size)


@dataclass
class FakeRun:
    """Arguments of build_report, to be changed by a test before :meth:`arguments`."""

    folder: Path
    test: coco.CocoDataset
    results: list[dict[str, Any]]
    matches: dict[int, list[int]] | None
    particles: pd.DataFrame
    truth_particles: pd.DataFrame | None
    metrics: dict[str, Any]
    curves: pd.DataFrame
    run: dict[str, Any]
    score: float = 0.5

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of build_report."""
        names = ("test", "results", "matches", "particles", "truth_particles", "metrics", "curves", "run", "score")
        return {name: getattr(self, name) for name in names}


NAMES = ("first.png", "<script>alert(1).png", "empty.png", "d.png")
TRUTHS = {
    1: [(40, 40, 15), (100, 60, 20), (150, 110, 12), (197, 80, 9)],
    2: [(50, 50, 18), (120, 90, 25)],
    3: [],
    4: [(60, 60, 0.8), (90, 100, 22)],
}
# score, x, y, radius, matched truth
FOUND = {
    1: [(0.99, 40, 40, 15, 0), (0.95, 101, 60, 20, 1), (0.8, 150, 30, 10, -1), (0.3, 150, 110, 12, 2)],
    2: [(0.97, 50, 50, 18, 0), (0.96, 120, 91, 24, 1)],
    3: [(0.6, 30, 120, 8, -1)],
    4: [(0.91, 60, 60, 0.8, 0)],
}


def _row(image_id: int, segmentation: Rle, score: float) -> dict[str, Any]:
    entry = coco.annotation_of(segmentation, image_id, 1, 1)
    return {key: entry[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": score}


def particle_row(image_id: int, particle: int, radius: float, x: float, y: float) -> dict[str, Any]:
    """One row of particles.csv, 0.5 nm/px."""
    diameter = 2 * radius * 0.5
    return {
        "image_id": image_id, "image": NAMES[image_id - 1], "particle": particle, "category": "particle", "score": 0.9,
        "area_nm2": np.pi * diameter**2 / 4, "equivalent_diameter_nm": diameter, "min_feret_nm": diameter,
        "max_feret_nm": diameter, "aspect_ratio": 1.0 + 0.01 * particle, "solidity": 1.0, "circularity": 1.0,
        "orientation_deg": np.nan, "centroid_x_px": x, "centroid_y_px": y, "touches_border": x > 190,
        "pixel_size_nm": 0.5, "pixel_size_source": "test",
    }  # fmt: skip


def _curves() -> pd.DataFrame:
    steps = np.arange(10, 1001, 10)
    validated = steps % 200 == 0
    return pd.DataFrame({
        "step": steps, "train/loss": 2 * np.exp(-steps / 300) + 0.2, "train/loss_mask": np.exp(-steps / 300) + 0.1,
        "val/ap": np.where(validated, 1 - np.exp(-steps / 400), np.nan), "lr-SGD": 0.02 * (1 - steps / 1000),
        "train/ap": np.where(validated, 1 - np.exp(-steps / 300), np.nan), "epoch": 0, "val/ar": np.nan,
    })  # fmt: skip


def _metrics() -> dict[str, Any]:
    figures = {"ap": 0.61, "ap50": 0.85, "ap75": 0.7, "ap_small": 0.4, "ap_medium": 0.8, "ap_large": None, "ar": 0.66,
               "per_class": {"particle": {"ap": 0.61, "ap50": 0.85, "ap75": 0.7, "n_truths": 8}}}  # fmt: skip
    at = {"precision": 5 / 7, "recall": 5 / 8, "f1": 10 / 15, "accuracy": 0.5, "tp": 5, "fp": 2, "fn": 3}
    pr = {"score": [0.99, 0.9, 0.5], "precision": [1.0, 1.0, None], "recall": [0.1, 0.5, 0.6], "f1": [0.2, 0.6, 0.7]}
    return {
        "n_images": 4, "n_truths": 8, "n_predictions": 8, "max_instances": 1000, "red_flags": [],
        "class_agnostic": False,
        "segm": figures, "bbox": figures, "segm_at_score": {"score": 0.9, "ap": 0.5, "ap50": 0.6, "ap75": 0.55},
        "at_iou50": {"fixed": at | {"score": 0.9}, "best": at | {"score": 0.5}}, "curves": {"pr": pr, "f1": pr},
        "false_positives_per_empty_image": {"fixed": 0.0, "best": 1.0, "n_images": 1},
        "ap": 0.61, "ap50": 0.85, "ap75": 0.7, "f1": 2 / 3,
    }  # fmt: skip


RUN = {
    "experiment": "discs", "profile": "smoke", "started": "2026-01-02T03:04:05",
    "command": ["python", "-m", "tem_seg.run", "experiment=discs", "note=two words"],
    "seed": 7, "git": {"commit": "abc123", "diff": ""},
    "versions": {"numpy": "2.3.0"}, "hardware": {"cpus": 2, "gpu": None},
    "stages": {"train": {"wall_s": 12.5, "peak_memory_gb": 0.8, "backend": "torchvision"}},
    "config": {"train": {"steps": 1000}, "name": "größe"},
}  # fmt: skip


def make_run(folder: Path) -> FakeRun:
    """Four micrographs of discs: one with a name that is a script tag, one without particles."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id, name in enumerate(NAMES, start=1):
        pixels = rng.normal(150, 12, SIZE)
        for x, y, radius in TRUTHS[image_id]:
            cv2.circle(pixels, (round(x), round(y)), round(radius), 60.0, -1)
            annotations.append(coco.annotation_of(disc(x, y, radius), image_id, 1, len(annotations) + 1))
        cv2.imwrite(str(folder / name), np.clip(pixels, 0, 255).astype(np.uint8))
        images.append({"id": image_id, "file_name": name, "height": SIZE[0], "width": SIZE[1], "pixel_size_nm": 0.5})
    coco.write(folder / "dataset.json", images, annotations, ["particle"])
    results = [_row(i, disc(x, y, r), score) for i, rows in FOUND.items() for score, x, y, r, _ in rows]
    matches = {i: [match for *_, match in rows] for i, rows in FOUND.items()}
    found = [particle_row(i, n, r, x, y) for i, rows in FOUND.items() for n, (_, x, y, r, _) in enumerate(rows)]
    truth = [particle_row(i, n, r, x, y) for i, rows in TRUTHS.items() for n, (x, y, r) in enumerate(rows)]
    return FakeRun(folder, coco.read(folder / "dataset.json"), results, matches, pd.DataFrame(found),
                   pd.DataFrame(truth), _metrics(), _curves(), dict(RUN))  # fmt: skip

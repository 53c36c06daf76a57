"""What the benchmarks share: configurations, micrographs of ellipses, clocks and medians."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tem_seg.config import check, schema
from tem_seg.data import coco
from tem_seg.data.rle import encode_crop

clock: Callable[[], float] = time.perf_counter
"""Wall time; ``--clock cpu`` makes it this process's processor time, for a machine that is busy with other things."""


def config(*overrides: str, experiment: str = "gold_aunp", profile: str = "laptop") -> DictConfig:
    """An experiment's configuration; the torchvision back end, which laptop trainings run on."""
    schema.register()
    given = [f"experiment={experiment}", f"profile={profile}", "model.backend=torchvision", *overrides]
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", given)


def seconds(function: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = clock()
    function()
    return clock() - start


def interleaved(first: Callable[[], Any], second: Callable[[], Any], blocks: int) -> tuple[float, float]:
    """Median seconds of a call of each, taken in turns after one call each to warm up."""
    first(), second()
    times = [(seconds(first), seconds(second)) for _ in range(blocks)]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def over(value: float, base: float) -> str:
    """How much more ``value`` is than ``base``."""
    return f"{100 * (value / base - 1):.1f} %"


def ellipses(count: int, size_px: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Annotations of ``count`` filled ellipses, at least 15 px long, one in each cell of a square image."""
    cells = math.ceil(math.sqrt(count))
    side = size_px // cells
    found = []
    for number in range(count):
        long, ratio = rng.uniform(15, side - 4), rng.uniform(0.5, 1.0)
        canvas, axes = np.zeros((side, side), np.uint8), (round(long / 2), round(long * ratio / 2))
        cv2.ellipse(canvas, (side // 2, side // 2), axes, rng.uniform(0, 180), 0, 360, 1, -1)
        x, y = number % cells * side, number // cells * side
        mask = encode_crop(canvas.astype(bool), x, y, (size_px, size_px))
        found.append(coco.annotation_of(mask, 1, 1, number + 1))
    return found


def ellipse_dataset(folder: Path, *, images: int, particles: int, size_px: int) -> coco.CocoDataset:
    """Noise with ellipses, written to ``folder`` and read back."""
    rng = np.random.default_rng(0)
    entries, annotations = [], []
    for image_id in range(1, images + 1):
        pixels = rng.integers(0, 256, (size_px, size_px), np.uint8)
        cv2.imwrite(str(folder / f"{image_id}.png"), pixels)
        entries.append({"id": image_id, "file_name": f"{image_id}.png", "height": size_px, "width": size_px})
        for entry in ellipses(particles, size_px, rng):
            annotations.append(entry | {"id": len(annotations) + 1, "image_id": image_id})
    coco.write(folder / "dataset.json", entries, annotations, ["particle"])
    return coco.read(folder / "dataset.json")

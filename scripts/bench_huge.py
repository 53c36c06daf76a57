"""A micrograph of 8192² with 20,000 particles: prediction in tiles, evaluation, measurement; seconds and peak memory.

Each step in a process of its own, whose peak memory is the operating system's figure.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

TILE_INSTANCES = 4000
"""The model's cap in a tile of 2048², where 1,250 particles lie."""
PER_TILE = 1500
"""Detections that random weights are made to send through the mask head in every tile."""


def huge(quick: bool) -> Iterator[str]:
    """Lines of ``make bench``."""
    side, particles = (2304, 900) if quick else (8192, 20_000)
    with TemporaryDirectory() as folder:
        _draw(Path(folder), side, particles)
        for step in ("predict", "evaluate", "measure"):
            done = subprocess.run(
                [sys.executable, __file__, step, folder], stdout=subprocess.PIPE, text=True, check=True, timeout=3600
            )
            yield f"{step} {particles} particles at {side} x {side} px: {done.stdout.splitlines()[-1]}"


def _draw(folder: Path, side: int, particles: int) -> None:
    """Noise with bright discs of 14 to 46 px, one to a cell; some touch."""
    from tem_seg.core.types import Instances
    from tem_seg.data import coco, rle
    from tem_seg.data.images import write_png

    rng = np.random.default_rng(0)
    cells = int(np.ceil(np.sqrt(particles)))
    cell = side / cells
    number = np.arange(particles)
    radius = rng.uniform(7, cell * 0.4, particles)
    places = np.stack([number % cells, number // cells])
    x, y = (places + 0.5 + rng.uniform(-0.1, 0.1, places.shape)) * cell
    x0, y0 = np.floor(x - radius).astype(int), np.floor(y - radius).astype(int)
    pixels = rng.integers(60, 120, (side, side), np.uint8)
    crops = []
    for cx, cy, r, left, top in zip(x, y, radius, x0.tolist(), y0.tolist(), strict=True):
        reach = np.arange(int(np.ceil(2 * r)) + 1) + 0.5
        crops.append(np.hypot(reach[None] + left - cx, reach[:, None] + top - cy) < r)
        pixels[max(top, 0) : top + len(reach), max(left, 0) : left + len(reach)][
            crops[-1][max(-top, 0) : side - top, max(-left, 0) : side - left]
        ] += 80
    write_png(folder / "1.png", pixels)
    found = Instances((side, side), np.zeros(particles, np.int64), rle.encode_crops(crops, x0, y0, (side, side)))
    image = {"id": 1, "file_name": "1.png", "height": side, "width": side}
    coco.write(folder / "dataset.json", [image], coco.annotations_of(found, 1, [1], 1), ["particle"])


def _predict(folder: Path) -> int:
    from tem_seg.data import coco
    from tem_seg.data.results_writer import ResultsWriter
    from tem_seg.inference.predict import Predictor, predict_images, prediction_info

    dataset = coco.read(folder / "dataset.json")
    look = Predictor(max_instances=25_000, tile_px=2048, overlap_px=256, tile_instances=TILE_INSTANCES)
    model, count = _model(dataset, look), 0
    with ResultsWriter(folder / "predictions.json", {}) as writer:
        for found in predict_images(model, dataset, look):
            count += len(found.rows)
            writer.add(found.image_id, found.rows, {})
        writer.finish(prediction_info(dataset, look, [], 0.0))
    return count


def _model(dataset: Any, look: Any) -> Any:
    """The laptop's Mask R-CNN with random weights; what its heads return is replaced by the annotated particles."""
    import torch
    from bench_common import config
    from hydra.utils import instantiate

    from tem_seg.inference.tiling import tiles

    torch.manual_seed(0)
    cfg = config()
    model = instantiate(cfg.model, num_classes=1, max_instances=TILE_INSTANCES, min_score=0.0).build().eval()
    model.roi_heads.detections_per_img = PER_TILE
    boxes = np.array([entry["bbox"] for entry in dataset.annotations[1]])
    boxes[:, 2:] += boxes[:, :2]
    windows = iter(tiles((dataset.images[0].height, dataset.images[0].width), look.tile_px, look.overlap_px).tolist())

    def truth(module: Any, inputs: Any, output: Any) -> Any:
        x0, y0, x1, y1 = next(windows)
        seen = np.clip(boxes, [x0, y0, x0, y0], [x1, y1, x1, y1]) - [x0, y0, x0, y0]
        seen = seen[((seen[:, 2:] - seen[:, :2]) >= 2).all(axis=1)]
        bins = (np.arange(28, dtype=np.float32) + 0.5) / 14 - 1
        soft = torch.from_numpy(1 / (1 + np.exp((np.hypot(*np.meshgrid(bins, bins)) - 0.97) * 30)))
        found = {
            "boxes": torch.from_numpy(seen.astype(np.float32)),
            "labels": torch.ones(len(seen), dtype=torch.int64),
            "scores": torch.linspace(1.0, 0.5, len(seen)),
            "masks": [(torch.arange(len(seen)), soft.expand(len(seen), -1, -1))],
        }
        return [found], output[1]

    model.roi_heads.register_forward_hook(truth)
    return model


def _evaluate(folder: Path) -> int:
    from tem_seg.data import coco, results
    from tem_seg.evaluation.metrics import compute_metrics

    rows, info = results.read(folder / "predictions.json")
    dataset = coco.read(folder / "dataset.json")
    figures = compute_metrics(dataset, rows, info, max_instances=25_000, best_score=0.5)
    assert figures["ap50"] > 0.9
    return len(rows)


def _measure(folder: Path) -> int:
    from tem_seg.data import coco, results
    from tem_seg.measurement.particles import particle_table

    rows, _ = results.read(folder / "predictions.json")
    return len(particle_table(coco.read(folder / "dataset.json"), results.by_image(rows, [1])))


def _step(name: str, folder: Path) -> None:
    """One step, timed with its reading and writing; the imports are not."""
    from tem_seg.core.provenance import peak_memory_gb
    from tem_seg.data import coco

    start, work = time.perf_counter(), time.process_time()
    count = {"predict": _predict, "evaluate": _evaluate, "measure": _measure}[name](folder)
    taken, worked = time.perf_counter() - start, time.process_time() - work
    wanted = coco.read(folder / "dataset.json").count
    assert abs(count - wanted) <= 0.001 * wanted, f"{count} particles of {wanted}"
    print(f"{taken:.0f} s ({worked:.0f} s of the processor), {peak_memory_gb():.2f} GB")


if __name__ == "__main__":
    _step(sys.argv[1], Path(sys.argv[2]))

"""Measuring 10,000 particles in 100 micrographs from their RLEs, against scikit-image's regionprops_table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bench_common
import cv2
import numpy as np
from bench_common import ellipses, seconds
from skimage.measure import regionprops_table

from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.measurement import contacts
from tem_seg.measurement.masks import measure_masks
from tem_seg.measurement.particles import particle_table
from tem_seg.measurement.runs import runs_of

SHARED = (
    "area", "bbox", "centroid", "equivalent_diameter_area", "axis_major_length", "axis_minor_length", "orientation",
    "perimeter_crofton", "feret_diameter_max", "solidity", "extent",
)  # fmt: skip
"""What scikit-image knows of our columns; min Feret, rectangle, convexity, shape class, … come on top of ours."""


def regionprops(quick: bool) -> Iterator[str]:
    """Milliseconds a particle, one thread of a CPU; ratios are medians of blocks in turns."""
    images, particles, size_px = (2, 10, 256) if quick else (100, 100, 1024)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    scenes = [ellipses(particles, size_px, rng) for _ in range(images)]
    frame = (size_px, size_px)
    records = [ImageRecord(place + 1, Path(f"{place}.png"), *frame, 0.5, "bench") for place in range(images)]
    rows = {record.id: scene for record, scene in zip(records, scenes, strict=True)}
    dataset = CocoDataset(Path("bench.json"), records, ["particle"], [1], rows)
    masks = [[entry["segmentation"] for entry in scene] for scene in scenes]
    blocks = np.array_split(np.arange(images), min(10, images))

    def each(measure: Callable[[int], Any]) -> list[float]:
        return [1000 * seconds(lambda b=b: [measure(i) for i in b]) / (len(b) * particles) for b in blocks]  # type: ignore[misc]

    def ours(image: int) -> Any:
        return measure_masks(masks[image], frame)

    def theirs(image: int) -> Any:
        labels = np.zeros(frame, np.int32)
        for label, mask in enumerate(masks[image], 1):
            crop, x, y = rle.decode_crop(mask)
            labels[y : y + crop.shape[0], x : x + crop.shape[1]][crop] = label
        return regionprops_table(labels, properties=SHARED)

    def neighbours(image: int) -> Any:
        runs = runs_of(masks[image], frame)
        return contacts.nearest_edge(runs, contacts.of_runs(runs))

    ours(0), theirs(0), neighbours(0)
    fast, slow = each(ours), each(theirs)
    yield f"outlines of {images * particles} particles in {images} micrographs, each: {statistics.median(fast):.4f} ms"
    yield f"scikit-image's regionprops_table, the columns it shares, each: {statistics.median(slow):.4f} ms"
    ratio = statistics.median(b / a for a, b in zip(fast, slow, strict=True))
    yield f"regionprops_table over ours: {ratio:.1f} x"
    yield f"contacts and nearest edges, each: {statistics.median(each(neighbours)):.4f} ms"
    start = bench_common.clock()
    table = particle_table(dataset, rows)
    taken = 1000 * (bench_common.clock() - start) / len(table)
    yield f"the whole table of {len(table)} rows and {table.shape[1]} columns, each: {taken:.4f} ms"

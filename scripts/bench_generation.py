"""Speed of every recipe with its own imaging, from nothing to files: what ``scripts/bench.py generate`` prints."""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import bench_common
from hydra.utils import instantiate
from omegaconf import DictConfig

from tem_seg.data import coco
from tem_seg.generation import dataset, render
from tem_seg.generation.dataset import Job, make_image

HUNDRED = {
    "vesicles": ["recipe.populations.large_vesicle.count=[17,17]", "recipe.populations.small_vesicle.count=[66,66]",
                 "recipe.populations.hole.count=[17,17]"],
    "sem_agglomerates": ["recipe.agglomerates=[8,8]", "recipe.particles_per_agglomerate=[12,13]"],
    "tsem_agglomerates": ["recipe.agglomerates=[8,8]", "recipe.particles_per_agglomerate=[12,13]"],
    "cut_paste": ["recipe.particles_per_image=[100,100]", "recipe.images.images=4"],
    "experimental_overlay": ["recipe.recipe.particles=[100,100]", "recipe.recipe.diameter_px=[9,40]",
                             "recipe.substrates.images.images=4"],
}  # fmt: skip
"""How each recipe is asked for 100 particles, where it is not recipe.particles."""
RECIPES = ("catalyst_haadf", "cut_paste", "experimental_overlay", "gold_aunp", "insitu_video", "nanorods_haadf",
           "polylatex_silica", "sem_agglomerates", "tsem_agglomerates", "vesicles")  # fmt: skip
"""Experiments that draw with a recipe of their own; the others combine these."""
WARM_UP = 12
NOISE = ("shot_noise", "optics", "probe")
"""Steps that draw random numbers for every pixel."""


def job(name: str, size_px: int, folder: Path, *overrides: str, hundred: bool = True) -> Job:
    """What images of an experiment are made from."""
    more = HUNDRED.get(name, ["recipe.particles=[100,100]"]) if hundred else []
    cfg: DictConfig = bench_common.config(*more, *overrides, experiment=name, profile="smoke")
    made = Job(folder, instantiate(cfg.recipe), instantiate(cfg.imaging), (size_px, size_px), 0)
    (folder / "bench" / "images").mkdir(parents=True, exist_ok=True)
    return made


def generate(quick: bool) -> Iterator[str]:
    """One line a recipe and size; then many particles, two processes, and memory."""
    for name in RECIPES:
        with TemporaryDirectory() as folder:
            yield _one(name, job(name, 160 if quick else 1024, Path(folder), hundred=not quick), 2 if quick else 16)
    for name in ("gold_aunp",) if quick else ("gold_aunp", "catalyst_haadf"):
        with TemporaryDirectory() as folder:
            size_px, count = (320, 20) if quick else (4096, 1000)
            yield _large(name, size_px, count, Path(folder))
    with TemporaryDirectory() as folder:
        yield _two_processes(Path(folder), quick)
    with TemporaryDirectory() as folder:
        yield _memory(Path(folder), 40 if quick else 10_000)


def _one(name: str, made: Job, count: int) -> str:
    """images/s, and which share of the time goes into encoding and into noise: the floor."""
    shares = {"encoding": 0.0, "noise": 0.0}
    particles: list[int] = []

    def timed(share: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = bench_common.clock()
            try:
                return function(*arguments, **named)
            finally:
                shares[share] += bench_common.clock() - start

        return call

    def counted(instances: Any, *rest: Any) -> Any:
        particles.append(len(instances))
        return coco_annotations(instances, *rest)

    coco_annotations = coco.annotations_of
    steps = made.imaging.steps
    made.imaging.steps = {n: timed("noise", step) if n in NOISE else step for n, step in steps.items()}
    with (
        mock.patch.object(dataset, "_write_png", timed("encoding", dataset._write_png)),
        mock.patch.object(dataset, "write_json", timed("encoding", dataset.write_json)),
        mock.patch.object(coco, "annotations_of", timed("encoding", counted)),
    ):
        for k in range(WARM_UP):  # real images are taken apart when they are first needed
            make_image(made, "bench", 1000 + k)
        shares.update(encoding=0.0, noise=0.0)
        times = [bench_common.seconds(lambda k=k: make_image(made, "bench", k)) for k in range(count)]
    total = sum(times)
    told = ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in shares.items())
    size = f" {made.image_size[0]} px" if made.image_size[0] != 1024 else ""
    return f"{name}{size}: {count / total:.2f} images/s, {statistics.mean(particles[WARM_UP:]):.0f} particles, {told}"


def _large(name: str, size_px: int, count: int, folder: Path) -> str:
    made = job(name, size_px, folder, f"recipe.particles=[{count},{count}]", hundred=False)
    make_image(made, "bench", 0)
    times = [bench_common.seconds(lambda k=k: make_image(made, "bench", k)) for k in range(1, 4)]
    return f"{name}, {count} particles in {size_px} × {size_px} px: {statistics.median(times):.2f} s"


_job: Job | None = None


def _start(made: Job) -> None:
    global _job
    _job = made
    make_image(made, "bench", 0)


def _work(index: int) -> None:
    assert _job is not None
    make_image(_job, "bench", index)


def _two_processes(folder: Path, quick: bool) -> str:
    """Wall time, whatever the clock: two processes over one, blocks in turns."""
    made = job("gold_aunp", 160 if quick else 1024, folder, hundred=not quick)
    count, ratios = (4, []) if quick else (24, [])
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(1, context, _start, (made,)) as one,
        ProcessPoolExecutor(2, context, _start, (made,)) as two,
    ):
        list(one.map(_work, range(2))), list(two.map(_work, range(4)))
        for _ in range(1 if quick else 5):
            taken = []
            for pool in (one, two):
                start = time.perf_counter()
                list(pool.map(_work, range(count)))
                taken.append(time.perf_counter() - start)
            ratios.append(taken[0] / taken[1])
    return f"two processes over one: {statistics.median(ratios):.2f} ×"


def _memory(folder: Path, count: int) -> str:
    """Peak memory after a tenth of the images and after all of them."""
    made = job("gold_aunp", 96, folder, "recipe.particles=[2,10]", "recipe.diameter_px=[9,20]", hundred=False)

    def peak_mb() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0

    early = math.nan
    for index in range(count):
        render.image_at(made.recipe, made.imaging, made.image_size, 0, "bench", index)
        if index == count // 10:
            early = peak_mb()
    return f"memory over {count} images: {early:.0f} MB after a tenth, {peak_mb():.0f} MB at the end"

"""``tem-seg analyze`` with the starter weights: start-up, a micrograph of 1024² with 200 particles, memory over many.

Start-up and memory in processes of their own. Processor seconds stand beside wall time: they mean something on a
machine that is busy with other things, too.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

PARTS = ("read", "look", "measure", "draw")
COMMAND = [sys.executable, __file__]


def analyze(quick: bool) -> Iterator[str]:
    """Lines of ``make bench``."""
    with TemporaryDirectory() as folder:
        yield from _startup(Path(folder), 1 if quick else 5)
        yield from _micrographs(Path(folder), *((2, 256, 10) if quick else (10, 1024, 200)))
        yield from _memory(Path(folder), *((6, 2) if quick else (1000, 100)))


def draw(path: Path, size_px: int, particles: int, seed: int) -> None:
    """Dark discs, one to a cell, on uneven ground with counting noise: as the starter weights know them."""
    import tifffile

    rng = np.random.default_rng(seed)
    cells = int(np.ceil(np.sqrt(particles)))
    cover = np.zeros((2 * size_px, 2 * size_px), np.uint8)
    for cell in rng.permutation(cells * cells)[:particles].tolist():
        x, y = ((place + 0.5 + rng.uniform(-0.08, 0.08)) * size_px / cells for place in (cell % cells, cell // cells))
        long = min(rng.normal(33, 4), 0.8 * size_px / cells)
        box = ((2 * x, 2 * y), (2 * long, 2 * long * rng.uniform(0.8, 1.0)), rng.uniform(0, 180))
        cv2.ellipse(cover, box, 255, -1, cv2.LINE_AA)
    soft = cv2.resize(cover, (size_px, size_px), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    ground = 140 + 300 * cv2.GaussianBlur(rng.normal(0, 1, (size_px, size_px)).astype(np.float32), (0, 0), 40)
    pixels = rng.poisson(np.clip(ground * (1 - 0.55 * soft), 1, None)).astype(np.uint16)
    tifffile.imwrite(path, pixels, imagej=True, resolution=(2.0, 2.0), metadata={"unit": "nm"})


def _startup(folder: Path, times: int) -> Iterator[str]:
    """From the command to a model that may look: imports and weights."""
    rows = []
    for _ in range(times):
        start = time.perf_counter()
        done = subprocess.run([*COMMAND, "startup", str(folder)], stdout=subprocess.PIPE, text=True, check=True)
        rows.append((time.perf_counter() - start, float(done.stdout)))
    yield from _two("analyze, start-up", rows)


def _micrographs(folder: Path, count: int, size_px: int, particles: int) -> Iterator[str]:
    """In one process, as the command works: reading and drawing in threads beside the model."""
    from tem_seg.analysis.analyse import analyse
    from tem_seg.analysis.segment import load
    from tem_seg.analysis.settings import Settings

    (folder / "in").mkdir()
    for seed in range(count):
        draw(folder / "in" / f"{seed}.tif", size_px, particles, seed)
    segmenter, ends = load("starter"), []
    clocks: Callable[[], tuple[float, float]] = lambda: (time.perf_counter(), time.process_time())  # noqa: E731
    found = analyse(
        [folder / "in"], folder / "out", Settings(), segmenter=segmenter, progress=lambda *_: ends.append(clocks())
    )
    name = f"analyze, {size_px} x {size_px} px, {particles} particles"
    rows = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(ends)]
    yield f"{name}, found: {len(found.measured) / count:.1f} particles"
    yield from _two(f"{name}, a micrograph", rows)
    for part, seconds in _parts(folder, segmenter).items():
        yield f"{name}, {part} (processor): {seconds:.3f} s"


def _parts(folder: Path, segmenter: Any) -> dict[str, float]:
    """Median processor seconds of each, one after the other."""
    from tem_seg.analysis import inputs, one
    from tem_seg.analysis.settings import Settings
    from tem_seg.reporting import numbered

    times: dict[str, list[float]] = {part: [] for part in PARTS}
    rules, out = Settings().rules, folder / "parts"

    def timed(part: str, function: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = function()
        times[part].append(time.process_time() - start)
        return found

    for item in inputs.find([folder / "in"]).items:
        seen = timed("read", lambda item=item: one.read(item, None, {"strip": True}, out))
        rows, capped = timed("look", lambda seen=seen: segmenter(seen.micrograph.pixels))
        known = (seen, rows, capped, segmenter.categories, {}, out, rules, segmenter.min_score)
        done = timed("measure", lambda known=known: one.finish(*known))
        shown = (out, item.stem, seen.micrograph.pixels, rows, done.table)
        timed("draw", lambda shown=shown: numbered.write(*shown))
    return {part: statistics.median(found) for part, found in times.items()}


def _memory(folder: Path, count: int, early: int) -> Iterator[str]:
    """Peak memory after the first micrographs and after all."""
    (folder / "many").mkdir()
    for seed in range(count):
        draw(folder / "many" / f"{seed}.tif", 128, 6, seed)
    arguments = [*COMMAND, "memory", str(folder), str(early)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    first, last = map(float, done.stdout.split())
    yield f"analyze, peak memory after {early} micrographs: {first:.3f} GB"
    yield f"analyze, peak memory after {count} micrographs: {last:.3f} GB"


def _two(name: str, rows: list[tuple[float, float]]) -> Iterator[str]:
    wall, processor = (statistics.median(column) for column in zip(*rows, strict=True))
    yield f"{name}: {wall:.2f} s"
    yield f"{name} (processor): {processor:.2f} s"


def _in_process(step: str, folder: Path, early: int) -> str:
    from tem_seg.core.collector import without_collector

    with without_collector():  # as the command does
        from tem_seg.analysis.analyse import analyse
        from tem_seg.analysis.segment import load
        from tem_seg.analysis.settings import Settings
        from tem_seg.core.provenance import peak_memory_gb

        segmenter = load("starter")
    if step == "startup":
        return f"{time.process_time()}"
    peaks: list[float] = []
    analyse(
        [folder / "many"], folder / "many_out", Settings(), segmenter=segmenter,
        progress=lambda *_: peaks.append(peak_memory_gb()),
    )  # fmt: skip
    return f"{peaks[early - 1]} {peak_memory_gb()}"


if __name__ == "__main__":
    print(_in_process(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))

"""Whole datasets: every image depends on (seed, split, index) alone, so any number of workers writes the same bytes."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.data import coco
from tem_seg.data.atomic import replacing, write_json
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipe import Recipe
from tem_seg.generation.render import GENERATOR_VERSION, Drawn, check_pair, image_at

PNG = [
    cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE,
]  # fmt: skip
"""Noise has no patterns to find: without the search for them a file is 5 % smaller and made 2.5 times as fast."""
AT_LEAST_A_WORKER = 4
"""Images per worker below which starting another process costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that one image is made from, besides its split and index."""

    folder: Path
    recipe: Recipe
    imaging: Imaging
    image_size: tuple[int, int]
    seed: int


def dataset_identity(
    recipe: Recipe, imaging: Imaging, counts: dict[str, int], image_size: tuple[int, int], seed: int
) -> dict[str, Any]:  # fmt: skip
    """What data.store names a dataset after: two equal identities give the same bytes."""
    return {
        "generator_version": GENERATOR_VERSION, "recipe": recipe.identity(), "imaging": imaging.identity(),
        "counts": dict(counts), "image_size": list(image_size), "seed": seed,
    }  # fmt: skip


def build_dataset(
    folder: Path, recipe: Recipe, imaging: Imaging, counts: dict[str, int], image_size: tuple[int, int], seed: int,
    workers: int = 1, progress: bool = True,
) -> None:  # fmt: skip
    """Writes folder/<split>/images/NNNNN.png and folder/<split>/dataset.json for every split of counts (name → images).

    image_size (H, W) px. Called again on the same folder it goes on where it was interrupted. workers: processes;
    progress: a bar on stderr if that is a terminal. Raises UserError for parameters that do not go together and for
    a worker that was killed, OSError when the disk is full.
    """
    job = Job(folder, recipe, imaging, (int(image_size[0]), int(image_size[1])), seed)
    check_pair(recipe, imaging, job.image_size)
    _check_counts(counts, workers)
    open_splits = {split: n for split, n in counts.items() if n and not (folder / split / "dataset.json").is_file()}
    for split in open_splits:
        (folder / split / "images").mkdir(parents=True, exist_ok=True)
    left = [(split, i) for split, n in open_splits.items() for i in range(n) if not _is_whole(_part(folder, split, i))]
    total = sum(open_splits.values())
    with _progress_bar(total, total - len(left), progress) as advance:
        _run(job, left, min(workers, max(1, len(left) // AT_LEAST_A_WORKER)), advance)
    for split, n in counts.items():
        if n:
            _finish_split(job, split, n)


def make_image(job: Job, split: str, index: int) -> None:
    """Writes one image, then a small JSON beside it that says so, which goes when dataset.json comes."""
    drawn = image_at(job.recipe, job.imaging, job.image_size, job.seed, split, index)
    part = _part(job.folder, split, index)
    if drawn.path is None:
        _write_png(part.with_suffix(".png"), drawn.micrograph.pixels)
    if drawn.sampled is not None:
        _write_png(part.with_name(f"{part.stem}_sampled.png"), drawn.sampled * np.float32(255.0))
    write_json(part, _entry(job, index, drawn), synced=False)


def _write_png(path: Path, pixels: NDArray[np.float32]) -> None:
    encoded = cv2.imencode(".png", pixels.astype(np.uint8), PNG)[1]
    with replacing(path, synced=False) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _entry(job: Job, index: int, drawn: Drawn) -> dict[str, Any]:
    micrograph, instances = drawn.micrograph, drawn.instances
    image = {
        "id": index + 1,
        "file_name": f"images/{index:05d}.png" if drawn.path is None else str(drawn.path),
        "height": instances.size[0],
        "width": instances.size[1],
        "pixel_size_nm": micrograph.pixel_size_nm,
        "pixel_size_source": micrograph.pixel_size_source,
        "modality": micrograph.modality.value,
        **drawn.keys,
    }
    if drawn.sampled is not None:
        image["sampling_mask"] = f"images/{index:05d}_sampled.png"
    category_ids = list(range(1, len(job.recipe.categories) + 1))
    return {"image": image, "annotations": coco.annotations_of(instances, index + 1, category_ids, 1)}


def _part(folder: Path, split: str, index: int) -> Path:
    return folder / split / "images" / f"{index:05d}.json"


def _is_whole(part: Path) -> bool:
    """Whether an image was finished; after a power cut files can be there and empty."""
    picture = part.with_suffix(".png")
    return part.is_file() and part.stat().st_size > 0 and not (picture.is_file() and picture.stat().st_size == 0)


def _finish_split(job: Job, split: str, count: int) -> None:
    path = job.folder / split / "dataset.json"
    parts = [_part(job.folder, split, index) for index in range(count)]
    if not path.is_file():
        found = [json.loads(part.read_text(encoding="utf-8")) for part in parts]
        annotations = [annotation for entry in found for annotation in entry["annotations"]]
        numbered = [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)]
        os.sync()  # all images at once: to wait for the disk after each took a tenth of the time
        info = {"description": f"synthetic micrographs by tem_seg, split {split}", "seed": job.seed}
        coco.write(path, [entry["image"] for entry in found], numbered, job.recipe.categories, info)
    for part in parts:
        part.unlink(missing_ok=True)
    for leftover in path.parent.glob("images/.*.tmp"):  # of a writer that was killed
        leftover.unlink(missing_ok=True)


def _check_counts(counts: dict[str, int], workers: int) -> None:
    if not any(counts.values()):
        raise UserError(f"counts asks for no image in any split: {counts}")
    for split, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < 100_000:
            raise UserError(f"counts.{split} must be a whole number from 0 to 99999, got {count!r}")
    if workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}")


# ------------------------------------------------------------------------------------------------ processes

_job: Job | None = None  # of a worker process, set once by _start_worker: a task then is two small values


def _run(job: Job, left: list[tuple[str, int]], workers: int, advance: Callable[[], None]) -> None:
    if workers == 1:
        with _one_opencv_thread():
            for split, index in left:
                make_image(job, split, index)
                advance()
        return
    # spawn: a forked child of a process that holds threads (torch, OpenCV) may hang
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(job,))
    try:
        futures: list[Future[None]] = [pool.submit(_task, split, index) for split, index in left]
        for future in as_completed(futures):
            future.result()
            advance()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process that was drawing micrographs died (killed, or out of memory). Give the same command "
            f"again: finished images are kept. If it happens again, use fewer workers than {workers} or smaller images."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(job: Job) -> None:
    global _job
    _job = job
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _task(split: str, index: int) -> None:
    assert _job is not None, "_start_worker runs first"
    make_image(_job, split, index)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Workers are the parallelism; OpenCV's threads on top only get in each other's way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _progress_bar(total: int, done: int, wanted: bool) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (wanted and console.is_terminal and done < total):
        yield lambda: None
        return
    columns = (TextColumn("drawing micrographs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda: bar.advance(task)

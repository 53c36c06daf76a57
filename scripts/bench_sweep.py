"""What a job of a sweep costs beyond the same command alone: two side by side, in processes that are used again."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ("experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", "max_instances=100")
SIDE_BY_SIDE = 2


def sweep(quick: bool) -> Iterator[str]:
    """Seconds of one of the places for a job, less those of the command alone on as many threads (one)."""
    jobs, repeats = (4, 1) if quick else (32, 3)
    alone = [_seconds("seed=99") for _ in range(repeats)]
    wall, processor = (statistics.median(times) for times in zip(*alone, strict=True))
    launcher = ("hydra/launcher=parallel", f"hydra.launcher.n_jobs={SIDE_BY_SIDE}")
    together, all_processor = _seconds("-m", f"seed=range({jobs})", *launcher, jobs=jobs)
    name = f"sweep of {jobs} smoke jobs"
    yield f"{name}, the command alone: {wall:.2f} s"
    yield f"{name}, {SIDE_BY_SIDE} side by side: {together:.2f} s"
    yield f"{name}, a job beyond the command alone: {together * SIDE_BY_SIDE / jobs - wall:.2f} s"
    yield f"{name}, processor time of a job beyond the command alone: {all_processor / jobs - processor:.2f} s"


def _seconds(*arguments: str, jobs: int = 0) -> tuple[float, float]:
    """Wall and processor time of a command in a folder of its own. jobs: how many of a sweep must have ended well."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tem_seg.run", *arguments, *COMMAND, f"paths.outputs={folder}"]
        start, before = time.perf_counter(), _processor()
        subprocess.run(
            command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        taken, used = time.perf_counter() - start, _processor() - before
        records = [json.loads(path.read_text()) for path in Path(folder).glob("sweeps/*/*/job.json")]
        assert [record["state"] for record in records] == ["complete"] * jobs, records
    return taken, used


def _processor() -> float:
    """Of all processes that have ended below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

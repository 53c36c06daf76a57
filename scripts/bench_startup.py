"""How long a user waits for the first line: what ``scripts/bench.py startup`` prints."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]


def startup(quick: bool) -> Iterator[str]:
    """From the command to its first line."""
    times = [_first_line(["--help"]) for _ in range(1 if quick else 7)]
    yield f"--help: {statistics.median(times):.2f} s"
    with TemporaryDirectory() as folder:
        command = ["experiment=gold_aunp", "profile=smoke", f"paths.outputs={folder}"]
        times = [_first_line(command) for _ in range(1 if quick else 7)]
    yield f"first line of a run: {statistics.median(times):.2f} s"


def _first_line(arguments: list[str]) -> float:
    """Seconds until the first line of output; for --help, which ends by itself, until the end."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "tem_seg.run", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if arguments == ["--help"]:
            process.communicate()
        taken = time.perf_counter() - start
        process.kill()
    assert line.strip(), f"{' '.join(command)} printed nothing"
    return taken

"""Prints one line a figure, ``<name>: <value> <unit>``, after a line on commit and hardware.

    python scripts/bench.py                        all figures (about ten minutes)
    python scripts/bench.py loop loader            some of them
    python scripts/bench.py --save docs/results/bench.md

Ratios are medians of interleaved blocks of one run. Run it on a quiet machine, or with --clock cpu OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
FIGURES = (
    "startup", "generate", "cut_paste", "measure", "regionprops", "predict", "huge", "rotated", "loop", "loader",
    "sweep", "scale_bars", "analyze",
)  # fmt: skip


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


def _figure(name: str) -> Callable[[bool], Iterator[str]]:
    """Imports what the figure needs, and no more: torch takes seconds."""
    if name in ("loop", "loader"):
        import bench_training

        return getattr(bench_training, name)
    if name in ("predict", "measure"):
        import bench_prediction

        return getattr(bench_prediction, name)
    if name == "regionprops":
        import bench_measurement

        return bench_measurement.regionprops
    if name == "huge":
        import bench_huge

        return bench_huge.huge
    if name == "sweep":
        import bench_sweep

        return bench_sweep.sweep
    if name == "rotated":
        import bench_rotated

        return bench_rotated.rotated
    if name == "generate":
        import bench_generation

        return bench_generation.generate
    if name == "scale_bars":
        import bench_scalebar

        return bench_scalebar.scale_bars
    if name == "analyze":
        import bench_analyze

        return bench_analyze.analyze
    if name == "cut_paste":
        import bench_cut_paste

        return bench_cut_paste.cut_paste
    return startup


def _about() -> str:
    from tem_seg.core import provenance

    git, machine = provenance.git_state(ROOT), provenance.hardware()
    commit = (git["commit"] or "no commit")[:12] + (" with changes" if git["diff"] else "")
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    return (
        f"commit: {commit} · {machine['processor']} · {machine['cores']} cores · {machine['memory_gb']} GB · "
        f"OMP_NUM_THREADS {threads} · {date.today()}"
    )


def _lines(chosen: list[str], quick: bool) -> Iterator[str]:
    yield _about()
    for name in FIGURES:
        if name in chosen:
            yield from _figure(name)(quick)


def main() -> None:
    """Prints the chosen figures, and writes them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", metavar="figure", help=f"any of {', '.join(FIGURES)} (default: all)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="also write the lines to a Markdown file")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time of this process")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs; figures mean nothing")
    options = parser.parse_args()
    if unknown := sorted(set(options.figures) - set(FIGURES)):
        parser.error(f"unknown figure {', '.join(unknown)}: choose from {', '.join(FIGURES)}")
    warnings.filterwarnings("ignore")  # the lines are the output, not what libraries have to say
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    on_cpu = options.clock == "cpu"
    if on_cpu:
        import bench_common

        bench_common.clock = time.process_time
    printed = []
    for line in _lines(options.figures or list(FIGURES), options.quick):
        print(line, flush=True)
        printed.append(line)
    if options.save:
        flags = [*options.figures, *(["--quick"] if options.quick else []), *(["--clock cpu"] if on_cpu else [])]
        command = " ".join(["python scripts/bench.py", *flags])
        rows = "\n".join(f"- {line}" for line in printed)
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(f"# Benchmarks\n\nBy `{command}`.\n\n{rows}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

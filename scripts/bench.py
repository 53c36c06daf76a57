"""Prints one line a figure, ``<name>: <value> <unit>``, after a line on commit and hardware.

    python scripts/bench.py                        all figures (about ten minutes)
    python scripts/bench.py loop loader            some of them
    python scripts/bench.py --save docs/results/bench.md

Ratios are medians of interleaved blocks of one run. Run it on a quiet machine, or with --clock cpu OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURES = {
    "startup": "bench_startup", "generate": "bench_generation", "cut_paste": "bench_cut_paste",
    "measure": "bench_prediction", "regionprops": "bench_measurement", "predict": "bench_prediction",
    "huge": "bench_huge", "rotated": "bench_rotated",
    "loop": "bench_training", "loader": "bench_training", "sweep": "bench_sweep", "scale_bars": "bench_scalebar",
    "analyze": "bench_analyze", "stardist": "bench_stardist",
}  # fmt: skip
"""Figure, a function of that name → the script it stands in; in the order of the lines."""


def _figure(name: str) -> Callable[[bool], Iterator[str]]:
    """Imports what the figure needs, and no more: torch takes seconds."""
    found: Callable[[bool], Iterator[str]] = getattr(importlib.import_module(FIGURES[name]), name)
    return found


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

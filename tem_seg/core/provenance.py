"""What a run must remember to be repeated: code, packages, machine."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "tem_seg", "torch", "torchvision", "detectron2", "lightning", "hydra-core", "omegaconf", "numpy", "scipy",
    "opencv-python-headless", "albumentations", "pycocotools", "faster-coco-eval", "scikit-image", "wandb",
)  # fmt: skip


def git_state(folder: Path) -> dict[str, Any]:
    """Commit, uncommitted changes and new files of the checkout that holds ``folder``; None where there is no git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    folder = Path(top) if top else folder
    untracked = git("ls-files", "--others", "--exclude-standard")
    return {
        "commit": git("rev-parse", "HEAD"), "diff": git("diff", "HEAD"),
        "untracked": None if untracked is None else untracked.splitlines(),
    }  # fmt: skip


def versions() -> dict[str, str | None]:
    """Installed version of every package that figures depend on; None where absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def packages() -> dict[str, str]:
    """Version of every installed distribution, by its name."""
    path = [folder for folder in sys.path if "_vendor" not in folder]  # what setuptools brings for itself
    found: dict[str, str] = {}
    for one in metadata.distributions(path=path):
        found.setdefault(str(one.metadata["Name"]), one.version)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def command() -> list[str]:
    """What was typed, to be typed again: ``python -m tem_seg.run …``, or the name of a script and its arguments."""
    program = Path(sys.argv[0])
    ours = program.suffix == ".py" and program.parent.name == "tem_seg"
    return [*(["python", "-m", f"tem_seg.{program.stem}"] if ours else [program.name]), *sys.argv[1:]]


def gpus() -> list[str]:
    """Names of the machine's NVIDIA GPUs, asked without torch; [] where there are none."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def hardware() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, GPUs, operating system."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor,
        "cores": cores,
        "memory_gb": round(memory / 1e9, 1) if memory else None,
        "gpus": gpus(),
        "system": platform.platform(),
    }


CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


def begin_peak_memory() -> None:
    """From here on :func:`peak_memory_gb` counts: a sweep runs many jobs in one process. Linux alone can do that.

    What earlier jobs left, and what the C library keeps of it for later, is given back first (glibc alone can).
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR_REFS.write_text("5")  # proc(5): resets the peak of the resident set
    except OSError:  # another system, or a sandbox that forbids it: the peak is the process's
        return


def peak_memory_gb() -> float:
    """Largest resident memory of this process since :func:`begin_peak_memory`, or its start, GB of 1e9 bytes."""
    if STATUS.is_file():
        told = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
        if "VmHWM" in told:
            return round(int(told["VmHWM"].split()[0]) * 1024 / 1e9, 3)
    # Linux counts KiB, macOS bytes
    unit = 1 if platform.system() == "Darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)

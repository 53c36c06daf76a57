"""What a run must remember to be repeated: code, packages, machine."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "tem_seg", "torch", "torchvision", "detectron2", "lightning", "hydra-core", "omegaconf", "numpy", "scipy",
    "opencv-python-headless", "albumentations", "pycocotools", "faster-coco-eval", "scikit-image", "wandb",
)  # fmt: skip


def git_state(folder: Path) -> dict[str, Any]:
    """Commit and uncommitted changes of the checkout that holds ``folder``; None values where there is no git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    return {"commit": git("rev-parse", "HEAD"), "diff": git("diff", "HEAD", "--", ".")}


def versions() -> dict[str, str | None]:
    """Installed version of every package that figures depend on; None where absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, operating system."""
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
        "system": platform.platform(),
    }


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, GB (Linux counts KiB, macOS bytes)."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)

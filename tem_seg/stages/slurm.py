"""What tem_seg asks SLURM, and how it says what SLURM answered."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from tem_seg.core.errors import UserError

PATIENCE_S = 30
"""A controller that does not answer for so long is taken for absent."""


def job() -> str | None:
    """The number of the job that this process belongs to, the same after a requeue; None outside SLURM."""
    return os.environ.get("SLURM_JOB_ID")


def is_queued(number: str) -> bool:
    """Whether a job runs or waits, also to be started again after a preemption. False where SLURM cannot be asked."""
    try:
        asked = subprocess.run(
            ["squeue", "--noheader", "--format=%T", f"--jobs={number}"],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and bool(asked.stdout.strip())


def check_launcher(arguments: Sequence[str]) -> None:
    """Raises UserError for a launcher of jobs without ``-m``, and for SLURM's where there is no SLURM."""
    chosen = [a.partition("=")[2] for a in arguments if a.startswith("hydra/launcher=")]
    launcher = chosen[-1] if chosen else ""
    shown = any(a in ("--cfg", "-c", "--info", "-i") for a in arguments)
    if launcher in ("", "basic") or shown:
        return
    if not {"-m", "--multirun"} & set(arguments):
        raise UserError(
            f"hydra/launcher={launcher} starts the jobs of a multirun, and this is none: add -m (for one job as well)"
        )
    if "slurm" in launcher and shutil.which("sbatch") is None:
        raise UserError(
            f"hydra/launcher={launcher}: there is no SLURM on this machine (no sbatch on the PATH). Start this on the "
            "cluster's login node, or take hydra/launcher=parallel (jobs side by side here), or leave it out (one "
            "after the other)"
        )


def refusal(error: BaseException) -> str | None:
    """What SLURM said, in one line, where the error is that it refused a job; else None."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ == "FailedJobError" and type(cause).__module__.startswith("submitit"):
            lines = [line.removeprefix("sbatch: error: ").strip(" .") for line in str(cause).splitlines()]
            return "SLURM refused the job: " + " · ".join(dict.fromkeys(line for line in lines if line))
        cause = cause.__cause__ or cause.__context__
    return None

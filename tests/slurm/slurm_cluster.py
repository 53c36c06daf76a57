"""A user of the SLURM that the tests start."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SMALL = ("hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=60")
"""Of the test's node. Over 10 minutes, or submitit takes a preemption for a time-out."""


@dataclass
class Cluster:
    """environment: of a user of this SLURM."""

    environment: dict[str, str]

    def start(self, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        """``python -m tem_seg.run -m … hydra/launcher=slurm_cpu`` in ``folder``, with its own outputs."""
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tem_seg.run", "-m", "hydra/launcher=slurm_cpu", *SMALL, *arguments]
        return subprocess.Popen(command, cwd=folder, env=self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    def run(self, folder: Path, *arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """As :meth:`start`, to its end."""
        process = self.start(folder, *arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def ask(self, *command: str) -> str:
        """What one of SLURM's commands says."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

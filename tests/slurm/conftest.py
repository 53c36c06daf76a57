"""A real SLURM of one node, up for these tests alone. They run where they are asked for: ``make test-slurm``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from slurm_cluster import Cluster

SCRIPTS = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skipped in the normal suite, whatever is installed."""
    if "slurm" not in str(config.option.markexpr):
        for item in items:
            if item.get_closest_marker("slurm"):
                item.add_marker(pytest.mark.skip(reason="starts a real SLURM: make test-slurm"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Up before the first test; all daemons are ended after the last one, whatever became of the tests."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.fail(f"make test-slurm needs root, and {', '.join(missing) or 'SLURM'}: apt-get install slurm-wlm munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # munged wants a folder that others can enter: pytest's are closed
    ports = dict(zip(("SLURM_CTLD_PORT", "SLURM_D_PORT"), map(str, free_ports(2)), strict=True))
    try:
        up = subprocess.run(["bash", SCRIPTS / "slurm_up.sh", folder], env=os.environ | ports, capture_output=True,
                            text=True, timeout=60, check=False)  # fmt: skip
        assert up.returncode == 0, up.stdout + up.stderr
        yield Cluster(os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1", "TEM_SEG_OUTPUTS": "outputs", "WANDB_MODE": "offline",
        })  # fmt: skip
    finally:
        pids = [int(path.read_text()) for path in (folder / "run").glob("*.pid")]
        subprocess.run(["bash", SCRIPTS / "slurm_down.sh", folder], timeout=120, check=False)
        assert not [pid for pid in pids if psutil.pid_exists(pid)]
        shutil.rmtree(folder)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports

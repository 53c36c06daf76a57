"""Where one process of a distributed training stands among the others, and how it reaches them (stages/ranks.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from tem_seg.core.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

MEETING = timedelta(minutes=10)
"""Tasks of one job start within this time of each other."""
VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What Lightning and torch.distributed read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process stands. devices: processes a node; index: in the node; address, port: of the leader's store."""

    devices: int = 1
    nodes: int = 1
    node: int = 0
    index: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    started_by_slurm: bool = False

    @property
    def rank(self) -> int:
        """0 leads."""
        return self.node * self.devices + self.index

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes


def place_of(cfg: DictConfig) -> Place:
    """Where this process stands. Raises UserError where SLURM started others than the config asks for."""
    devices, nodes = cfg.trainer.devices, cfg.trainer.nodes
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks == 1 and nodes == 1:
        return Place(devices)
    there = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    if tasks != devices * nodes or there != nodes:
        raise UserError(
            f"trainer.nodes={nodes} and trainer.devices={devices} ask for {devices * nodes} processes, one a device, "
            f"but {tasks} were started on {there} node(s): give trainer.* on the command line with "
            f"hydra/launcher=slurm, or start them with srun --nodes={nodes} --ntasks-per-node={devices}"
        )
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    own = {name: os.environ[f"SLURM_{name}"] for name in ("NODEID", "LOCALID", "STEP_NODELIST", "JOB_ID")}
    address = SLURMEnvironment.resolve_root_node_address(own["STEP_NODELIST"])
    port = 15000 + int(own["JOB_ID"][-4:])  # all of the job's processes know it, and another job has another one
    return Place(devices, nodes, int(own["NODEID"]), int(own["LOCALID"]), address, port, started_by_slurm=True)


def store_of(place: Place, *, serves: bool) -> TCPStore:
    """The leader's store, or a connection to it."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        return TCPStore(place.address, place.port, None, serves, MEETING, wait_for_workers=False, multi_tenant=True)
    except RuntimeError as error:
        raise UserError(
            f"process {place.rank} cannot reach the first one at {place.address}:{place.port}: {error}"
        ) from error


@contextmanager
def in_environment(place: Place) -> Iterator[None]:
    """What Lightning and torch.distributed read, for the time of the block."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    values = (place.rank, place.index, place.node, place.address, place.port)
    os.environ.update({name: str(value) for name, value in zip(VARIABLES, values, strict=True)})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

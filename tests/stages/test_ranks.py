"""Several processes, one run: who leads, who follows, and what happens where one of them fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from omegaconf import DictConfig

from tem_seg.config import check
from tem_seg.core.errors import UserError
from tem_seg.stages import ranks
from tem_seg.stages.place import Place, place_of

GOLD = ["experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", "trainer.precision=32-true",
        "max_instances=50"]  # fmt: skip


def composed(*overrides: str) -> DictConfig:
    from hydra import compose, initialize_config_dir

    from tem_seg.config import schema

    schema.register()
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", [*GOLD, *overrides])


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


def inside_slurm(monkeypatch: pytest.MonkeyPatch, tasks: int, nodes: int, **own: str) -> None:
    values = {"STEP_NUM_TASKS": str(tasks), "STEP_NUM_NODES": str(nodes), "JOB_ID": "1234567", "NODEID": "0",
              "LOCALID": "0", "STEP_NODELIST": "gpu[07-09]"} | own  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


# -------------------------------------------------------------------------------------------------- places


def test_one_process_is_alone() -> None:
    place = place_of(composed())
    assert (place.rank, place.ranks, place.started_by_slurm) == (0, 1, False)


def test_outside_slurm_the_first_process_starts_the_others() -> None:
    place = place_of(composed("trainer.devices=2"))
    assert (place.rank, place.ranks, place.address, place.started_by_slurm) == (0, 2, "127.0.0.1", False)


def test_a_task_of_slurm_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 5 of two nodes with four each; the store is on the first node, at a port that the job's number gives."""
    inside_slurm(monkeypatch, 8, 2, NODEID="1", LOCALID="1")
    place = place_of(composed("trainer.devices=4", "trainer.nodes=2", "train.batch_size=8"))
    assert (place.rank, place.ranks, place.index, place.node) == (5, 8, 1, 1)
    assert (place.address, place.port, place.started_by_slurm) == ("gpu07", 19567, True)


@pytest.mark.parametrize(
    ("tasks", "nodes", "devices", "asked"), [(2, 1, 1, 1), (4, 2, 4, 1), (2, 1, 2, 2), (3, 1, 2, 1)]
)
def test_other_tasks_than_the_training_asks_for(
    monkeypatch: pytest.MonkeyPatch, tasks: int, nodes: int, devices: int, asked: int
) -> None:
    inside_slurm(monkeypatch, tasks, nodes)
    overrides = (f"trainer.devices={devices}", f"trainer.nodes={asked}", "train.batch_size=8")
    with pytest.raises(UserError, match=rf"but {tasks} were started on {nodes} node\(s\)"):
        place_of(composed(*overrides))


def test_several_nodes_need_slurm() -> None:
    with pytest.raises(UserError, match=r"trainer.nodes=2 .* hydra/launcher=slurm"):
        place_of(composed("trainer.nodes=2"))


def test_a_batch_that_cannot_be_shared_out_is_refused_before_any_work() -> None:
    with pytest.raises(
        UserError, match=r"train.batch_size = 2 cannot be shared out among 3 processes .* multiple of 3"
    ):
        check.check(composed("trainer.devices=3"))
    check.check(composed("trainer.devices=2"))


# --------------------------------------------------------------------------------------------- one that fails


def test_what_another_process_finds_wrong_is_said_by_the_first(tmp_path: Path) -> None:
    """The first one would only see a lost connection. The other one, told to train without a dataset, says so."""
    cfg = composed("trainer.devices=2", f"paths.outputs={tmp_path}")
    seen: list[Any] = []

    def lead(team: ranks.Team) -> Path:
        with team.training(cfg, tmp_path):
            seen.extend(team._started)
            deadline = time.monotonic() + 120
            while team._fault() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            raise RuntimeError("Connection closed by peer")
        return tmp_path

    before = dict(os.environ)
    with pytest.raises(UserError, match=r"has no datasets.json: run the 'generate' stage first"):
        ranks.together(cfg, lead)
    assert len(seen) == 1 and not seen[0].is_alive()
    assert dict(os.environ) == before, "nothing of it is left in the environment"


LEADER = """
import os, signal, sys
from tem_seg.stages import ranks
if __name__ == "__main__":
    place = ranks.Place(devices=2)
    store = ranks.store_of(place, serves=True)
    team = ranks.Team(ranks.replace(place, port=store.port), store)
    team._start(1)
    print(team._started[0].pid, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_kill_9_of_the_first_no_process_stays(tmp_path: Path) -> None:
    script = tmp_path / "leader.py"
    script.write_text(LEADER)
    leader = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert leader.stdin and leader.stdout
    other = psutil.Process(int(leader.stdout.readline()))
    deadline = time.monotonic() + 60
    while not other.net_connections() and time.monotonic() < deadline:  # it listens to the leader's store
        time.sleep(0.1)
    leader.stdin.write("\n")
    leader.stdin.flush()
    assert leader.wait(timeout=60) == -signal.SIGKILL
    psutil.wait_procs([other], timeout=60)
    assert not other.is_running() or other.status() == psutil.STATUS_ZOMBIE


# --------------------------------------------------------------------------------------------------- a whole run


def test_two_processes_make_one_run(tmp_path: Path) -> None:
    """One dataset and one W&B run (tests/slurm: of all stages); the curves have the rows of one process."""
    arguments = [*GOLD, "model.norm=gn", "trainer.devices=2", "logger=wandb", "train.training_images_scored=1",
                 "stages=[generate,train]"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TEM_SEG_OUTPUTS": "outputs", "WANDB_MODE": "offline"}
    said = subprocess.run([sys.executable, "-m", "tem_seg.run", *arguments], cwd=tmp_path, env=environment, text=True,
                          capture_output=True, timeout=500, check=False)  # fmt: skip
    assert said.returncode == 0, said.stderr
    (run,) = (tmp_path / "outputs" / "runs" / "gold_aunp").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert record["finished"] and record["stages"]["train"]["processes"] == 2
    assert len(list((tmp_path / "outputs" / "datasets").glob("gold_aunp-*/train"))) == 1
    assert len(list(tmp_path.rglob("offline-run-*"))) == 1
    curves = pd.read_csv(run / "metrics.csv")
    assert list(curves["step"]) == [0, 1, 2, 3] and curves["val/ap"].notna().sum() == 2
    assert said.stdout.count("on torchvision") == 1 and "Traceback" not in said.stderr


def test_places_are_counted_node_by_node() -> None:
    assert [Place(2, 3, node, index).rank for node in range(3) for index in range(2)] == list(range(6))

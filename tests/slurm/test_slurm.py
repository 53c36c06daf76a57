"""On a real SLURM: a sweep with a job that fails, a preemption in mid-training, two tasks, and what SLURM refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from slurm_cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

GOLD = ("experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", "trainer.precision=32-true",
        "max_instances=50", "train.validation_images=1", "train.training_images_scored=1")  # fmt: skip
"""Seconds a job: an untrained model finds as many particles as it may."""
TRAINING = (*GOLD, "train.steps=80", "train.validate_every=10")
"""Long enough to be preempted between two checkpoints."""


def runs(folder: Path) -> list[Path]:
    return sorted((folder / "outputs" / "runs" / "gold_aunp").glob("*/"))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("outputs/sweeps/*/.submitit/*/*_log.*")))


def until(true: Callable[[], bool], what: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.2)


def test_of_four_jobs_one_fails_and_is_named(cluster: Cluster, tmp_path: Path) -> None:
    said = cluster.run(tmp_path, *GOLD, "stages=[generate,train]", "optimizer.lr=1e-3,2e-3,1e30,3e-3")
    assert said.returncode == 2, said.stdout + said.stderr + logs(tmp_path)
    finished = [read(run / "run.json") for run in runs(tmp_path) if read(run / "run.json")["finished"]]
    assert sorted(run["config"]["optimizer"]["lr"] for run in finished) == [1e-3, 2e-3, 3e-3], said.stderr
    assert len({run["slurm_job"] for run in finished}) == 3, "each in a job of its own"
    told = said.stdout + said.stderr
    assert "training diverged at step" in told and "1e+30" in told.replace("1e30", "1e+30"), told
    (summary,) = tmp_path.glob("outputs/sweeps/*/summary.csv")
    assert list(pd.read_csv(summary)["state"]) == ["complete", "complete", "failed", "complete"]
    assert len(list((tmp_path / "outputs" / "datasets").glob("gold_aunp-*/train"))) == 1, "one dataset for all"


def test_preempted_while_it_trains_it_ends_with_the_same_figures(cluster: Cluster, tmp_path: Path) -> None:
    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    said = cluster.run(calm, *TRAINING)
    assert said.returncode == 0, said.stderr + logs(calm)
    sweep = cluster.start(disturbed, *TRAINING)
    try:
        until(lambda: any(disturbed.glob("outputs/runs/*/*/checkpoints/last.ckpt")), "the first checkpoint")
        cluster.ask("sbatch", "--partition=high", "--exclusive", "--wait", "--output=/dev/null", "--wrap=true")
        _, err = sweep.communicate(timeout=400)
    finally:
        sweep.kill()
    assert sweep.returncode == 0, err + logs(disturbed)
    (before,), (after,) = runs(calm), runs(disturbed)
    log = logs(disturbed)
    assert "this job is preempted" in log and log.count("· runs in") == 1 and log.count("· resumes") == 1
    assert validated(log) == sorted(set(validated(log))), "no interval was trained twice to its end"
    assert (before / "metrics.csv").read_bytes() == (after / "metrics.csv").read_bytes()
    assert read(before / "metrics.json") == read(after / "metrics.json")
    assert pd.read_csv(before / "particles.csv").equals(pd.read_csv(after / "particles.csv"))


def validated(log: str) -> list[int]:
    return [int(line.split()[1].split("/")[0]) for line in log.splitlines() if line.startswith("  step ")]


def test_two_tasks_make_one_dataset_one_report_and_one_wandb_run(cluster: Cluster, tmp_path: Path) -> None:
    said = cluster.run(tmp_path, *GOLD, "trainer.devices=2", "logger=wandb")
    assert said.returncode == 0, said.stderr + logs(tmp_path)
    (run,) = runs(tmp_path)
    record = read(run / "run.json")
    assert record["finished"] and record["stages"]["train"]["processes"] == 2
    assert len(list((tmp_path / "outputs" / "datasets").glob("gold_aunp-*/train"))) == 1
    assert len(list(tmp_path.rglob("report.html"))) == 1 and len(list(tmp_path.rglob("metrics.json"))) == 1
    assert len(list(tmp_path.rglob("offline-run-*"))) == 1
    assert logs(tmp_path).count("tem_seg ") == 1, "the second task says nothing"
    assert len(list(tmp_path.rglob("*_result.pkl"))) == 2, "both tasks ran to their end"


def test_more_tasks_than_the_training_asks_for(cluster: Cluster, tmp_path: Path) -> None:
    said = cluster.run(tmp_path, *GOLD, "stages=[generate]", "hydra.launcher.tasks_per_node=2")
    assert said.returncode == 2 and "but 2 were started on 1 node(s)" in said.stderr and not runs(tmp_path)


def test_a_wrong_partition_is_refused_in_slurms_words(cluster: Cluster, tmp_path: Path) -> None:
    said = cluster.run(tmp_path, *GOLD, "hydra.launcher.partition=gpuu")
    assert said.returncode == 2
    line = said.stderr.strip().splitlines()[-1]  # submitit prints sbatch's own before
    assert line.startswith("tem_seg: SLURM refused the job: invalid partition specified: gpuu")
    assert "Traceback" not in said.stderr and not runs(tmp_path)


def test_a_job_that_waits_is_known_to_come_back(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """stages/rundir.py leaves it its run directory."""
    from tem_seg.stages import slurm

    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.environment[name])
    job = cluster.ask("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")
    assert slurm.is_queued(job)
    cluster.ask("scancel", job)
    assert not slurm.is_queued(job) and not slurm.is_queued("987654")

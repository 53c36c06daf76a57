"""What is asked of SLURM and said of it; on a machine without it, and with a stand-in for its commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from submitit.core.utils import FailedJobError

from tem_seg.core.errors import UserError
from tem_seg.stages import rundir, slurm


@pytest.fixture
def no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it; returns its one folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return folder


def command(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    (folder / name).chmod(0o755)


# ------------------------------------------------------------------------------------------------- launchers


@pytest.mark.parametrize("launcher", ["slurm", "slurm_cpu", "submitit_slurm"])
def test_without_slurm_it_says_what_to_use_instead(no_slurm: Path, launcher: str) -> None:
    with pytest.raises(UserError, match=rf"hydra/launcher={launcher}: there is no SLURM .* hydra/launcher=parallel"):
        slurm.check_launcher(["-m", "experiment=gold_aunp", f"hydra/launcher={launcher}"])


def test_with_sbatch_there_is_slurm(no_slurm: Path) -> None:
    command(no_slurm, "sbatch")
    slurm.check_launcher(["--multirun", "hydra/launcher=slurm"])


def test_a_launcher_without_multirun_would_be_passed_over(no_slurm: Path) -> None:
    with pytest.raises(UserError, match="hydra/launcher=slurm starts the jobs of a multirun, .* add -m"):
        slurm.check_launcher(["experiment=gold_aunp", "hydra/launcher=slurm"])


@pytest.mark.parametrize("arguments", [
    ["experiment=gold_aunp"], ["-m", "seed=1,2"], ["-m", "hydra/launcher=basic"], ["-m", "hydra/launcher=parallel"],
    ["hydra/launcher=slurm", "--cfg", "hydra"],
])  # fmt: skip
def test_what_needs_no_slurm_is_let_through(no_slurm: Path, arguments: list[str]) -> None:
    slurm.check_launcher(arguments)


def test_the_program_says_it_before_any_work(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "TEM_SEG_OUTPUTS": str(tmp_path / "outputs")}
    said = subprocess.run([sys.executable, "-m", "tem_seg.run", "-m", "experiment=gold_aunp", "hydra/launcher=slurm"],
                          env=environment, capture_output=True, text=True, check=False)  # fmt: skip
    assert said.returncode == 2 and said.stderr.startswith("tem_seg: hydra/launcher=slurm: there is no SLURM")
    assert len(said.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_what_slurm_refuses_is_said_in_its_words() -> None:
    cause = FailedJobError(
        "sbatch: error: invalid partition specified: gpuu\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    )
    error = RuntimeError("the sweep has failed")
    error.__cause__ = cause
    assert slurm.refusal(error) == (
        "SLURM refused the job: invalid partition specified: gpuu · "
        "Batch job submission failed: Invalid partition name specified"
    )
    assert slurm.refusal(ValueError("of our own")) is None


# --------------------------------------------------------------------------------------- jobs that will come back


def test_a_job_is_queued_where_squeue_lists_it(no_slurm: Path) -> None:
    assert not slurm.is_queued("7"), "nobody to ask"
    command(no_slurm, "squeue", '[ "$3" = --jobs=7 ] && echo PENDING', "exit 0")
    assert slurm.is_queued("7") and not slurm.is_queued("8")
    command(no_slurm, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2", "exit 1")
    assert not slurm.is_queued("7")


def test_a_preempted_job_finds_its_own_run_again(
    no_slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs of one config wait after a preemption: neither takes the run of the other, nor does a third one."""
    cfg = OmegaConf.create({"name": "gold", "seed": 0, "run_dir": None, "paths": {"outputs": str(tmp_path)}})
    command(no_slurm, "squeue", 'case "$3" in --jobs=7|--jobs=8) echo PENDING ;; esac')
    own = {}
    for job in ("7", "8"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        taken = rundir.claim(cfg)
        record = {"config_digest": rundir.digest(rundir.plain(cfg)), "finished": None, "slurm_job": slurm.job()}
        rundir.write(taken.path, record)
        own[job] = taken.path
        taken.lock.release()
    assert own["7"] != own["8"]
    for job in ("7", "8"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        taken = rundir.claim(cfg)
        assert taken.path == own[job] and taken.resumed
        taken.lock.release()
    monkeypatch.delenv("SLURM_JOB_ID")
    third = rundir.claim(cfg)
    assert third.path not in own.values() and not third.resumed
    third.release()
    command(no_slurm, "squeue", "exit 1")  # both jobs are gone for good
    assert rundir.claim(cfg).path in own.values()

"""The command line: what is said, where, and with which exit code."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from tem_seg import run
from tem_seg.config import check
from tem_seg.stages import runner


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """command(*arguments): runs the program in this process, outputs below tmp_path."""
    monkeypatch.setenv("TEM_SEG_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setattr(sys, "argv", ["tem_seg.run"])
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        try:
            run.main([*arguments])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


GOLD = ("experiment=gold_aunp", "profile=smoke")


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("train.stepz=3", "train.stepz", "steps"), ("+train.stepz=3", "train.stepz", "steps"),
        ("++train.stepz=3", "train.stepz", "steps"), ("model.bakend=auto", "model.bakend", "backend"),
        ("+model.bakend=auto", "model.bakend", "backend"),
    ],
)  # fmt: skip
def test_a_misspelt_key_ends_before_any_work(
    command: Callable[..., Said], tmp_path: Path, override: str, key: str, near: str
) -> None:
    said = command(*GOLD, override)
    assert said.code == 2
    assert f"unknown key '{key}'" in said.err and near in said.err
    assert "Traceback" not in said.err and not list(tmp_path.rglob("*.json"))


def test_an_unknown_experiment_lists_those_that_exist(command: Callable[..., Said]) -> None:
    said = command("experiment=gold", "profile=smoke")
    assert said.code == 2 and said.err.startswith("tem_seg: ") and "Traceback" not in said.err
    assert all(file.stem in said.err for file in (check.config_folder() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("profile=smoke",), "choose an experiment"), ((*GOLD, "train.steps=many"), "could not be converted"),
        ((*GOLD, "train.steps"), "Error parsing override 'train.steps'"),
        ((*GOLD, "recipe=null"), "left out with '~recipe'"),
        ((*GOLD, "stages=[report]"), "run the 'generate' stage first"),
        ((*GOLD, "stages=[]"), "nothing to do"),
    ],
)  # fmt: skip
def test_other_faults_of_the_user_have_no_traceback(
    command: Callable[..., Said], arguments: tuple[str, ...], part: str
) -> None:
    said = command(*arguments)
    assert said.code == 2 and part in said.err and "Traceback" not in said.err


def test_our_own_faults_have_one(command: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(cfg: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(runner, "run", fail)
    said = command(*GOLD)
    assert said.code == 1 and "Traceback" in said.err and "RuntimeError: a bug" in said.err


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The configs that would have been run."""
    seen: list[Any] = []
    monkeypatch.setattr(runner, "run", lambda cfg: seen.append(cfg.copy()))
    return seen


def test_without_cuda_and_without_a_name_laptop_is_taken_and_said_first(
    command: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "has_cuda", lambda: False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    said = command("experiment=gold_aunp", "model.backend=torchvision", "stages=[report]")
    assert "gold_aunp · profile laptop (no CUDA here and none named) · runs in " in said.out.splitlines()[0]


def test_with_cuda_the_default_profile_is_taken(
    command: Callable[..., Said], composed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "has_cuda", lambda: True)
    command("experiment=gold_aunp")
    assert [cfg.profile for cfg in composed] == ["default"]


def test_multirun_never_guesses(
    command: Callable[..., Said], composed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs may be meant for a cluster, and login nodes have no GPU."""
    monkeypatch.setattr(run, "has_cuda", lambda: False)
    assert command("-m", "experiment=gold_aunp", "seed=1,2").code == 0
    assert [(cfg.profile, cfg.seed) for cfg in composed] == [("default", 1), ("default", 2)]


def test_one_fault_ends_a_multirun_with_its_text(command: Callable[..., Said]) -> None:
    said = command("-m", *GOLD, "seed=1,2", "+train.epoch=3")
    assert said.code == 2 and "unknown key 'train.epoch'" in said.err and "Traceback" not in said.err


# ------------------------------------------------------------------------------------------- choice of profile


@pytest.mark.parametrize(
    ("arguments", "cuda", "slurm", "chosen"),
    [
        (["experiment=gold_aunp"], False, False, True),
        (["experiment=gold_aunp"], True, False, False),
        (["experiment=gold_aunp"], False, True, False),
        (["experiment=gold_aunp", "profile=smoke"], False, False, False),
        (["+profile=smoke"], False, False, False),
        (["-m", "seed=1,2"], False, False, False),
        (["--multirun", "seed=1,2"], False, False, False),
        (["hydra/launcher=submitit_slurm"], False, False, False),
        (["--cfg", "job"], False, False, False),
        (["train.profile=1"], False, False, True),
    ],
)
def test_choice_of_profile(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], cuda: bool, slurm: bool, chosen: bool
) -> None:
    monkeypatch.setattr(run, "has_cuda", lambda: cuda)
    monkeypatch.setenv("TEM_SEG_PROFILE_CHOSEN", "left over from another run")
    if slurm:
        monkeypatch.setenv("SLURM_JOB_ID", "1")
    else:
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert run.choose_profile(arguments) == [*arguments, *(["profile=laptop"] if chosen else [])]
    assert run.os.environ.get("TEM_SEG_PROFILE_CHOSEN") == ("laptop" if chosen else None)


@pytest.mark.parametrize(("initialised", "count", "there"), [(0, 1, True), (0, 0, False), (100, 1, False)])
def test_cuda_is_asked_of_the_driver(
    monkeypatch: pytest.MonkeyPatch, initialised: int, count: int, there: bool
) -> None:
    def devices(reference: Any) -> int:
        reference._obj.value = count
        return 0

    driver = SimpleNamespace(cuInit=lambda flags: initialised, cuDeviceGetCount=devices)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert run.has_cuda() is there


def test_no_driver_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert run.has_cuda() is False


# --------------------------------------------------------------------------------------------- light to start


def test_help_and_import_take_no_torch(command: Callable[..., Said]) -> None:
    code = "import sys, tem_seg.run, tem_seg.stages.runner; sys.exit(bool({'torch', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert command("--help").code == 0

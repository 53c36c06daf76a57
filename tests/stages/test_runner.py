"""The order of the stages, what is kept, and what run.json remembers; the stages themselves are stand-ins."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tem_seg.config import check, schema
from tem_seg.config.schema import Stage
from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.models import rcnn
from tem_seg.stages import runner

STAGES = [stage.value for stage in Stage]


def composed(outputs: Path, *overrides: str) -> DictConfig:
    schema.register()
    given = ["experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", f"paths.outputs={outputs}"]
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", [*given, *overrides])


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that ran; put a name into ``ran.fails`` to make one fail."""
    done = Done()

    def stand_in(name: str) -> Callable[[DictConfig, Path], Any]:
        def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any] | None:
            if name in done.fails:
                raise UserError(f"{name} cannot go on")
            done.append(name)
            (run_dir / f"{name}.txt").write_text(name)
            return {"made_by": name} if name != "report" else None

        return run

    for name in STAGES:
        monkeypatch.setitem(sys.modules, f"tem_seg.stages.{name}", SimpleNamespace(run=stand_in(name)))
    return done


class Done(list[str]):
    def __init__(self) -> None:
        super().__init__()
        self.fails: set[str] = set()


def record_of(outputs: Path) -> dict[str, Any]:
    (file,) = (outputs / "runs" / "gold_aunp").glob("*/run.json")
    return dict(json.loads(file.read_text()) | {"folder": file.parent})


def test_stages_run_in_their_order_whatever_the_order_they_are_listed_in(tmp_path: Path, ran: Done) -> None:
    runner.run(composed(tmp_path, "stages=[report,generate,evaluate,train]"))
    assert ran == ["generate", "train", "evaluate", "report"]


def test_run_json_remembers_what_is_needed_to_repeat_the_run(
    tmp_path: Path, ran: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/tem_seg/run.py", "experiment=gold_aunp", "seed=7"])
    runner.run(composed(tmp_path, "seed=7"))
    record = record_of(tmp_path)
    assert record["experiment"] == "gold_aunp" and record["profile"] == "smoke" and record["seed"] == 7
    assert record["config"]["train"]["steps"] == 4 and record["config"]["stages"] == STAGES
    assert record["command"] == ["python", "-m", "tem_seg.run", "experiment=gold_aunp", "seed=7"]
    assert (
        record["versions"]["torch"]
        and record["hardware"]["cores"] >= 1
        and set(record["git"]) == {"commit", "diff", "untracked"}
    )
    assert record["started"] <= record["finished"] and record["profile_chosen"] is False
    assert list(record["stages"]) == STAGES
    for name, stage in record["stages"].items():
        assert stage["wall_s"] >= 0 and stage["peak_memory_gb"] > 0 and stage["finished"]
        assert stage.get("made_by") == (name if name != "report" else None)


def test_a_failed_run_goes_on_where_it_stopped(tmp_path: Path, ran: Done, capsys: pytest.CaptureFixture[str]) -> None:
    ran.fails.add("predict")
    with pytest.raises(UserError, match="predict cannot go on"):
        runner.run(composed(tmp_path))
    record = record_of(tmp_path)
    assert record["finished"] is None and list(record["stages"]) == ["generate", "train"]
    ran.fails.clear()
    capsys.readouterr()
    runner.run(composed(tmp_path))
    said = capsys.readouterr().out
    assert ran == STAGES
    assert "· resumes " in said.splitlines()[0]
    assert "generate: done before, kept" in said and "train: done before, kept" in said
    again = record_of(tmp_path)
    assert again["folder"] == record["folder"] and again["started"] == record["started"] and again["finished"]


def test_a_finished_run_is_not_touched_by_the_same_command(tmp_path: Path, ran: Done) -> None:
    runner.run(composed(tmp_path))
    runner.run(composed(tmp_path))
    assert ran == STAGES * 2 and len(list((tmp_path / "runs" / "gold_aunp").iterdir())) == 2


def test_run_dir_repeats_the_asked_stages_and_keeps_the_others(tmp_path: Path, ran: Done) -> None:
    runner.run(composed(tmp_path))
    folder = record_of(tmp_path)["folder"]
    ran.clear()
    runner.run(composed(tmp_path, f"run_dir={folder}", "stages=[evaluate,report]", "evaluation.score=0.5"))
    record = record_of(tmp_path)
    assert ran == ["evaluate", "report"] and set(record["stages"]) == set(STAGES)
    assert record["config"]["evaluation"]["score"] == 0.5


def test_the_lock_is_given_back_after_a_failure(tmp_path: Path, ran: Done) -> None:
    ran.fails.add("generate")
    for _ in range(2):
        with pytest.raises(UserError, match="generate cannot go on"):
            runner.run(composed(tmp_path))
    assert len(list((tmp_path / "runs" / "gold_aunp").iterdir())) == 1


def test_the_summary_says_figures_and_red_flags(
    tmp_path: Path, ran: Done, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = {"ap": 0.5, "ap50": 0.75, "ap75": None, "f1": 0.8, "n_truths": 12, "n_images": 3, "red_flags": ["capped"]}
    metrics["splits"] = {"val": {"ap": 0.25}}

    def evaluate(cfg: DictConfig, run_dir: Path) -> None:
        atomic.write_json(run_dir / "metrics.json", metrics)
        (run_dir / "report.html").write_text("")

    monkeypatch.setitem(sys.modules, "tem_seg.stages.evaluate", SimpleNamespace(run=evaluate))
    assert runner.run(composed(tmp_path)) == 0.25, "what a sweep goes by: of validation, not of test"
    lines = capsys.readouterr().out.splitlines()
    assert "RED FLAG: capped" in lines
    assert "ap 0.500 · ap50 0.750 · f1 0.800 · 12 particles in 3 micrographs" in lines
    assert lines[-1].startswith("done: ") and lines[-1].endswith("report.html")


def test_red_flags_of_predictions_are_said_also_without_an_evaluation(
    tmp_path: Path, ran: Done, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"red_flags": ["some may be missing", "val: some may be missing"]}
    monkeypatch.setitem(sys.modules, "tem_seg.stages.predict", SimpleNamespace(run=lambda cfg, run_dir: flags))
    runner.run(composed(tmp_path, "stages=[predict]"))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("RED FLAG")]
    assert said == ["RED FLAG: some may be missing", "RED FLAG: val: some may be missing"]


def test_a_run_without_metrics_returns_none(tmp_path: Path, ran: Done) -> None:
    assert runner.run(composed(tmp_path, "stages=[generate]")) is None


def test_the_chosen_profile_is_said_first_and_recorded(
    tmp_path: Path, ran: Done, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEM_SEG_PROFILE_CHOSEN", "laptop")
    runner.run(composed(tmp_path, "profile=laptop", "stages=[generate]"))
    first = capsys.readouterr().out.splitlines()[0]
    assert "gold_aunp · profile laptop (no CUDA here and none named) · runs in " in first
    assert record_of(tmp_path)["profile_chosen"] is True


# ------------------------------------------------------------------------------------------- before any work


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+train.epoch=3", "unknown key 'train.epoch'"),
        ("+model.bakend=auto", "unknown key 'model.bakend'"),
        ("model.norm=layer", "model: norm must be frozen_bn, bn or gn, got 'layer'"),
        ("model.norm=frozen_bn", "model: frozen_bn with random weights diverges"),
        ("model.backend=tensorflow", "model.backend must be auto, detectron2 or torchvision"),
    ],
)
def test_faults_are_found_before_any_work_and_leave_nothing(
    tmp_path: Path, ran: Done, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        runner.run(composed(tmp_path, override))
    assert ran == [] and not list(tmp_path.rglob("*.json")) and not list(tmp_path.glob("runs/gold_aunp/*"))


def test_absent_detectron2_is_found_before_any_work(tmp_path: Path, ran: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rcnn.detectron2, "why_unavailable", lambda: "detectron2 is not installed")
    with pytest.raises(UserError, match="detectron2 is not installed. Install it with"):
        runner.run(composed(tmp_path, "model.backend=detectron2"))
    assert ran == []


def test_a_run_that_needs_no_model_asks_for_none(tmp_path: Path, ran: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluating somebody's predictions works where Detectron2 is absent."""
    monkeypatch.setattr(rcnn.detectron2, "why_unavailable", lambda: "detectron2 is not installed")
    runner.run(composed(tmp_path, "model.backend=detectron2", "stages=[generate,evaluate]"))
    assert ran == ["generate", "evaluate"]


def test_a_search_without_multirun_is_refused(tmp_path: Path, ran: Done) -> None:
    with pytest.raises(UserError, match=r"sweep=random looks for values in many runs: add -m"):
        runner.run(composed(tmp_path, "sweep=random"))
    assert not ran and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("remade", [False, True])
def test_a_run_directory_that_was_deleted_is_said_so(
    tmp_path: Path, ran: Done, monkeypatch: pytest.MonkeyPatch, remade: bool
) -> None:
    def delete(cfg: DictConfig, run_dir: Path) -> None:
        shutil.rmtree(run_dir)
        if remade:  # writers make the folders that they need
            atomic.write_json(run_dir / "metrics.json", {})

    monkeypatch.setitem(sys.modules, "tem_seg.stages.train", SimpleNamespace(run=delete))
    with pytest.raises(UserError, match="was deleted while its run was at work: start the run again"):
        runner.run(composed(tmp_path))
    assert ran == ["generate"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "no space"), r"no space left while writing in .*MB free\).*paths.outputs="),
        (OSError(errno.EDQUOT, "quota"), "disk quota used up while writing in"),
        (ValueError("another"), "another"),
        (OSError(errno.ENOENT, "not there"), "not there"),
    ],
)
def test_a_full_disk_is_explained_and_other_errors_stay(
    tmp_path: Path, ran: Done, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(cfg: DictConfig, run_dir: Path) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "tem_seg.stages.train", SimpleNamespace(run=fail))
    with pytest.raises(UserError if "while" in said else type(error), match=said) as raised:
        runner.run(composed(tmp_path))
    assert raised.value.__cause__ is not raised.value

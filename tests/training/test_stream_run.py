"""The whole program with generation.stream=true: no training micrograph on disk, and what needs one does without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

STREAM = ("experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", "generation.stream=true",
          "train.workers=1")  # fmt: skip
pytestmark = pytest.mark.timeout(600)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TEM_SEG_OUTPUTS": "outputs"}
    return subprocess.Popen(
        [sys.executable, "-m", "tem_seg.run", *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(folder: Path, *arguments: str) -> tuple[Path, str]:
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=540)
    assert process.returncode == 0, err
    return sorted((folder / "outputs" / "runs" / "gold_aunp").iterdir())[-1], out


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return finish(tmp_path_factory.mktemp("streamed"), *STREAM)


def record(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / "run.json").read_text()))


def test_all_stages_end_and_say_what_is_not_there(streamed: tuple[Path, str]) -> None:
    run_dir, said = streamed
    stages = record(run_dir)["stages"]
    assert len(stages) == 6 and stages["generate"]["streamed"] == "train"
    assert stages["train"]["micrographs"] == "streamed micrographs, one for each of 8 samples"
    assert "training micrographs are neither scored, nor predicted, nor exported" in said
    assert (run_dir / "report.html").is_file() and not (run_dir / "predictions_train.json").exists()


def test_figures_are_of_validation_and_test_alone(streamed: tuple[Path, str]) -> None:
    run_dir, _ = streamed
    curves = pd.read_csv(run_dir / "metrics.csv")
    assert "val/ap" in curves and "train/ap" not in curves and curves["train/loss"].notna().all()
    assert set(json.loads((run_dir / "metrics.json").read_text())["splits"]) == {"val"}


def test_no_training_micrograph_is_written(streamed: tuple[Path, str]) -> None:
    run_dir, _ = streamed
    folders = {path.parents[1].name for path in run_dir.parents[2].glob("datasets/*/*/images/*.png")}
    assert folders == {"val", "test"}


def test_a_killed_run_ends_with_the_same_weights(streamed: tuple[Path, str], tmp_path: Path) -> None:
    process = start(tmp_path / "killed", *STREAM)
    assert process.stdout is not None
    assert any(line.startswith("  step 2/4") for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    run_dir, said = finish(tmp_path / "killed", *STREAM)
    assert " · resumes " in said.splitlines()[0]
    ours, theirs = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (run_dir, streamed[0])
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)

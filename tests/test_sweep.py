"""One sweep of real trainings, side by side: shared data, a figure of the validation split, a best config that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tem_seg.stages import rundir

LINE = (
    "experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", "max_instances=40",
    "prediction.train_images=1", "stages=[generate,train,predict,evaluate]",
)  # fmt: skip


def tem_seg(outputs: Path, *arguments: str) -> str:
    """Runs the program as a user does."""
    command = [sys.executable, "-m", "tem_seg.run", *arguments, f"paths.outputs={outputs}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def test_a_random_search_of_trainings(tmp_path: Path) -> None:
    launcher = ("hydra/launcher=parallel", "hydra.launcher.n_jobs=2")
    helpers = ("generation.workers=2", "train.workers=1")  # processes that a job starts itself
    tem_seg(tmp_path, "-m", *LINE, "sweep=random", "sweep.n_trials=2", *launcher, *helpers)
    (sweep,) = (tmp_path / "sweeps").iterdir()
    jobs = [read(sweep / number / "job.json") for number in ("0", "1")]
    assert [job["state"] for job in jobs] == ["complete", "complete"]
    assert len([path for path in (tmp_path / "datasets").iterdir() if not path.name.startswith(".")]) == 1
    for job in jobs:
        run = Path(job["run_dir"])
        assert job["figure"] == read(run / "metrics.json")["splits"]["val"]["ap"], "of validation, not of test"
        assert [step for step, _ in job["validations"]] == [2, 4]
        record = read(run / "run.json")
        assert record["config"]["optimizer"]["lr"] == job["parameters"]["optimizer.lr"]
        assert record["config"]["sweep"]["kind"] == "grid" and not any("sweep" in word for word in record["command"])
    assert jobs[0]["run_dir"] != jobs[1]["run_dir"] and jobs[0]["parameters"] != jobs[1]["parameters"]
    best = max(jobs, key=lambda job: float(job["figure"]))
    tem_seg(tmp_path, "--config-dir", str(sweep), "--config-name", "best", "stages=[generate]")
    runs = [read(path) for path in (tmp_path / "runs" / "gold_aunp").glob("*/run.json")]
    (again,) = [run for run in runs if run["config"]["stages"] == ["generate"]]
    stages = {"stages": read(Path(best["run_dir"]) / "run.json")["config"]["stages"]}
    assert rundir.digest(again["config"] | stages) == read(Path(best["run_dir"]) / "run.json")["config_digest"]
    assert "laptop" not in again["command"] and again["profile"] == "smoke"

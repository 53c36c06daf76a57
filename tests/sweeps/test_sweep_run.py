"""Whole sweeps of a tiny application: real processes, real folders. Real trainings: tests/test_sweep.py."""

from __future__ import annotations

import csv
import os
import signal
import time

import pytest
from tiny_app import TinyApp


def test_a_failed_job_does_not_end_a_grid(tiny: TinyApp) -> None:
    line = ("x=0.9,0.3", "shape=round,square", "fail_above=0.5", "keeps_record=false")
    said = tiny(*line, code=2)
    assert "2 of 4 jobs failed; the others are kept" in said
    assert "job 0 (tiny x=0.9 shape=round): x = 0.9 is too large" in said and "Traceback" not in said
    states = [job["state"] for job in tiny.jobs()]
    assert states == ["failed", "failed", "complete", "complete"]
    assert [call.split()[1:3] for call in tiny.calls()] == [
        [x, shape] for x in ("0.9", "0.3") for shape in ("round", "square")
    ], "the product, in its order"
    page = (tiny.newest() / "summary.html").read_text()
    assert "Job 0: x = 0.9 is too large" in page and "Best of them: <b>job 2</b>" in page
    rows = list(csv.DictReader((tiny.newest() / "summary.csv").open()))
    assert [row["x"] for row in rows] == ["0.9", "0.9", "0.3", "0.3"]
    assert float(rows[2]["figure"]) == 1.0 and rows[0]["figure"] == "" and rows[0]["error"]
    # the same folder again: what failed runs once more, what is done does not
    again = tiny(*line, f"hydra.sweep.dir={tiny.newest()}", code=2)
    assert "continues" in again and len(tiny.calls()) == 6


def test_each_experiment_has_its_own_study_and_a_dead_worker_costs_one_job(tiny: TinyApp) -> None:
    line = ("experiment=a,b", "sweep=random", "+sweep.n_jobs=null", "sweep.n_trials=4", "die_at=2",
            "hydra/launcher=parallel", "hydra.launcher.n_jobs=2")  # fmt: skip
    said = tiny(*line, code=2)
    jobs = tiny.jobs()
    of = {name: [job for job in jobs if job["experiment"] == name] for name in ("a", "b")}
    assert [job["trial"] for job in of["a"]] == [job["trial"] for job in of["b"]] == [0, 1, 2, 3]
    assert all(isinstance(job["parameters"]["x"], float) for job in of["a"])
    assert {job["parameters"]["x"] for job in of["b"]} <= {1, 2, 3}
    dead = [job["number"] for job in jobs if job["parameters"]["x"] == 2]
    assert dead and [job["number"] for job in jobs if job["state"] == "failed"] == dead, said
    assert all("Terminated" in job["error"] for job in jobs if job["state"] == "failed")
    processes = {call.split()[-1] for call in tiny.calls()}
    assert str(os.getpid()) not in processes


def test_a_killed_search_goes_on_with_the_trials_of_an_undisturbed_one(tiny: TinyApp) -> None:
    line = ("experiment=a", "sweep=tpe", "sweep.prune=false", "sweep.startup_trials=2", "sweep.n_trials=5")
    tiny(*line, f"hydra.sweep.dir={tiny.folder / 'whole'}")
    whole = [job["parameters"] for job in tiny.jobs(tiny.folder / "whole")]
    with tiny.start(*line) as process:
        while len(tiny.calls()) < 5 + 3 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)
        busy = tiny(*line, f"hydra.sweep.dir={tiny.newest()}", code=2)
        process.send_signal(signal.SIGKILL)
    assert "in use by another sweep" in busy
    done = sum(job["state"] == "complete" for job in tiny.jobs())
    assert 2 <= done < 5
    said = tiny(*line)
    assert "continues" in said and f"{done} complete" in said and len(list(tiny.sweeps.glob("*/"))) == 1
    assert [job["parameters"] for job in tiny.jobs()] == whole
    assert len(tiny.calls()) in (5 + 5, 5 + 5 + 1), "at most the job that was killed ran twice"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["x=1,2", "shap=a"], "shap"),  # a key that is not there: before any job
        (["x=interval(0.0,1.0)"], "a grid needs them one by one"),
    ],
)
def test_what_cannot_be_composed_leaves_nothing_behind(tiny: TinyApp, line: list[str], said: str) -> None:
    with tiny.start(*line) as process:
        assert said in "".join(process.communicate(timeout=300))
    assert process.returncode and not tiny.sweeps.exists() and not tiny.calls()

"""Trials: reproducible, within their bounds, better than chance where a model chooses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tem_seg.stages.sweep_job import Job
from tem_seg.sweeps import search
from tem_seg.sweeps.search import Sampling

SPACE = {
    "lr": FloatDistribution(1e-4, 1e-2, log=True), "steps": IntDistribution(1, 3),
    "kind": CategoricalDistribution(("a", "b")), "share": FloatDistribution(0.0, 0.9, step=0.3),
}  # fmt: skip


def job(number: int, parameters: dict[str, Any], figure: float | None, state: str = "complete", **more: Any) -> Job:
    return Job(number, "gold", number, [], parameters, figure=figure, state=state, **more)


def test_the_same_seed_gives_the_same_trials_in_whatever_portions_they_are_asked_for() -> None:
    together = search.ask(SPACE, [], range(5), Sampling(seed=1))
    apart = [search.ask(SPACE, [], [number], Sampling(seed=1))[0] for number in range(5)]
    assert together == apart and len({str(trial) for trial in together}) == 5
    assert search.ask(SPACE, [], range(5), Sampling(seed=2)) != together


def test_trials_lie_within_the_space() -> None:
    trials = search.ask(SPACE, [], range(200), Sampling(seed=0))
    rates = np.array([trial["lr"] for trial in trials])
    assert 1e-4 <= rates.min() < 1.3e-4 and 0.8e-2 < rates.max() <= 1e-2
    assert abs(np.log10(rates).mean() + 3) < 0.15, "uniform in the logarithm"
    assert {trial["steps"] for trial in trials} == {1, 2, 3} and {trial["kind"] for trial in trials} == {"a", "b"}
    assert {trial["share"] for trial in trials} == {0.0, 0.3, 0.6, 0.9}
    assert all(len(f"{rate:e}".split("e")[0].strip("0").replace(".", "")) <= 4 for rate in rates), "four digits"


def test_tpe_comes_closer_than_chance_and_is_reproducible() -> None:
    def searched(sampling: Sampling) -> list[float]:
        jobs: list[Job] = []
        for number in range(30):
            (trial,) = search.ask({"x": FloatDistribution(-5, 5)}, jobs, [number], sampling)
            jobs.append(job(number, trial, -((trial["x"] - 2) ** 2)))
        return [one.parameters["x"] for one in jobs]

    modelled, random = searched(Sampling(3, startup_trials=8)), searched(Sampling(3))
    assert modelled[:8] == random[:8] and modelled == searched(Sampling(3, startup_trials=8))
    assert np.mean(np.abs(np.array(modelled[8:]) - 2)) < 0.5 * np.mean(np.abs(np.array(random[8:]) - 2))


def test_failed_and_pruned_trials_are_no_obstacle() -> None:
    jobs = [job(0, {"x": 1.0}, None, "failed"), job(1, {"x": 2.0}, 0.1, "pruned", validations=[[400, 0.1]])]
    jobs += [job(n, {"x": float(n)}, 0.5) for n in (2, 3)]
    (trial,) = search.ask({"x": FloatDistribution(0, 5)}, jobs, [4], Sampling(0, startup_trials=2))
    assert 0 <= trial["x"] <= 5


@pytest.mark.parametrize("as_text", [False, True])
def test_the_parameter_that_matters_is_the_most_important(as_text: bool) -> None:
    rng = np.random.default_rng(0)
    jobs = []
    for number in range(40):
        matters, does_not = (float(v) for v in rng.uniform(0, 1, 2))
        values = {"matters": matters, "does_not": does_not, "always": 3}
        jobs.append(job(number, {k: str(v) for k, v in values.items()} if as_text else values, 1 - matters**2))
    shares = search.importance(jobs)
    assert next(iter(shares)) == "matters" and shares["matters"] > 0.8 and set(shares) == {"matters", "does_not"}
    assert sum(shares.values()) == pytest.approx(1)


def test_importance_says_nothing_where_nothing_is_known() -> None:
    assert search.importance([]) == {}
    assert search.importance([job(n, {"x": n}, 0.1 * n) for n in range(5)]) == {}, "too few"
    assert search.importance([job(n, {"x": 1}, 0.1 * n) for n in range(9)]) == {}, "nothing varies"
    assert search.importance([job(n, {"x": n}, 0.0) for n in range(9)]) == {}, "all the same"
    assert search.importance([job(n, {"x": n}, None, "failed") for n in range(9)]) == {}

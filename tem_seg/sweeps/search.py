"""Random search and TPE on Optuna's ask and tell, each trial from the seed, its number and what is known before it.

Optuna's study lives in memory and is built from the jobs' records whenever trials are asked for: the records are the
one truth, nothing has to be kept equal to them, and no process can leave a lock or a trial that runs for ever.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tem_seg.core.seeds import child_seed
from tem_seg.stages.sweep_job import Job

optuna.logging.set_verbosity(optuna.logging.WARNING)
DIGITS = 4
"""Significant digits of a number that is tried: it can be read, and typed again."""
LEAST_FOR_IMPORTANCE = 6
"""Finished trials from which an importance says anything."""
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How trials are chosen. startup_trials: at random before TPE's model decides; None: all of them are random."""

    seed: int
    startup_trials: int | None = None


def ask(
    space: dict[str, BaseDistribution], jobs: Sequence[Job], numbers: Sequence[int], sampling: Sampling
) -> list[dict[str, Any]]:
    """Parameters of the trials of these numbers, of which none knows another's figure. jobs: the trials before them."""
    study = _study(space, [job for job in jobs if job.state in STATES])
    found = []
    for number in numbers:
        study.sampler = _sampler(sampling, child_seed(sampling.seed, "trial", number) % 2**32)
        asked = study.ask(space).params
        found.append({key: _readable(value, space[key]) for key, value in asked.items()})
    return found


def _sampler(sampling: Sampling, seed: int) -> optuna.samplers.BaseSampler:
    if sampling.startup_trials is None:
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():  # constant_liar counts as experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=sampling.startup_trials, constant_liar=True)


def _readable(value: Any, distribution: BaseDistribution) -> Any:
    """A float with few digits, still within its bounds; a stepped one without the rounding of its sum."""
    if not isinstance(distribution, FloatDistribution):
        return value
    if distribution.step is not None:
        return round(value, 10)
    return min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high)


def _study(space: dict[str, BaseDistribution], jobs: Sequence[Job]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    for job in jobs:
        study.add_trial(_trial(space, job))
    return study


def _trial(space: dict[str, BaseDistribution], job: Job) -> FrozenTrial:
    parameters = {key: value for key, value in job.parameters.items() if key in space}
    return create_trial(
        state=STATES[job.state], value=job.figure, params=parameters, distributions={k: space[k] for k in parameters},
        intermediate_values={int(step): value for step, value in job.validations},
    )  # fmt: skip


def importance(jobs: Sequence[Job]) -> dict[str, float]:
    """Share of each parameter in what the good trials have in common (PED-ANOVA, Watanabe et al. 2023), largest first.

    {} with too few finished trials, or where no parameter takes two values.
    """
    done = [job for job in jobs if job.state == "complete" and job.figure is not None]
    space = observed(done)
    if len(done) < LEAST_FOR_IMPORTANCE or not space or len({job.figure for job in done}) < 2:
        return {}
    known = [job for job in done if set(space) <= set(job.parameters)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(optuna.importance.get_param_importances(_study(space, [_as_numbers(job, space) for job in known])))


def observed(jobs: Sequence[Job]) -> dict[str, BaseDistribution]:
    """The space that the trials cover, of the parameters that take two values or more."""
    space: dict[str, BaseDistribution] = {}
    for key in dict.fromkeys(key for job in jobs for key in job.parameters):
        values = [job.parameters[key] for job in jobs if key in job.parameters]
        numbers = as_numbers(values)
        if len(set(values)) < 2:
            continue
        if numbers is None:
            space[key] = CategoricalDistribution(tuple(dict.fromkeys(map(str, values))))
        elif all(number.is_integer() for number in numbers):
            space[key] = IntDistribution(int(min(numbers)), int(max(numbers)))
        else:
            low, high = min(numbers), max(numbers)
            space[key] = FloatDistribution(low, high, log=low > 0 and high / low >= 20)
    return space


def as_numbers(values: Sequence[Any]) -> list[float] | None:
    """The values as numbers where all of them are some (a grid's are texts), else None."""
    try:
        return None if any(isinstance(value, bool) for value in values) else [float(value) for value in values]
    except (TypeError, ValueError):
        return None


def _as_numbers(job: Job, space: dict[str, BaseDistribution]) -> Job:
    return replace(job, parameters={key: _typed(job.parameters[key], space[key]) for key in space})


def _typed(value: Any, distribution: BaseDistribution) -> int | float | str:
    if isinstance(distribution, CategoricalDistribution):
        return str(value)
    return int(float(value)) if isinstance(distribution, IntDistribution) else float(value)

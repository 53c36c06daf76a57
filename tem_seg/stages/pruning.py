"""Trainings of a sweep that are ended early: they are compared through the jobs' records, wherever they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tem_seg.stages import sweep_job
from tem_seg.stages.sweep_job import Job, Prune, Pruned


def judge() -> Callable[[int, dict[str, float], bool], bool] | None:
    """What a training of this job asks after each validation (it may ask in another process); None outside a sweep."""
    found = sweep_job.active()
    return partial(falls_behind, found[0]) if found else None


def falls_behind(folder: Path, step: int, figures: dict[str, float], last: bool) -> bool:
    """Notes a validation; True where the training is to end. figures: by their names in the curves, ``val/ap`` …

    last: the training is at its end, nothing is left to save.
    """
    job = sweep_job.read(folder)
    if job is None or (value := figures.get(f"val/{job.metric}")) is None:
        return False
    earlier = [entry for entry in job.validations if entry[0] < step]  # a resumed training validates again
    job = replace(job, validations=[*earlier, [step, value]])
    behind = False
    if job.prune and not last:
        siblings = [sweep_job.read(path.parent) for path in sorted(folder.parent.glob(f"*/{sweep_job.JOB_FILE}"))]
        behind = below_median(job, job.prune, [other for other in siblings if other])
    sweep_job.write(folder, replace(job, ended_at=step if behind else None))
    return behind


def check_not_ended() -> None:
    """Raises Pruned where the training of this job was ended early."""
    found = sweep_job.active()
    if found and found[1].ended_at is not None and found[1].prune:
        figure, least = found[1].validations[-1][1], found[1].prune.after_trials
        raise Pruned(
            f"ended at step {found[1].ended_at}: {found[1].metric} {figure:.3f} on validation, below the median of the "
            f"finished trainings (at least {least})"
        )


def below_median(job: Job, prune: Prune, others: list[Job]) -> bool:
    """Optuna's median rule: the best figure so far is below the median of those of finished trainings at this step."""
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(prune.after_trials, prune.from_step)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for other in others:
        if other.experiment == job.experiment and other.state == "complete" and other.figure is not None:
            study.add_trial(create_trial(value=other.figure, intermediate_values=_by_step(other)))
    return bool(pruner.prune(study, create_trial(state=TrialState.RUNNING, intermediate_values=_by_step(job))))


def _by_step(job: Job) -> dict[int, float]:
    return {int(step): value for step, value in job.validations}

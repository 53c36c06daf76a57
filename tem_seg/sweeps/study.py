"""The jobs of one experiment in a sweep: which come next, by grid, at random, or by what is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader

from tem_seg.config.schema import Sweep, SweepKind, SweepMetric
from tem_seg.core.errors import UserError
from tem_seg.stages.sweep_job import Job, Prune
from tem_seg.sweeps import space
from tem_seg.sweeps.space import Arguments

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

IN_TRAINING = (SweepMetric.ap, SweepMetric.ap50)
"""Figures that each validation of a training gives."""


@dataclass
class Study:
    """name: the experiment's. fixed: overrides of each of its jobs. points: a grid's; space: a search's."""

    name: str
    fixed: list[str]
    settings: Sweep
    points: list[dict[str, Any]] = field(default_factory=list)
    space: dict[str, BaseDistribution] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)

    @property
    def wanted(self) -> int:
        """How many jobs there are to be."""
        return len(self.points) if self.settings.kind is SweepKind.grid else max(self.settings.n_trials, len(self.jobs))

    def next(self, numbers: Iterator[int], most: int | None) -> list[Job]:
        """The jobs to run now: those that were begun, then new ones; [] when all are over. most: None for all."""
        begun = [job for job in self.jobs if not job.over]
        room = None if most is None else max(0, most - len(begun))
        first = len(self.jobs)
        new = [self._job(next(numbers), first + index, p) for index, p in enumerate(self._new(first, room))]
        self.jobs += new
        return [*begun, *new][:most]

    def _new(self, first: int, room: int | None) -> list[dict[str, Any]]:
        if self.settings.kind is SweepKind.grid:
            there = [job.parameters for job in self.jobs]
            return [point for point in self.points if point not in there][:room]
        trials = range(first, self.settings.n_trials)[:room]
        if not trials:
            return []
        from tem_seg.sweeps import search

        startup = self.settings.startup_trials if self.settings.kind is SweepKind.tpe else None
        return search.ask(self.space, self.jobs, trials, search.Sampling(self.settings.seed, startup))

    def _job(self, number: int, trial: int, parameters: dict[str, Any]) -> Job:
        search = self.settings.kind is not SweepKind.grid
        prune = Prune(self.settings.prune_after_trials, self.settings.prune_from_step) if self.settings.prune else None
        return Job(
            number, self.name, trial, [*self.fixed, *space.as_overrides(parameters)], parameters,
            metric=self.settings.metric.value, needs_figure=search, prune=prune if search else None,
        )  # fmt: skip

    def take_up(self, jobs: Sequence[Job]) -> list[Job]:
        """Goes on from earlier records. A grid's failed jobs are to run again; a search's stay what they are."""
        mine = [job for job in jobs if job.experiment == self.name]
        again = self.settings.kind is SweepKind.grid
        self.jobs = [
            replace(job, state="waiting", error=None, wall_s=None) if again and job.state == "failed" else job
            for job in mine
        ]
        return [job for job, before in zip(self.jobs, mine, strict=True) if job != before]


def grid(name: str, fixed: list[str], settings: Sweep, swept: Arguments) -> Study:
    """Every combination of the command line's values."""
    return Study(name, fixed, settings, points=space.grid(swept.swept))


def search(name: str, fixed: list[str], settings: Sweep, swept: Arguments, loader: ConfigLoader) -> Study:
    """Random search or TPE over the command line's values and sweep.space. Raises UserError where that cannot be."""
    _check(name, settings)
    set_already = space.fixed_keys(fixed, loader) | {key.lstrip("+") for key in swept.swept}
    found = {
        key: override
        for key, override in space.named(dict(settings.space or {}), loader).items()
        if key.lstrip("+") not in set_already
    }
    try:
        distributions = space.distributions(found | swept.swept)
    except ImportError as error:
        raise UserError(
            f"sweep={settings.kind.value} needs Optuna: pip install 'tem_seg[sweeps]' (a grid does without)"
        ) from error
    if not distributions:
        raise UserError(
            f"{name}: nothing to search. Give a key some values, e.g. 'optimizer.lr=tag(log,interval(1e-4,3e-3))', or "
            "set sweep.space in the experiment"
        )
    return Study(name, fixed, settings, space=distributions)


def _check(name: str, settings: Sweep) -> None:
    if settings.n_trials < 1 or (settings.n_jobs is not None and settings.n_jobs < 1):
        raise UserError(f"{name}: sweep.n_trials and sweep.n_jobs must be at least 1")
    if settings.prune and settings.metric not in IN_TRAINING:
        known = " or ".join(metric.value for metric in IN_TRAINING)
        raise UserError(
            f"{name}: sweep.metric={settings.metric.value} is not known while a training runs, so none can be ended "
            f"early by it: sweep.prune=false, or sweep.metric={known}"
        )

"""A sweep from its command line to its summary."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from tem_seg.config import schema
from tem_seg.config.schema import SweepKind
from tem_seg.core.errors import UserError
from tem_seg.stages import sweep_job
from tem_seg.stages.sweep_job import Job
from tem_seg.sweeps import folder as folders
from tem_seg.sweeps import launching, space, study, summary
from tem_seg.sweeps.study import Study

ONE_BY_ONE = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


class Sweep:
    """One multirun. config: composed without what is swept; arguments: the overrides as typed."""

    def __init__(
        self, context: HydraContext, task_function: TaskFunction, config: DictConfig, arguments: list[str]
    ) -> None:
        self.context, self.task_function, self.config = context, task_function, config
        self.arguments = arguments
        self.loader = context.config_loader

    def run(self) -> None:
        """Runs every job that is not over yet. Raises UserError at the end where some failed."""
        studies = self._studies()
        named = any(str(o).startswith("hydra.sweep.dir=") for o in self.config.hydra.overrides.hydra)
        folder = folders.choose(Path(str(self.config.hydra.sweep.dir)), named, self.arguments)
        with folders.claimed(folder, self.arguments):
            self._take_up(studies, folder)
            self._work(studies, folder)
            folders.finish(folder)
        jobs = [job for one in studies for job in one.jobs]
        print(f"sweep: {_counted(jobs)} · {summary.page(folder)}", flush=True)
        if failed := [job for job in jobs if job.state == "failed"]:
            raise UserError(f"{len(failed)} of {len(jobs)} jobs failed; the others are kept\n  " + _errors(failed))

    def _studies(self) -> list[Study]:
        parted = space.parse(self.arguments, self.loader)
        found = []
        for experiment in parted.experiments or [""]:
            fixed = [*([f"experiment={experiment}"] if experiment else []), *parted.fixed]
            composed = self._composed([*fixed, *parted.settings])
            settings = _settings(composed)
            name = experiment or str(composed.get("name") or "sweep")
            if settings.kind is SweepKind.grid:
                found.append(study.grid(name, fixed, settings, parted))
            else:
                found.append(study.search(name, fixed, settings, parted, self.loader))
        return found

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        return self.loader.load_sweep_config(self.config, list(overrides))

    def _take_up(self, studies: list[Study], folder: Path) -> None:
        """Reads the records of a sweep that is continued."""
        earlier = folders.jobs(folder)
        for one in studies:
            for job in one.take_up(earlier):
                sweep_job.write(folder / str(job.number), job)
        if earlier:
            print(f"sweep: continues {folder}: {_counted([job for one in studies for job in one.jobs])}", flush=True)

    def _work(self, studies: list[Study], folder: Path) -> None:
        with read_write(self.config), open_dict(self.config):
            self.config.hydra.sweep.dir = str(folder)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=self.task_function, config=self.config
        )
        one_by_one = self.config.hydra.launcher.get("_target_") == ONE_BY_ONE
        known = [job.number for one in studies for job in one.jobs]
        numbers = itertools.count(max(known, default=-1) + 1)
        while batch := self._batch(studies, numbers, one_by_one):
            ready = self._ready(batch, folder, first=not known)
            known += [job.number for job in batch]
            for job in launching.launch(launcher, ready, folder) if ready else ():
                print(_line(job), flush=True)
            for one in studies:
                one.jobs = [sweep_job.read(folder / str(job.number)) or job for job in one.jobs]
            summary.write(folder, self.arguments, studies)

    def _batch(self, studies: list[Study], numbers: Any, one_by_one: bool) -> list[Job]:
        """With Hydra's own launcher one of each study, so that the summary grows with every job."""
        return [job for one in studies for job in one.next(numbers, 1 if one_by_one else one.settings.n_jobs)]

    def _ready(self, batch: list[Job], folder: Path, first: bool) -> list[Job]:
        """The jobs that can be composed; records are written. Where some of the first ones cannot, nothing is begun."""
        checked = []
        for job in batch:
            try:
                self._composed(job.overrides)
            except (HydraException, OmegaConfBaseException) as error:
                if first:
                    raise
                job = replace(job, state="failed", error=sweep_job.in_a_line(error))
            checked.append(job)
        for job in checked:
            sweep_job.write(folder / str(job.number), job)
        return [job for job in checked if not job.over]


def _settings(composed: DictConfig) -> schema.Sweep:
    typed = OmegaConf.merge(OmegaConf.structured(schema.Sweep), composed.get("sweep") or {})
    return cast(schema.Sweep, OmegaConf.to_object(typed))


def _line(job: Job) -> str:
    told = {"complete": f"{job.metric} {_figure(job)} on validation", "pruned": f"{job.error}", "failed": job.error}
    wall = f" · {job.wall_s:.0f} s" if job.wall_s is not None else ""
    return f"job {job.number} ({_what(job)}): {job.state}, {told[job.state]}{wall}"


def _figure(job: Job) -> str:
    return "not known" if job.figure is None else f"{job.figure:.3f}"


def _what(job: Job) -> str:
    return " ".join([job.experiment, *space.as_overrides(job.parameters)])


def _counted(jobs: Sequence[Job]) -> str:
    counts = {state: sum(job.state == state for job in jobs) for state in sweep_job.OVER}
    return ", ".join([f"{len(jobs)} jobs", *(f"{count} {state}" for state, count in counts.items() if count)])


def _errors(failed: Sequence[Job]) -> str:
    return "\n  ".join(f"job {job.number} ({_what(job)}): {job.error}" for job in failed)

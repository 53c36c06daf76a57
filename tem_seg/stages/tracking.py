"""A job's W&B run (``logger=wandb``): one for all its stages, gone on with when the job is resumed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tem_seg.config.schema import Stage
from tem_seg.reporting.made import backend
from tem_seg.reporting.wandb_log import Wandb
from tem_seg.reporting.wandb_results import log_results
from tem_seg.stages import common, rundir
from tem_seg.stages.compared import read_runs
from tem_seg.stages.sweep_job import Pruned
from tem_seg.training.fit import last_checkpoint

if TYPE_CHECKING:
    from wandb import Run

TARGET = f"{Wandb.__module__}.{Wandb.__qualname__}"


@dataclass(frozen=True, slots=True)
class Tracked:
    """A W&B run that is open, what made it, and the process that it belongs to."""

    run: Run
    made: Wandb
    process: int


_OPEN: list[Tracked] = []
"""The innermost last: a chain's trainings are runs of their own (stages/chain.py)."""


def is_wanted(cfg: DictConfig) -> bool:
    """Whether the config's logger is W&B."""
    return bool(OmegaConf.select(cfg, "logger._target_") == TARGET)


def current() -> Tracked | None:
    """The open W&B run; None without one, and in a process that was started beside the one that has it."""
    return _OPEN[-1] if _OPEN and _OPEN[-1].process == os.getpid() else None


@contextmanager
def session(cfg: DictConfig, run_dir: Path, record: dict[str, Any]) -> Iterator[None]:
    """Opens the job's W&B run around its stages, logs what they leave, and finishes it however the block ends.

    Its id stands in run.json: a job that is resumed goes on with it. Nothing happens with any other logger.
    """
    if not is_wanted(cfg):
        yield
        return
    made: Wandb = instantiate(cfg.logger)
    known = record.get("wandb") or {}
    ended: Pruned | None = None
    with made.session(run_dir, cfg.name, rundir.plain(cfg), tags=_tags(cfg, record), run_id=known.get("id")) as run:
        if run is None:
            yield
            return
        record["wandb"] = {"id": run.id, "project": made.project, "offline": run.offline,
                           "url": None if run.offline else run.url}  # fmt: skip
        rundir.write(run_dir, record)
        _OPEN.append(Tracked(run, made, os.getpid()))
        try:
            yield
            model = last_checkpoint(run_dir / "checkpoints") if made.model else None
            log_results(run, read_runs([run_dir])[0], overlays=made.panels, model=model)
        except Pruned as end:
            ended = end
        finally:
            _OPEN.pop()
    if ended is not None:  # after the W&B run is closed: to W&B, one that was ended early has not failed
        raise ended


def _tags(cfg: DictConfig, record: dict[str, Any]) -> list[str]:
    """Profile, back end and model."""
    if Stage.train not in cfg.stages and Stage.predict not in cfg.stages:
        return [tag for tag in (cfg.profile, backend(record)) if tag]
    started = {"weights": "the chain's"} if cfg.pretrain.experiment else {}
    about = common.model_factory(cfg, ["any"], **started).about()
    kind = about["family"]
    if kind == "rcnn":
        kind = f"{'rotated_' if about.get('rotated') else ''}{'mask' if about.get('masks') else 'faster'}_rcnn"
    return [cfg.profile, backend(record) or about["backend"], kind]

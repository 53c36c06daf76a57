"""Checks a config, claims a run directory, and runs the stages that it lists."""

from __future__ import annotations

import importlib
import os
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tem_seg import __version__
from tem_seg.config import check, targets
from tem_seg.config.schema import Stage, SweepKind
from tem_seg.core import provenance
from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.data.results import classifies
from tem_seg.stages import chain, common, ranks, rundir, slurm, sweep_job


def run(cfg: DictConfig) -> float | None:
    """As :func:`carry_out`; returns what a sweep goes by: ``ap`` (or sweep.metric) of the validation split, or None."""
    alone = not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN
    if alone and cfg.sweep.kind is not SweepKind.grid:
        raise UserError(f"sweep={cfg.sweep.kind.value} looks for values in many runs: add -m (--multirun)")
    figure = _metrics(carry_out(cfg)).get("splits", {}).get("val", {}).get(sweep_job.metric())
    return None if figure is None else float(figure)


def carry_out(cfg: DictConfig) -> Path:
    """Runs ``cfg.stages`` in their fixed order; returns the run directory. Of several processes the first one does."""
    check.check(cfg)
    return ranks.together(cfg, lambda team: _lead(cfg, team))


def _lead(cfg: DictConfig, team: ranks.Team) -> Path:
    before = chain.links(cfg) if Stage.train in cfg.stages else []
    claim = rundir.claim(cfg)
    try:
        _announce(cfg, claim)
        sweep_job.note_run(claim.path)
        for part in (cfg, *before):
            targets.check(part)
            _check_model(part)
        record = _record(cfg, claim)
        with _tracked(cfg, claim.path, record):
            for stage in Stage:
                if stage in cfg.stages:
                    if stage is Stage.train:
                        sweep_job.check_validation(common.splits(claim.path))
                    if stage is Stage.train and before and stage.value not in record["stages"]:
                        _pretrain(cfg, claim.path, record, team)
                    _run_stage(stage, cfg, claim.path, record, team)
        record["finished"] = _now()
        rundir.write(claim.path, record)
        _summary(claim.path, record)
        return claim.path
    except Exception as error:
        explained = rundir.explained(error, claim.path)
        if explained is error:
            raise
        raise explained from error
    finally:
        claim.release()


def _tracked(cfg: DictConfig, run_dir: Path, record: dict[str, Any]) -> AbstractContextManager[None]:
    """What logs the job as a whole: W&B, where it is the logger."""
    if not cfg.logger:
        return nullcontext()
    from tem_seg.stages import tracking

    return tracking.session(cfg, run_dir, record)


def _announce(cfg: DictConfig, claim: rundir.Claim) -> None:
    chosen = " (no CUDA here and none named)" if os.environ.get("TEM_SEG_PROFILE_CHOSEN") == cfg.profile else ""
    state = "resumes" if claim.resumed else "runs in"
    print(
        f"tem_seg {__version__} · {cfg.name} · profile {cfg.profile}{chosen} · {state} {_short(claim.path)}", flush=True
    )


def _check_model(cfg: DictConfig) -> None:
    """Raises UserError for settings that do not go together and a back end that is not there, before any work."""
    if cfg.prediction.ensemble and Stage.predict in cfg.stages:
        from tem_seg.stages import members

        members.members(list(cfg.prediction.ensemble))
    elif Stage.train in cfg.stages or Stage.predict in cfg.stages:
        started = {"weights": "the chain's"} if cfg.pretrain.experiment else {}
        about = common.model_factory(cfg, ["any"], **started).about()
        if classifies(about) and Stage.measure in cfg.stages:
            others = ",".join(stage.value for stage in cfg.stages if stage != Stage.measure)
            raise UserError(f"a classifier finds no particles to measure: choose another model, or stages=[{others}]")


def _pretrain(cfg: DictConfig, run_dir: Path, record: dict[str, Any], team: ranks.Team) -> None:
    """Makes the trainings before this one, where they are missing; the model then starts from the last of them."""
    with sweep_job.aside():
        checkpoint = chain.start(cfg, lambda link: _lead(link, team))
    print(f"{cfg.name}: starts from {_short(checkpoint)}", flush=True)
    record["pretrained"] = {"experiment": cfg.pretrain.experiment, "checkpoint": str(checkpoint)}
    rundir.write(run_dir, record)
    cfg.model.weights = str(checkpoint)


def _record(cfg: DictConfig, claim: rundir.Claim) -> dict[str, Any]:
    earlier = rundir.read(claim.path)
    config = rundir.plain(cfg)
    if not claim.resumed:
        # asked for by name on a directory whose earlier stages stay valid: what runs now, runs anew
        kept = {name: v for name, v in earlier.get("stages", {}).items() if Stage(name) not in cfg.stages}
        earlier = {**earlier, "stages": kept}
    record = {
        **earlier,
        "experiment": cfg.name,
        "profile": cfg.profile,
        "profile_chosen": os.environ.get("TEM_SEG_PROFILE_CHOSEN") == cfg.profile,
        "command": _command(),
        "config": config,
        "config_digest": rundir.digest(config),
        "seed": cfg.seed,
        "slurm_job": slurm.job(),
        "started": earlier.get("started", _now()),
        "finished": None,
        "git": provenance.git_state(Path(__file__).parent),
        "versions": provenance.versions(),
        "packages": provenance.packages(),
        "hardware": provenance.hardware(),
        "stages": earlier.get("stages", {}),
    }
    rundir.write(claim.path, record)
    return record


def _command() -> list[str]:
    """What repeats this run alone: of a multirun's job, its own overrides."""
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra is not None and hydra.mode == RunMode.MULTIRUN:
        return ["python", "-m", "tem_seg.run", *hydra.overrides.task]
    return provenance.command()


def _run_stage(stage: Stage, cfg: DictConfig, run_dir: Path, record: dict[str, Any], team: ranks.Team) -> None:
    if stage.value in record["stages"]:
        print(f"{stage.value}: done before, kept", flush=True)
        return
    if rundir.removed(run_dir):
        raise FileNotFoundError(run_dir)
    print(f"{stage.value} …", flush=True)
    provenance.begin_peak_memory()
    start = time.perf_counter()
    module = importlib.import_module(f"tem_seg.stages.{stage.value}")
    with team.training(cfg, run_dir) if stage is Stage.train else nullcontext():
        notes = module.run(cfg, run_dir) or {}
    wall = round(time.perf_counter() - start, 2)
    record["stages"][stage.value] = {
        "finished": _now(),
        "wall_s": wall,
        "peak_memory_gb": provenance.peak_memory_gb(),
        **notes,
    }
    rundir.write(run_dir, record)
    print(f"{stage.value}: {wall:.1f} s", flush=True)


def _metrics(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "metrics.json"
    return dict(atomic.read_json(path)) if path.is_file() else {}


def _summary(run_dir: Path, record: dict[str, Any]) -> None:
    metrics = _metrics(run_dir)
    predicted = record["stages"].get("predict", {}).get("red_flags", [])  # also where nothing was evaluated
    for flag in dict.fromkeys([*metrics.get("red_flags", []), *predicted]):
        print(f"RED FLAG: {flag}", flush=True)
    shown = [f"{k} {metrics[k]:.3f}" for k in ("ap", "ap50", "ap75", "f1") if metrics.get(k) is not None]
    if shown:
        print(" · ".join([*shown, f"{metrics['n_truths']} particles in {metrics['n_images']} micrographs"]), flush=True)
    if classifies(metrics):
        print(_classified(metrics), flush=True)
    report = run_dir / "report.html"
    print(f"done: {_short(report if report.is_file() else run_dir)}", flush=True)


def _classified(metrics: dict[str, Any]) -> str:
    """A classifier's figures in a line, and what is to be known of the labels."""
    shown = [f"{name.replace('_', ' ')} {metrics[name]:.3f}" for name in ("balanced_accuracy", "accuracy")
             if metrics[name] is not None]  # fmt: skip
    majority = metrics["majority"]
    note = f" · {metrics['labels_note']}" if metrics.get("labels_note") else ""
    return " · ".join([*shown, f"{metrics['n']} samples, the commonest class is {majority['class']}"]) + note


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")

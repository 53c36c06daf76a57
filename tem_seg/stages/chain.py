"""A chain of trainings: before an experiment trains, its model is trained on another one (pretrain.experiment).

Each link is a run of its own, in the folder of its experiment. A finished one of the same configuration is used again,
an interrupted one resumed, a missing one made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tem_seg.config import check, explain
from tem_seg.config.schema import Stage
from tem_seg.core.errors import UserError
from tem_seg.stages import rundir

SHARED = ("paths", "seed", "max_instances", "trainer", "logger")
"""What a link takes from the experiment that it is made for, beside the profile and the model."""


def links(cfg: DictConfig) -> list[DictConfig]:
    """The trainings before that of ``cfg``, the nearest one first; [] without a chain.

    Raises UserError for an experiment that is not there, that does not compose, or that comes again.
    """
    found: list[DictConfig] = []
    names = [cfg.name]
    while (last := found[-1] if found else cfg).pretrain.experiment:
        found.append(_link(last))
        names.append(found[-1].name)
        if len(set(names)) < len(names):
            raise UserError(f"pretrain.experiment goes round in a circle: {' ← '.join(names)}")
    return found


def _link(cfg: DictConfig) -> DictConfig:
    """The training before that of ``cfg``: that experiment's data and budget, this one's model and machine."""
    wanted = cfg.pretrain.experiment
    overrides = [f"experiment={wanted}", f"profile={cfg.profile}", *cfg.pretrain.overrides]
    try:
        link = _compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        raise UserError(f"pretrain.experiment={wanted}: {explain.explain(cause, overrides)}") from error
    with open_dict(link):
        for key in SHARED:
            link[key] = cfg[key]
        freeze = OmegaConf.select(link, "model.freeze")
        link.model = cfg.model
        if "freeze" in link.model:
            link.model.freeze = freeze
        link.stages = [Stage.generate, Stage.train]
    check.check(link)
    return link


def _compose(overrides: list[str]) -> DictConfig:
    if GlobalHydra.instance().is_initialized():  # knows --config-dir
        return compose("config", overrides)
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", overrides)


def start(cfg: DictConfig, run: Callable[[DictConfig], object]) -> Path:
    """The checkpoint that the training of ``cfg`` starts from; ``run`` makes what is missing of the chain before it."""
    link = links(cfg)[0]
    if trained(link) is None:
        print(f"{cfg.name}: first trains on {link.name}", flush=True)
        run(link)
    checkpoint = trained(link)
    if checkpoint is None:
        raise UserError(f"the training on {link.name} left no checkpoint below {_runs(link)}")
    return checkpoint


def trained(cfg: DictConfig) -> Path | None:
    """The newest run's checkpoint of this very training, whatever other stages that run had; None: there is none."""
    wanted = rundir.digest(_training(rundir.plain(cfg)))
    for folder in sorted(_runs(cfg).glob("*/"), reverse=True):
        run, checkpoint = rundir.read(folder), folder / "checkpoints" / "last.ckpt"
        finished = Stage.train.value in run.get("stages", {}) and checkpoint.is_file()
        if finished and rundir.digest(_training(run.get("config", {}))) == wanted:
            return checkpoint
    return None


def _training(config: dict[str, object]) -> dict[str, object]:
    """The part of a configuration that a training depends on."""
    return {key: value for key, value in config.items() if key not in ("stages", "report", "evaluation", "measurement")}


def _runs(cfg: DictConfig) -> Path:
    return Path(str(cfg.paths.outputs)).resolve() / "runs" / str(cfg.name)

"""Composed configs; each is composed once, which takes Hydra 0.2 to 0.8 s."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tem_seg.config import check, schema


def composed_in(folder: Path, *overrides: str) -> DictConfig:
    """What the command line's overrides make of a folder like conf/, anew."""
    schema.register()
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose("config", [*overrides])


@cache
def composed(*overrides: str) -> DictConfig:
    """What they make of conf/: read-only, as many tests share it."""
    cfg = composed_in(check.config_folder(), *overrides)
    OmegaConf.set_readonly(cfg, True)
    return cfg

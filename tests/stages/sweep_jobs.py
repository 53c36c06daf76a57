"""What tests of sweeps' jobs share."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from tem_seg.stages.sweep_job import Job

CFG = OmegaConf.create({})


def job(number: int, **more: Any) -> Job:
    """A job of a sweep of the experiment ``gold``."""
    return Job(number, "gold", number, [f"x={number}"], {"x": number}, **more)

"""The shipped recipe and imaging, and small ones that draw in milliseconds; makes shared helpers importable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tem_seg.core.types import Particle
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipes.gold_aunp import GoldAuNP

sys.path.insert(0, str(Path(__file__).parent))  # with pytest's importlib mode a test's folder is not on the path

CONF = Path(__file__).resolve().parents[2] / "conf"


def build(group: str, name: str, **changes: Any) -> Any:
    config = OmegaConf.load(CONF / group / f"{name}.yaml")
    return instantiate(OmegaConf.merge(config, changes))


@pytest.fixture(scope="session")
def gold() -> Callable[..., GoldAuNP]:
    """gold(key=value, …): the shipped recipe with changes."""
    return lambda **changes: build("recipe", "gold_aunp", **changes)


@pytest.fixture(scope="session")
def small_gold(gold: Callable[..., GoldAuNP]) -> GoldAuNP:
    return gold(particles=[2, 6], diameter_px=[9, 16], empty_fraction=0.2)


@pytest.fixture(scope="session")
def bright_field() -> Imaging:
    imaging = build("imaging", "bright_field")
    assert isinstance(imaging, Imaging)
    return imaging


@pytest.fixture(scope="session")
def disc() -> Callable[..., Particle]:
    """disc(x, y, diameter, **contrast) in nm, of 720 corners."""

    def make(x: float, y: float, diameter: float, **contrast: float) -> Particle:
        angle = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
        outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * diameter / 2.0 + [x, y]
        return Particle(outline, diameter, "sphere", "particle", {"scattering_per_nm": 0.05} | contrast)

    return make

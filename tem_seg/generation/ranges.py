"""Ranges [min, max] of parameters: checked when an object is built, drawn from when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError

Range = tuple[float, float]
INFINITE: Range = (-float("inf"), float("inf"))
SHARE: Range = (0.0, 1.0)
POSITIVE: Range = (1e-9, float("inf"))
NOT_NEGATIVE: Range = (0.0, float("inf"))


def as_range(name: str, value: Sequence[float], limits: Range = INFINITE) -> Range:
    """Two finite numbers min <= max within limits; a UserError that names the parameter otherwise."""
    if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        raise UserError(f"{name} must be two numbers [min, max], got {value!r}")
    low, high = (as_number(name, part, limits) for part in value)
    if low > high:
        raise UserError(f"{name}: min {low:g} is greater than max {high:g}")
    return low, high


def as_number(name: str, value: Any, limits: Range = INFINITE) -> float:
    """A finite number within limits; a UserError that names the parameter otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
        raise UserError(f"{name} must be a finite number, got {value!r}")
    if not limits[0] <= value <= limits[1]:
        raise UserError(f"{name} must lie between {limits[0]:g} and {limits[1]:g}, got {value:g}")
    return float(value)


def check(owner: object, ranges: dict[str, Range], numbers: dict[str, Range] | None = None) -> None:
    """Checks and makes plain the named fields of a frozen dataclass; values are each field's limits."""
    kind = type(owner).__name__
    for field, limits in ranges.items():
        object.__setattr__(owner, field, as_range(f"{kind}.{field}", getattr(owner, field), limits))
    for field, limits in (numbers or {}).items():
        object.__setattr__(owner, field, as_number(f"{kind}.{field}", getattr(owner, field), limits))


def uniform(rng: np.random.Generator, bounds: Range) -> float:
    """A number between the two."""
    return float(rng.uniform(*bounds))


def log_uniform(rng: np.random.Generator, bounds: Range) -> float:
    """A number between the two (both > 0), every factor equally likely."""
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))


def describe(thing: Any) -> dict[str, Any]:
    """Class and parameters of a dataclass object, JSON-able: part of a dataset's identity."""
    return {"class": f"{type(thing).__module__}.{type(thing).__qualname__}", **asdict(thing)}

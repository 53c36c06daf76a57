"""Weighted kinds of particles: a recipe's mapping of shapes checked, and drawn from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.generation.ranges import Range

Kinds = Mapping[str, Mapping[str, Any]]
"""Name → {weight, category}."""


def checked_kinds(name: str, kinds: Mapping[str, Mapping[str, Any] | None], known: Collection[str]) -> dict[str, Any]:
    """A recipe's kinds without those that are null. name: of the field, for messages; known: which kinds there are."""
    plain = {str(key): dict(entry) for key, entry in kinds.items() if entry is not None}
    for key, entry in plain.items():
        if key not in known:
            raise UserError(f"{name}: no shape {key!r}; there are {', '.join(known)}")
        if set(entry) != {"weight", "category"}:
            raise UserError(f"{name}.{key} must have the keys weight and category, got {sorted(entry)}")
        weight = entry["weight"]
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise UserError(f"{name}.{key}.weight must be a number of at least 0, got {weight!r}")
    if not any(entry["weight"] for entry in plain.values()):
        raise UserError(f"{name}: at least one shape needs a weight above 0")
    return plain


def categories_of(kinds: Kinds) -> tuple[str, ...]:
    """Categories in the order in which the kinds first name them."""
    return tuple(dict.fromkeys(str(entry["category"]) for entry in kinds.values()))


def drawn_kinds(rng: np.random.Generator, kinds: Kinds, per_image: Range, count: int) -> list[str]:
    """A kind for each of ``count`` particles. A batch holds few: some are picked by weight, then one of them for each.

    per_image: [min, max] number of different kinds.
    """
    names = list(kinds)
    weights = np.array([kinds[name]["weight"] for name in names], float)
    most = int(np.count_nonzero(weights))
    low, high = (min(int(n), most) for n in per_image)
    picked = rng.choice(len(names), int(rng.integers(low, high + 1)), replace=False, p=weights / weights.sum())
    shares = weights[picked] * rng.exponential(size=len(picked))
    return [names[i] for i in rng.choice(picked, count, p=shares / shares.sum())]

"""What scenes are made of, as the dark-field detector sees it: atomic numbers and densities, checked and picked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.generation.contrast.supports import FORMS
from tem_seg.generation.ranges import NOT_NEGATIVE, as_number

EXPONENT = 1.7
"""Of the atomic number; 1.6-1.9 are reported, below Rutherford's 2 because inner electrons screen the nucleus."""


def signal_per_nm(atomic_number: float, atoms_per_nm3: float) -> float:
    """Dark-field signal of 1 nm of a material; 1 is a nm of amorphous carbon (Z = 6, 95 atoms a nm³).

    Of a compound: atomic_number is the 1.7th root of its atoms' mean Z^1.7.
    """
    return float(atoms_per_nm3 * atomic_number**EXPONENT / (95.0 * 6.0**EXPONENT))


def checked_materials(
    name: str, materials: Mapping[str, Mapping[str, Any] | None], forms: bool = False
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """A recipe's mapping of materials, weights and atoms checked; those set to null left out.

    name: of the field, for messages. forms: each also names its ``form``, a key of supports.FORMS.
    """
    plain = {str(key): dict(entry) for key, entry in materials.items() if entry is not None}
    limits = {"weight": NOT_NEGATIVE, "atomic_number": (1.0, 118.0), "atoms_per_nm3": (0.1, 1000.0)}
    for key, entry in plain.items():
        wanted = set(limits) | ({"form"} if forms else set())
        if set(entry) != wanted:
            raise UserError(f"{name}.{key} must have the keys {', '.join(sorted(wanted))}, got {sorted(entry)}")
        for field, limit in limits.items():
            entry[field] = as_number(f"{name}.{key}.{field}", entry[field], limit)
        if forms and entry["form"] not in FORMS:
            raise UserError(f"{name}.{key}.form must be one of {', '.join(FORMS)}, got {entry['form']!r}")
    if not any(entry["weight"] for entry in plain.values()):
        raise UserError(f"{name}: at least one needs a weight above 0")
    return plain


def picked(rng: np.random.Generator, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """One key, by its entry's ``weight``."""
    weights = np.array([entry["weight"] for entry in entries.values()], float)
    return str(list(entries)[int(rng.choice(len(weights), p=weights / weights.sum()))])

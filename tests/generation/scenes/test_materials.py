from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.scenes.materials import checked_materials, picked, signal_per_nm


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_nanometre_of_platinum_shines_as_z_to_the_1_7() -> None:
    assert signal_per_nm(6, 95.0) == pytest.approx(1.0)
    # (78 / 6) ** 1.7 = 78.3 an atom; 66.2 instead of 95 atoms a nm³
    assert signal_per_nm(78, 66.2) == pytest.approx(78.3 * 66.2 / 95.0, rel=1e-3)


MATERIAL = {"weight": 1.0, "atomic_number": 78, "atoms_per_nm3": 66.0}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"weight": 1.0}, "a.b must have the keys atomic_number, atoms_per_nm3, weight"),
        (MATERIAL | {"atomic_number": 0}, "a.b.atomic_number must lie between 1 and 118"),
        (MATERIAL | {"weight": -1}, "a.b.weight must lie between"),
        (MATERIAL | {"atoms_per_nm3": "many"}, "a.b.atoms_per_nm3 must be a finite number"),
        (MATERIAL | {"weight": 0}, "a: at least one needs a weight above 0"),
    ],
)
def test_bad_materials_are_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        checked_materials("a", {"b": entry})


def test_materials_of_null_are_left_out_and_forms_are_checked() -> None:
    assert set(checked_materials("a", {"b": MATERIAL, "c": None})) == {"b"}
    with pytest.raises(UserError, match="a.b.form must be one of aggregate, clouds, flakes, got 'foam'"):
        checked_materials("a", {"b": MATERIAL | {"form": "foam"}}, forms=True)


def test_picked_follows_the_weights() -> None:
    source, entries = rng(), {"a": {"weight": 3.0}, "b": {"weight": 1.0}, "c": {"weight": 0.0}}
    names = [picked(source, entries) for _ in range(600)]
    assert names.count("a") / 600 == pytest.approx(0.75, abs=0.06) and "c" not in names

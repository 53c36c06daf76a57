from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.generation.ranges import Range, as_number, as_range, check, describe, log_uniform, uniform


@dataclass(frozen=True)
class Thing:
    length: Range
    share: float


@pytest.mark.parametrize("value", [(1, 2), [1.0, 2.0], np.array([1, 2]), OmegaConf.create([1, 2])])
def test_two_numbers_make_a_range(value: Any) -> None:
    assert as_range("length", value) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([2, 1], "length: min 2 is greater than max 1"),
        ([1], "length must be two numbers"),
        (3.0, "length must be two numbers"),
        ("12", "length must be two numbers"),
        (None, "length must be two numbers"),
        ([1, float("nan")], "length must be a finite number, got nan"),
        ([1, float("inf")], "length must be a finite number, got inf"),
        (["a", 2], "length must be a finite number, got 'a'"),
        ([True, 2], "length must be a finite number, got True"),
        ([-1, 2], "length must lie between 0 and 10, got -1"),
        ([1, 11], "length must lie between 0 and 10, got 11"),
    ],
)
def test_bad_ranges_name_the_parameter(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_range("length", value, (0.0, 10.0))


def test_check_names_class_and_field_and_makes_values_plain() -> None:
    thing = Thing(OmegaConf.create([1, 2]), 1)  # type: ignore[arg-type]
    check(thing, {"length": (0, 5)}, {"share": (0, 1)})
    assert thing.length == (1.0, 2.0) and type(thing.length) is tuple
    with pytest.raises(UserError, match="Thing.share must lie between 0 and 1, got 2"):
        check(Thing((1, 2), 2), {"length": (0, 5)}, {"share": (0, 1)})


def test_numbers() -> None:
    assert as_number("n", np.float32(0.5)) == 0.5
    with pytest.raises(UserError, match="n must be a finite number, got None"):
        as_number("n", None)


def test_draws_stay_within_and_log_uniform_halves_at_the_geometric_mean() -> None:
    rng = np.random.default_rng(0)
    found = np.array([log_uniform(rng, (1.0, 100.0)) for _ in range(2000)])
    assert found.min() >= 1.0 and found.max() <= 100.0
    assert (found < 10.0).mean() == pytest.approx(0.5, abs=0.04)
    assert uniform(rng, (3.0, 3.0)) == 3.0


def test_describe_holds_class_and_values() -> None:
    found = describe(Thing((1.0, 2.0), 0.5))
    assert found["class"].endswith("Thing") and found["length"] == (1.0, 2.0) and found["share"] == 0.5

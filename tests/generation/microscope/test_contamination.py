from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.contamination import Contamination, Specks
from tem_seg.generation.microscope.exposure import Exposure

SPECKS: dict[str, Any] = {
    "probability": 1.0, "number": (30, 30), "contrast": (0.3, 0.3), "radius": (0.01, 0.01), "drifted": 0.0
}  # fmt: skip


def exposure(pixels: np.ndarray) -> Exposure:
    return Exposure(pixels.astype(np.float32), np.zeros(pixels.shape, bool), 0.5)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_contamination_changes_only_patches() -> None:
    step = Contamination(patches=(2, 2), contrast=(0.2, 0.2), radius=(0.05, 0.05), wrinkles=0.0)
    seen = exposure(np.ones((200, 200)))
    step(seen, rng())
    assert 0 < (seen.pixels < 0.99).mean() < 0.1


def test_wrinkles_darken_a_line() -> None:
    seen = exposure(np.ones((200, 200)))
    Contamination(patches=(0, 0), contrast=(0, 0), radius=(0.1, 0.1), wrinkles=1.0)(seen, rng())
    assert 0 < (seen.pixels < 0.98).mean() < 0.4 and seen.pixels.min() > 0.5


def test_specks_are_small_pale_and_as_many_as_asked_for() -> None:
    seen = exposure(np.ones((400, 400)))
    Specks(**SPECKS | {"number": (1, 1)})(seen, rng())
    area = np.pi * 4.0**2  # of a round one within its radius, where it has fallen to 1 / e
    assert 0.5 * area < (seen.pixels < seen.pixels.min() + 0.63 * (1 - seen.pixels.min())).sum() < 2.5 * area
    many = exposure(np.ones((400, 400)))
    Specks(**SPECKS)(many, rng())
    assert many.pixels.min() >= 0.7**2 and 10 < (1 - many.pixels).sum() / (1 - seen.pixels).sum() < 60


def test_drifted_specks_lie_together() -> None:
    spreads = []
    for drifted in (0.0, 1.0):
        seen = exposure(np.ones((400, 400)))
        Specks(**SPECKS | {"drifted": drifted})(seen, rng())
        y, x = np.nonzero(seen.pixels < 0.98)
        spreads.append(np.hypot(y.std(), x.std()))
    assert spreads[1] < 0.7 * spreads[0]


def test_specks_that_do_not_happen_change_nothing() -> None:
    seen = exposure(np.ones((50, 50)))
    Specks(**SPECKS | {"probability": 0.0})(seen, rng())
    assert (seen.pixels == 1).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Contamination((0, 1), (0, 0), (0.1, 0.2), 1.5), "Contamination.wrinkles must lie between 0 and 1"),
        (lambda: Specks(**SPECKS | {"number": (0, 4)}), "Specks.number must lie between 1 and 10000, got 0"),
        (lambda: Specks(**SPECKS | {"radius": (0.1, 0.01)}), "Specks.radius: min 0.1 is greater than max 0.01"),
    ],
)
def test_bad_parameters_are_named(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()

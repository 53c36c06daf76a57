from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data.split import split_by_group


@pytest.fixture
def groups() -> list[str]:
    rng = np.random.default_rng(0)
    return [f"doi {k}" for k in rng.integers(0, 120, 366)]


@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.5, 0.8])
def test_fraction_of_images_and_no_group_on_both_sides(groups: list[str], fraction: float) -> None:
    held = split_by_group(groups, fraction)
    assert held.sum() == pytest.approx(fraction * len(groups), abs=3)  # half the largest group
    sides = [{g for g, h in zip(groups, held, strict=True) if bool(h) is side} for side in (True, False)]
    assert not sides[0] & sides[1]


def test_the_order_of_images_does_not_matter(groups: list[str]) -> None:
    order = np.random.default_rng(1).permutation(len(groups))
    held = split_by_group(groups, 0.15)
    assert (split_by_group([groups[k] for k in order], 0.15) == held[order]).all()


def test_both_sides_are_never_empty() -> None:
    assert split_by_group(["a", "a", "b"], 0.01).tolist() == [False, False, True]
    assert split_by_group(["a", "a", "b"], 0.99).tolist() == [True, True, False]
    assert split_by_group(["a", "b"], 0.5).sum() == 1


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_fractions(fraction: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        split_by_group(["a", "b"], fraction)


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "a"]])
def test_one_group_cannot_be_split(groups: list[str]) -> None:
    with pytest.raises(UserError, match="cannot be split in two"):
        split_by_group(groups, 0.5)

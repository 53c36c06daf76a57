from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data.split import checked_shares, split_by_group, split_by_shares


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


def test_shares_part_the_names_and_depend_on_them_alone() -> None:
    names, shares = [f"image {k}" for k in range(50)], {"train": 0.6, "val": 0.2, "test": 0.2}
    parts = split_by_shares(names, shares)
    assert {part: parts.count(part) for part in shares} == {"train": 30, "val": 10, "test": 10}
    backwards = split_by_shares(names[::-1], shares)
    assert backwards[::-1] == parts
    assert split_by_shares(names, {"train": 1.0}) == ["train"] * 50
    with pytest.raises(UserError, match=r"2 image\(s\) cannot be shared among train, val, test"):
        split_by_shares(names[:2], shares)


def test_shares_are_checked() -> None:
    assert checked_shares({"test": 0.25, "train": 0.75, "val": 0}, "x") == {"train": 0.75, "test": 0.25}
    assert checked_shares(None, "x") == {"train": 1.0}
    for bad in ({"train": 0.5}, {"train": 1.5, "val": -0.5}, {"all": 1.0}):
        with pytest.raises(UserError, match="x: splits must be shares of train, val and test that add to 1"):
            checked_shares(bad, "x")

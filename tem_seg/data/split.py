"""Parts of a dataset that share no origin: images of one sample or one paper look alike and must not be split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError


def split_by_group(groups: Sequence[str], fraction: float) -> NDArray[np.bool_]:
    """groups (N,): the group of each image → (N,) bool, True for the held-out part of about ``fraction`` of the images.

    No group is on both sides. Groups are tried in the order of the SHA-256 of their names and held out while that
    brings the count of images closer to ``fraction * N``: the result depends on the names alone, not on the order of
    the images. Raises UserError for a fraction outside (0, 1) and for fewer than two groups.
    """
    if not 0 < fraction < 1:
        raise UserError(f"the held-out fraction must lie between 0 and 1, got {fraction}")
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise UserError(
            f"{len(sizes)} group(s) cannot be split in two: give images of different origin different groups"
        )
    target, count = fraction * len(groups), 0
    held: set[str] = set()
    order = sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest())
    for name in order:
        if abs(count + sizes[name] - target) < abs(count - target):
            held.add(name)
            count += sizes[name]
    # a fraction smaller than half of every group, or larger than all but half of one
    held = held or {min(order, key=lambda name: sizes[name])}
    if len(held) == len(sizes):
        held.remove(min(order, key=lambda name: sizes[name]))
    return np.array([name in held for name in groups], bool)


def split_by_shares(
    names: Sequence[str], shares: Mapping[str, float], test_on: Sequence[str] | None = None
) -> list[str]:
    """names (N,), each a group of its own → its part, a key of ``shares`` or "test"; by the names alone.

    shares: part → share, positive; they add to 1. test_on: names that are the part "test", the others are shared out.
    Raises UserError for fewer names than parts, and for names to test on that there are not.
    """
    if test_on is not None:
        if unknown := sorted(set(test_on) - set(names)):
            raise UserError(f"test_on names {', '.join(unknown)}, but there are {', '.join(names)}")
        others = [name for name in names if name not in test_on]
        shared = dict(zip(others, split_by_shares(others, shares), strict=True))
        return [shared.get(name, "test") for name in names]
    parts = list(shares)
    if len(names) < len(parts):
        raise UserError(f"{len(names)} image(s) cannot be shared among {', '.join(parts)}")
    found, rest, left = np.full(len(names), parts[0], dtype=object), np.arange(len(names)), 1.0
    for part in parts[:0:-1]:
        held = split_by_group([names[index] for index in rest.tolist()], shares[part] / left)
        found[rest[held]] = part
        rest, left = rest[~held], left - shares[part]
    return [str(part) for part in found]


def checked_shares(
    splits: Mapping[str, float] | None, reader: str, test_on: Sequence[str] | None = None
) -> dict[str, float]:  # fmt: skip
    """Shares of train, val and test, in this order, without those of 0; UserError where they do not add to 1.

    test_on: images that test by their names; UserError without any, or where a share is to test too.
    """
    given = {name: float(share) for name, share in (splits or {"train": 1.0}).items() if share}
    unknown = sorted(set(given) - {"train", "val", "test"})
    if unknown or min(given.values(), default=0) <= 0 or abs(sum(given.values()) - 1.0) > 1e-6:
        raise UserError(f"{reader}: splits must be shares of train, val and test that add to 1, got {splits}")
    if test_on is not None and (not test_on or "test" in given):
        raise UserError(
            f"{reader}: test_on={list(test_on)} with splits={given}: name at least one image that tests, and share the "
            "others out among train and val alone"
        )
    return {name: given[name] for name in ("train", "val", "test") if name in given}

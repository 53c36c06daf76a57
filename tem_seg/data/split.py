"""Parts of a dataset that share no origin: images of one sample or one paper look alike and must not be split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

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

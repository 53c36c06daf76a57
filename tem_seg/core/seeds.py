"""Randomness is an argument: every generator is derived from one seed and a path of names and numbers."""

from __future__ import annotations

import zlib

import numpy as np


def child_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed that depends on ``seed`` and ``path`` alone (not on process, order or platform)."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    # spawn_key, not one list: SeedSequence pads with zeros, so [7], [7, 0] and [7, 0, 0] would be one seed
    state = np.random.SeedSequence(int(seed), spawn_key=tuple(words)).generate_state(1, np.uint64)[0]
    return int(state) >> 1


def child_rng(seed: int, *path: str | int) -> np.random.Generator:
    """A generator for one purpose: ``child_rng(seed, "train", 17)`` is sample 17's, whoever draws it.

    >>> child_rng(0, "train", 1).random() == child_rng(0, "train", 1).random()
    True
    """
    return np.random.default_rng(child_seed(seed, *path))

"""Several predictions of one micrograph → one: at several magnifications, mirrored and turned."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Prediction
from tem_seg.inference.instances import by_score, concatenate, keep
from tem_seg.inference.overlap import Cover, Index, cover_of, iou, may_reach, pairs


def merge(looks: Sequence[Prediction], threshold: float, max_instances: int) -> Prediction:
    """Predictions of one micrograph at several magnifications → one, without repetitions; the higher score wins."""
    together = without_repetitions(concatenate(looks), threshold)
    cut = keep(together, np.arange(min(len(together), max_instances)))
    return dataclasses.replace(cut, capped=cut.capped or len(together) > max_instances)


def without_repetitions(prediction: Prediction, threshold: float) -> Prediction:
    """In descending score, each particle once."""
    ordered = by_score(prediction)
    return keep(ordered, distinct(ordered, threshold))


def distinct(prediction: Prediction, threshold: float) -> NDArray[np.bool_]:
    """Which particles (N,) are no repetition, with an IoU of ``threshold``, of an earlier one of the same class."""
    first, second = repetitions(cover_of(prediction), prediction.labels, threshold)
    kept = np.ones(len(prediction), bool)
    for winner, other in zip(
        first.tolist(), second.tolist(), strict=True
    ):  # in order of the winners: theirs is settled
        if kept[winner]:
            kept[other] = False
    return kept


def repetitions(cover: Cover, labels: Index, threshold: float) -> tuple[Index, Index]:
    """Pairs (i, j), i < j, of particles of the same class with an IoU of at least ``threshold``, ordered."""
    first, second = pairs(cover)
    likely = (labels[first] == labels[second]) & may_reach(cover, first, second, threshold)
    first, second = first[likely], second[likely]
    alike = iou(cover, first, second) >= threshold
    return first[alike], second[alike]


def agreed(looks: Sequence[Prediction], threshold: float) -> Prediction:
    """Predictions of one micrograph shown mirrored or turned → one, without repetitions.

    In descending score, a particle takes from every other look the one of highest IoU (at least ``threshold``, same
    class, not taken yet). Its score becomes the mean of theirs; ``agreement`` is the share of the looks that see it.
    Its place, mask, outline and all else stay those of its highest score, so that they go on fitting each other.
    What else repeats it is dropped.
    """
    looks = [without_repetitions(look, threshold) for look in looks]
    pooled = concatenate(looks)
    order = np.argsort(-pooled.scores, kind="stable")
    pooled, look = keep(pooled, order), np.repeat(np.arange(len(looks)), [len(found) for found in looks])[order]
    neighbours = _neighbours(pooled, look, threshold)
    free = np.ones(len(pooled), bool)
    winners, scores, shares = [], [], []
    for winner in range(len(pooled)):
        if not free[winner]:
            continue
        alike = [other for other in neighbours.get(winner, []) if free[other]]
        members = {int(look[other]): other for other in reversed(alike) if look[other] != look[winner]}
        free[[winner, *alike]] = False
        winners.append(winner)
        scores.append(pooled.scores[[winner, *members.values()]].mean(dtype=np.float64))
        shares.append((1 + len(members)) / len(looks))
    chosen = keep(pooled, np.array(winners, np.int64))
    means, agreement = np.array(scores, np.float32), np.array(shares, np.float32)
    return by_score(dataclasses.replace(chosen, scores=means, agreement=agreement))


def _neighbours(pooled: Prediction, look: Index, threshold: float) -> dict[int, list[int]]:
    """For each particle the later ones that repeat it, in descending IoU."""
    cover = cover_of(pooled)
    first, second = repetitions(cover, pooled.labels, threshold)
    order = np.lexsort((-iou(cover, first, second), first))
    found: dict[int, list[int]] = {}
    for winner, other in zip(first[order].tolist(), second[order].tolist(), strict=True):
        found.setdefault(winner, []).append(other)
    return found

"""Several predictions of one micrograph → one: at several magnifications, mirrored and turned, by several models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

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
    pooled, look, cover = _pooled(looks, threshold)
    groups = list(_groups(cover, pooled.labels, look, threshold))
    chosen = keep(pooled, np.array([group[0] for group in groups], np.int64))
    means = np.array([pooled.scores[group].mean(dtype=np.float64) for group in groups], np.float32)
    agreement = np.array([len(group) / len(looks) for group in groups], np.float32)
    return by_score(dataclasses.replace(chosen, scores=means, agreement=agreement))


def voted(members: Sequence[Prediction], threshold: float) -> Prediction:
    """Predictions of one micrograph by several models → one, in which each particle is as sure as they agree on it.

    Particles are brought together as by :func:`agreed`. The score is the mean over all members, 0 for those that miss
    it; ``agreement`` is the share of those that find it, ``agreement_iou`` their mean pairwise IoU. Place, mask,
    outline and all else are those of the member that agrees best with the others (of equals the surest), so that they
    go on fitting each other: only masks come this far, no soft ones, and an average of two masks is undecided wherever
    they differ.
    """
    pooled, member, cover = _pooled(members, threshold)
    groups = list(_groups(cover, pooled.labels, member, threshold))
    fits = _fits(cover, groups)
    typical = [group[fit.sum(axis=1).argmax()] for group, fit in zip(groups, fits, strict=True)]
    sums = np.array([pooled.scores[group].sum(dtype=np.float64) for group in groups])
    return by_score(
        dataclasses.replace(
            keep(pooled, np.array(typical, np.int64)),
            scores=(sums / len(members)).astype(np.float32),
            agreement=np.array([len(group) / len(members) for group in groups], np.float32),
            agreement_iou=np.array([_mean_pairwise(fit) for fit in fits], np.float32),
        )
    )


def _pooled(looks: Sequence[Prediction], threshold: float) -> tuple[Prediction, Index, Cover]:
    """All that any look sees, each once a look: in descending score, of which look each is, and what they cover.

    Equal scores stand in the order of their boxes, so that the order of the looks plays no part.
    """
    looks = [without_repetitions(look, threshold) for look in looks]
    together = concatenate(looks)
    order = np.lexsort((*together.boxes.T, -together.scores))
    pooled = keep(together, order)
    return pooled, np.repeat(np.arange(len(looks)), [len(found) for found in looks])[order], cover_of(pooled)


def _groups(cover: Cover, labels: Index, look: Index, threshold: float) -> Iterator[Index]:
    """Particles that are the same one, at most one a look: the surest first."""
    neighbours = _neighbours(cover, labels, threshold)
    free = np.ones(len(labels), bool)
    for winner in range(len(labels)):
        if free[winner]:
            alike = [other for other in neighbours.get(winner, []) if free[other]]
            members = {int(look[other]): other for other in reversed(alike) if look[other] != look[winner]}
            free[[winner, *alike]] = False
            yield np.array([winner, *sorted(members.values())], np.int64)


def _fits(cover: Cover, groups: Sequence[Index]) -> list[NDArray[np.float64]]:
    """Of each group of K: IoU (K, K) of each with each, 1 with itself. One look at the cover for all groups."""
    first, second = (
        np.concatenate([np.zeros(0, np.int64), *(group[np.triu_indices(len(group), 1)[k]] for group in groups)])
        for k in (0, 1)
    )
    ends = np.cumsum([len(group) * (len(group) - 1) // 2 for group in groups])
    fits = []
    for group, values in zip(groups, np.split(iou(cover, first, second), ends[:-1]), strict=bool(groups)):
        fit = np.eye(len(group))
        fit[np.triu_indices(len(group), 1)] = values
        fits.append(np.maximum(fit, fit.T))
    return fits


def _mean_pairwise(fit: NDArray[np.float64]) -> float:
    pairs = fit[np.triu_indices(len(fit), 1)]
    return float(pairs.mean()) if len(pairs) else float("nan")


def _neighbours(cover: Cover, labels: Index, threshold: float) -> dict[int, list[int]]:
    """For each particle the later ones that repeat it, in descending IoU."""
    first, second = repetitions(cover, labels, threshold)
    order = np.lexsort((-iou(cover, first, second), first))
    found: dict[int, list[int]] = {}
    for winner, other in zip(first[order].tolist(), second[order].tolist(), strict=True):
        found.setdefault(winner, []).append(other)
    return found

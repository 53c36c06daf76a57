"""Which truth an anchor or a proposal belongs to, from the pairs that overlap: never a dense (N, anchors) matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from tem_seg.models.torchvision.rotated_ops import Grid, overlapping, overlapping_grid


@torch.no_grad()
def assign(
    truths: Tensor, groups: list[Tensor] | list[Grid], particle: float, ground: float, *, best_ones: bool
) -> tuple[Tensor, Tensor]:
    """Labels (A,) float32, 1 particle, 0 ground, -1 neither, and owners (A,) int64: the truth that overlaps most.

    truths (N, 5); groups: boxes (A_i, 5) of A in all, those of a group of similar area (a level's anchors). particle,
    ground: IoU from which a box is one, below which it is the other. best_ones: the box that overlaps a truth most is
    a particle in any case. The rules of torchvision's and Detectron2's matchers, without their matrix; but a box that
    is a particle only as a truth's best one is that truth's, even where it overlaps another more.
    """
    count = sum(len(group) for group in groups)
    rows, columns, iou = _pairs(truths, groups, ground)
    for at_least in (ground / 4, 0.0) if best_ones else ():  # truths that no box overlaps so much, more closely
        reached = iou.new_zeros(len(truths)).scatter_reduce(0, rows, iou, "amax")
        lonely = torch.where(reached == 0)[0]
        more_rows, more_columns, more = _pairs(truths[lonely], groups, at_least)
        rows = torch.cat([rows, lonely[more_rows]])
        columns, iou = torch.cat([columns, more_columns]), torch.cat([iou, more])
    reached = iou.new_zeros(len(truths)).scatter_reduce(0, rows, iou, "amax")
    best = iou.new_zeros(count).scatter_reduce(0, columns, iou, "amax")
    winner = (iou == best[columns]) & (iou > 0)
    owner = rows.new_full((count,), len(truths)).scatter_reduce(0, columns[winner], rows[winner], "amin")
    labels = torch.where(best >= particle, 1.0, torch.where(best < ground, 0.0, -1.0))
    if best_ones:
        labels[columns[(iou == reached[rows]) & (iou > 0)]] = 1.0
    return labels, torch.where(owner == len(truths), 0, owner)


def _pairs(
    truths: Tensor, groups: list[Tensor] | list[Grid], at_least: float
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Rows, columns and IoU of pairs of at_least on all groups, one after the other."""
    none = torch.zeros(0, dtype=torch.int64, device=truths.device)
    found, first = [(none, none, truths.new_zeros(0))], 0
    for group in groups:
        if len(group) and len(truths):
            rows, columns, iou = _overlapping(truths, group, at_least)
            enough = iou >= at_least
            found.append((rows[enough], columns[enough] + first, iou[enough]))
        first += len(group)
    rows, columns, iou = (torch.cat(part) for part in zip(*found, strict=True))
    return rows, columns, iou


def _overlapping(truths: Tensor, group: Tensor | Grid, at_least: float) -> tuple[Tensor, Tensor, Tensor]:
    if isinstance(group, Grid):
        return overlapping_grid(truths, group, at_least)
    return overlapping(truths, group, at_least)

"""Which truth an anchor or a proposal belongs to, from the pairs that overlap: never a dense (N, anchors) matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from tem_seg.models.torchvision.rotated_ops import overlapping


@torch.no_grad()
def assign(
    truths: Tensor, groups: list[Tensor], particle: float, ground: float, *, best_ones: bool
) -> tuple[Tensor, Tensor]:
    """Labels (A,) float32, 1 particle, 0 ground, -1 neither, and owners (A,) int64: the truth that overlaps most.

    truths (N, 5); groups: boxes (A_i, 5) of A in all, those of a group of similar area (a level's anchors). particle,
    ground: IoU from which a box is one, below which it is the other. best_ones: the box that overlaps a truth most is
    a particle in any case. The rules of torchvision's and Detectron2's matchers, without their matrix.
    """
    count = sum(len(group) for group in groups)
    # half of what a matcher asks for: of no truth is the best box missed for its area, or it is looked for below
    rows, columns, iou = _pairs(truths, groups, ground / 2)
    reached = iou.new_zeros(len(truths)).scatter_reduce(0, rows, iou, "amax")
    lonely = torch.where(reached < ground / 2)[0]
    if best_ones and len(lonely):
        more_rows, more_columns, more = _pairs(truths[lonely], groups, 0.0)
        others = reached[rows] >= ground / 2
        rows = torch.cat([rows[others], lonely[more_rows]])
        columns, iou = torch.cat([columns[others], more_columns]), torch.cat([iou[others], more])
        reached = iou.new_zeros(len(truths)).scatter_reduce(0, rows, iou, "amax")
    best = iou.new_zeros(count).scatter_reduce(0, columns, iou, "amax")
    winner = (iou == best[columns]) & (iou > 0)
    owner = rows.new_full((count,), len(truths)).scatter_reduce(0, columns[winner], rows[winner], "amin")
    labels = torch.where(best >= particle, 1.0, torch.where(best < ground, 0.0, -1.0))
    if best_ones:
        labels[columns[(iou == reached[rows]) & (iou > 0)]] = 1.0
    return labels, torch.where(owner == len(truths), 0, owner)


def _pairs(truths: Tensor, groups: list[Tensor], at_least: float) -> tuple[Tensor, Tensor, Tensor]:
    """As ``overlapping`` on all groups one after the other, leaving out groups whose sizes cannot fit a truth."""
    none = torch.zeros(0, dtype=torch.int64, device=truths.device)
    found, first = [(none, none, truths.new_zeros(0))], 0
    area = truths[:, 2] * truths[:, 3]
    for group in groups:
        if len(group):
            areas = group[:, 2] * group[:, 3]
            fits = torch.where((area >= at_least * areas.min()) & (at_least * area <= areas.max()))[0]
            rows, columns, iou = overlapping(truths[fits], group, at_least)
            found.append((fits[rows], columns + first, iou))
        first += len(group)
    rows, columns, iou = (torch.cat(part) for part in zip(*found, strict=True))
    return rows, columns, iou

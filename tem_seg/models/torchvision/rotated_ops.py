"""Overlap and suppression of rotated boxes in pure torch: exact, on any device, differentiable.

The intersection of two boxes is clipped edge by edge, without sorting vertices. In the frame of box B, centred and
upright with half sides W and H, Green's theorem turns the area of A ∩ B into a sum over the four edges of A:

    area = ∮_A clamp(x, -W, W) · 1[|y| <= H] dy

and along an edge x is linear in y, so that each term is a polynomial of clipped coordinates. It is continuous wherever
corners and edges coincide, where methods that collect and sort candidate vertices need tolerances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tem_seg.models.torchvision.rotated_boxes import axes, check_boxes, half_extents

PAIRS_AT_ONCE = 8192
"""Pairs clipped together: their intermediate values stay in a core's cache."""
NMS_BLOCK = 1024
"""Boxes that are compared with each other at once: later ones only meet what earlier blocks have left."""
TESTS_AT_ONCE = 1 << 17
"""Pairs whose enclosing boxes are compared together, for the same reason."""


def intersection_areas(a: Tensor, b: Tensor) -> Tensor:
    """Area (K,) px² shared by box k of ``a`` and box k of ``b``, both (K, 5); differentiable in both."""
    cosine_a, sine_a = axes(a)
    cosine_b, sine_b = axes(b)
    cosine = cosine_a * cosine_b + sine_a * sine_b  # of the angle from b to a
    sine = sine_a * cosine_b - cosine_a * sine_b
    shift_x, shift_y = a[:, 0] - b[:, 0], a[:, 1] - b[:, 1]
    centre_x = shift_x * cosine_b - shift_y * sine_b
    centre_y = shift_x * sine_b + shift_y * cosine_b
    wx, wy = a[:, 2] / 2 * cosine, -a[:, 2] / 2 * sine
    hx, hy = a[:, 3] / 2 * sine, a[:, 3] / 2 * cosine
    x = centre_x + torch.stack([-wx - hx, wx - hx, wx + hx, hx - wx])
    y = centre_y + torch.stack([-wy - hy, wy - hy, wy + hy, hy - wy])
    return _clipped_integral(x, y, b[:, 2] / 2, b[:, 3] / 2).abs()


def _clipped_integral(x: Tensor, y: Tensor, half_w: Tensor, half_h: Tensor) -> Tensor:
    """Corners x, y (4, K) in order around; ∮ clamp(x, ±half_w) 1[|y| <= half_h] dy, (K,)."""
    dx, dy = x.roll(-1, 0) - x, y.roll(-1, 0) - y
    top = torch.maximum(torch.minimum(y, half_h), -half_h)  # of each edge's start; its end is the next one's start
    height = top.roll(-1, 0) - top
    slope = torch.where(dy == 0, torch.ones_like(dy), dy)
    first = x + dx * ((top - y) / slope).clamp(0, 1)
    last = first + dx * (height / slope).clamp(0, 1)
    # the mean of clamp(x) from first to last: parts right of, left of and within the box; each difference is one of
    # neighbours, so that it is exact and nothing is lost as the edge comes close to upright
    right = torch.maximum(last, half_w) - torch.maximum(first, half_w)
    left = torch.minimum(last, -half_w) - torch.minimum(first, -half_w)
    first_in = torch.maximum(torch.minimum(first, half_w), -half_w)
    last_in = torch.maximum(torch.minimum(last, half_w), -half_w)
    run = last - first
    moment = half_w * (right - left) + (last_in - first_in) * (last_in + first_in) / 2
    upright = run == 0
    mean = torch.where(upright, first_in, moment / torch.where(upright, torch.ones_like(run), run))
    return (mean * height).sum(0)


def _ious(a: Tensor, b: Tensor) -> Tensor:
    """(K, 5) and (K, 5), checked → (K,)."""
    area_a, area_b = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
    overlap = torch.minimum(intersection_areas(a, b), torch.minimum(area_a, area_b))
    union = area_a + area_b - overlap
    whole = (area_a > 0) & (area_b > 0)
    return torch.where(whole, overlap / torch.where(whole, union, torch.ones_like(union)), torch.zeros_like(union))


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (K,) in [0, 1] of box k of ``a`` with box k of ``b``, both (K, 5) [cx, cy, w, h, angle_deg].

    Differentiable in both, except where a corner lies on an edge or edges are parallel and on one line. A box with a
    side of zero has IoU 0. Raises ValueError for boxes that are none (NaN, negative sides).
    """
    a, b = check_boxes(a, "a"), check_boxes(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"paired_iou needs as many boxes a as b, got {len(a)} and {len(b)}")
    return _ious(a, b)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (N, M) in [0, 1] of boxes (N, 5) and (M, 5); differentiable in both, as :func:`paired_iou`."""
    rows, columns, values = overlapping(a, b)
    found = values.new_zeros(len(a) * len(b))
    return found.scatter(0, rows * len(b) + columns, values).view(len(a), len(b))


def overlapping(a: Tensor, b: Tensor, at_least: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (K,), columns (K,) and IoU (K,) of all pairs of boxes (N, 5) and (M, 5) that may share area.

    at_least: pairs whose bounds keep their IoU below it are left out.
    """
    a, b = check_boxes(a, "a"), check_boxes(b, "b")
    rows, columns = candidate_pairs(a.detach(), b.detach(), at_least)
    return rows, columns, _ious_of(a, b, rows, columns)


def _ious_of(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    parts = zip(rows.split(PAIRS_AT_ONCE), columns.split(PAIRS_AT_ONCE), strict=True)
    return torch.cat([a.new_zeros(0), *(_ious(a[i], b[j]) for i, j in parts)])


def candidate_pairs(a: Tensor, b: Tensor, at_least: float = 0.0) -> tuple[Tensor, Tensor]:
    """Indices (K,) and (K,) of all pairs whose enclosing upright boxes overlap, and whose bounds allow the IoU.

    Rows ascend. Where ``b`` is ``a``, each pair comes once, the smaller index first, and none of a box with itself.
    """
    (reach_ax, reach_ay), (reach_bx, reach_by) = half_extents(a), half_extents(b)
    area_a, area_b = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
    none = torch.zeros(0, dtype=torch.int64, device=a.device)
    rows, columns = [none], [none]
    step = max(1, TESTS_AT_ONCE // max(1, len(b)))
    for start in range(0, len(a), step):
        part, rest = slice(start, start + step), slice(start if a is b else 0, None)
        near = (a[part, :1] - b[rest, 0]).abs_() < _within(reach_ax[part, None], reach_bx[rest], at_least)
        near &= (a[part, 1:2] - b[rest, 1]).abs_() < _within(reach_ay[part, None], reach_by[rest], at_least)
        if at_least > 0:
            near &= area_a[part, None] >= at_least * area_b[rest]
            near &= area_b[rest] >= at_least * area_a[part, None]
        if a is b:
            near.triu_(1)
        found_rows, found_columns = near.nonzero(as_tuple=True)
        rows.append(found_rows + start)
        columns.append(found_columns + (rest.start or 0))
    first, second = torch.cat(rows), torch.cat(columns)
    if at_least <= 0:
        return first, second
    parts = zip(first.split(PAIRS_AT_ONCE), second.split(PAIRS_AT_ONCE), strict=True)
    likely = torch.cat([none.bool(), *(_iou_bound(a[i], b[j]) >= at_least for i, j in parts)])
    return first[likely], second[likely]


def _within(reach_a: Tensor, reach_b: Tensor, at_least: float) -> Tensor:
    """How far apart, along one axis, the centres of two boxes can be that reach so far from them and have the IoU.

    What they share lies where their shadows on the axis overlap. If neither shadow holds the other, that is an end of
    both, and of a shadow 2r long an end of length s <= r carries no more than s / 2r of the box: it is thicker inside.
    So s is at least 2 r times the IoU (or r), of the longer shadow; one that holds the other is not left by its centre.
    """
    if at_least <= 0:
        return reach_a + reach_b
    most = (2 - min(2 * at_least, 1.0)) * 1.001  # rounded up: it only sorts out
    return torch.maximum(most * reach_a, most * reach_b)


@dataclass(frozen=True)
class Grid:
    """Boxes ``cells`` (A, 5) around the origin, set at every (x, y) of ``x`` (w,) and ``y`` (h,) px."""

    cells: Tensor
    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y) * len(self.x) * len(self.cells)

    @cached_property
    def boxes(self) -> Tensor:
        """All (h * w * A, 5), row by row, place by place."""
        centres = torch.stack(torch.meshgrid(self.y, self.x, indexing="ij")[::-1], dim=-1).reshape(-1, 1, 2)
        boxes = self.cells.repeat(len(centres), 1, 1)
        boxes[..., :2] += centres
        return boxes.view(-1, 5)


def overlapping_grid(a: Tensor, grid: Grid, at_least: float) -> tuple[Tensor, Tensor, Tensor]:
    """As ``overlapping(a, grid.boxes, at_least)``, in any order, without comparing with each of them.

    Two boxes share most when they are set on one centre (they are convex and symmetric: Brunn and Minkowski), so that
    most kinds of cells are ruled out for a box before their places are looked at.
    """
    centred = torch.cat([torch.zeros_like(a[:, :2]), a[:, 2:]], dim=1)
    of, cell, most = overlapping(centred, grid.cells, at_least)
    possible = most * 1.001 >= at_least
    of, cell = of[possible], cell[possible]
    (reach_ax, reach_ay), (reach_bx, reach_by) = half_extents(a), half_extents(grid.cells)
    near_x = (a[of, :1] - grid.x).abs() < _within(reach_ax[of], reach_bx[cell], at_least)[:, None]
    near_y = (a[of, 1:2] - grid.y).abs() < _within(reach_ay[of], reach_by[cell], at_least)[:, None]
    kind, row, column = (near_y[:, :, None] & near_x[:, None]).nonzero(as_tuple=True)
    rows, columns = of[kind], (row * len(grid.x) + column) * len(grid.cells) + cell[kind]
    likely = [
        _iou_bound(a[i], grid.boxes[j]) >= at_least
        for i, j in zip(rows.split(PAIRS_AT_ONCE), columns.split(PAIRS_AT_ONCE), strict=True)
    ]
    chosen = torch.cat([rows.new_zeros(0, dtype=torch.bool), *likely])
    rows, columns = rows[chosen], columns[chosen]
    return rows, columns, _ious_of(a, grid.boxes, rows, columns)


def _iou_bound(a: Tensor, b: Tensor) -> Tensor:
    """What the IoU (K,) of box k with box k is at most: ``a`` replaced by the box around it in the frame of ``b``."""
    cosine_b, sine_b = axes(b)
    shift_x, shift_y = a[:, 0] - b[:, 0], a[:, 1] - b[:, 1]
    x, y = (shift_x * cosine_b - shift_y * sine_b).abs(), (shift_x * sine_b + shift_y * cosine_b).abs()
    reach_x, reach_y = half_extents(torch.cat([a[:, :4], a[:, 4:] - b[:, 4:]], dim=1))
    half_w, half_h = b[:, 2] / 2, b[:, 3] / 2
    shared_x = torch.minimum(reach_x + half_w - x, 2 * torch.minimum(reach_x, half_w)).clamp(min=0)
    shared_y = torch.minimum(reach_y + half_h - y, 2 * torch.minimum(reach_y, half_h)).clamp(min=0)
    area_a, area_b = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
    shared = torch.minimum(shared_x * shared_y, torch.minimum(area_a, area_b))
    return shared * 1.001 / (area_a + area_b - shared)  # rounded up: it only sorts out


@torch.no_grad()
def rotated_nms(boxes: Tensor, scores: Tensor, groups: Tensor | None, iou: float, limit: int | None = None) -> Tensor:
    """Greedy suppression: indices (K,) int64 of the boxes kept, in descending score (stable among equal ones).

    boxes (N, 5); scores (N,); groups (N,) or None: only boxes of one group (a class, a level) suppress each other. A
    box goes where its IoU with a kept one of a higher score is above ``iou``, as in torchvision and Detectron2. limit:
    the best so many of what is kept, at less cost.
    """
    boxes = check_boxes(boxes)
    order = torch.argsort(scores, descending=True, stable=True)
    members = [order] if groups is None else [order[groups[order] == group] for group in groups.unique()]
    kept = torch.zeros(len(order), dtype=torch.bool)
    for own in members:
        kept[_nms_of_one(boxes[own], iou, limit, own).cpu()] = True
    return order[kept.to(order.device)[order]][:limit]


def _nms_of_one(ordered: Tensor, iou: float, limit: int | None, names: Tensor) -> Tensor:
    """Names of the boxes kept of one group, in descending score; a block of boxes after the other, until ``limit``."""
    kept = ordered.new_zeros(0, dtype=torch.int64)
    for block in torch.arange(len(ordered), device=ordered.device).split(NMS_BLOCK):
        rows, columns, values = overlapping(ordered[kept], ordered[block], iou)
        free = torch.ones(len(block), dtype=torch.bool, device=ordered.device)
        free[columns[values > iou]] = False
        block = block[free]
        own = ordered[block]
        rows, columns = candidate_pairs(own, own, iou)
        above = _ious_of(own, own, rows, columns) > iou
        chosen = _greedy(len(own), rows[above].cpu().numpy(), columns[above].cpu().numpy())
        kept = torch.cat([kept, block[torch.from_numpy(chosen).to(block.device)]])
        if limit is not None and len(kept) >= limit:
            break
    return names[kept[:limit]]


def _greedy(count: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``count`` places are kept, where place rows[k], if kept, removes columns[k]; rows ascend."""
    kept = np.ones(count, bool)
    ends = np.searchsorted(rows, np.arange(count + 1))
    for place in np.unique(rows):
        if kept[place]:
            kept[columns[ends[place] : ends[place + 1]]] = False
    return kept

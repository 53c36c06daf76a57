"""Rotated region proposals: anchors of many sizes, ratios and angles (Ma et al., "RRPN", 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.rpn import RPNHead, permute_and_flatten

from tem_seg.models.caps import proposals_capped
from tem_seg.models.torchvision.rotated_boxes import RotatedCoder, canonical
from tem_seg.models.torchvision.rotated_matching import assign
from tem_seg.models.torchvision.rotated_ops import Grid, rotated_nms

LEAST_SIDE_PX = 0.5
"""Proposals and detections with a shorter side are dropped."""


def cell_anchors(size: float, ratios: tuple[float, ...], angles_deg: tuple[float, ...]) -> Tensor:
    """Anchors (A, 5) around the origin: area size², long over short side each ratio, each turned by every angle.

    A ratio below one is its inverse a quarter turn further. Of a square, angles a quarter turn apart are one anchor.
    """
    found: list[list[float]] = []
    for ratio in ratios:
        for angle in sorted({a % 90.0 for a in angles_deg}) if ratio == 1 else angles_deg:
            found.append([0.0, 0.0, size * ratio**-0.5, size * ratio**0.5, angle])
    return canonical(torch.tensor(found))


class RotatedAnchors(nn.Module):
    """Anchors of each pyramid level, location by location; sizes: one a level."""

    def __init__(self, sizes: tuple[float, ...], ratios: tuple[float, ...], angles_deg: tuple[float, ...]) -> None:
        super().__init__()
        self.cells = [cell_anchors(size, ratios, angles_deg) for size in sizes]
        self.per_location = len(self.cells[0])

    def forward(self, features: list[Tensor], stride: int = 4) -> list[Grid]:
        """Feature maps (B, C, h, w) at strides 4, 8, … → the anchors of each level, px."""
        return [
            self._at(cells, level, stride << k)
            for k, (cells, level) in enumerate(zip(self.cells, features, strict=True))
        ]

    def _at(self, cells: Tensor, level: Tensor, stride: int) -> Grid:
        y, x = ((torch.arange(side, device=level.device) + 0.5) * stride for side in level.shape[-2:])
        return Grid(cells.to(level.device), x, y)


def rotated_head(channels: int, anchors: int) -> RPNHead:
    """torchvision's head with five differences an anchor; its convolution takes pretrained weights."""
    head = RPNHead(channels, anchors)
    head.bbox_pred = nn.Conv2d(channels, anchors * 5, kernel_size=1)
    nn.init.normal_(head.bbox_pred.weight, std=0.01)
    nn.init.zeros_(head.bbox_pred.bias)
    return head


class RotatedRpn(nn.Module):
    """Head, anchors and their training. training, predicting: most proposals of a level, and of an image, in each mode.

    capped: of each image last predicted, whether a cap may have cost particles (models/caps.py).

    An anchor learns to be a particle from an IoU of 0.5, where upright networks ask for 0.7: turned by 15° a rod of
    aspect 4 overlaps itself with 0.6. The best anchor of every particle learns in any case.
    """

    def __init__(
        self, head: nn.Module, anchors: RotatedAnchors, training: tuple[int, int], predicting: tuple[int, int],
        nms_iou: float = 0.7,
    ) -> None:  # fmt: skip
        super().__init__()
        self.head, self.anchors, self.nms_iou = head, anchors, nms_iou
        self.caps = {True: training, False: predicting}
        self.capped: list[bool] = []
        self.sampler = BalancedPositiveNegativeSampler(256, 0.5)
        self.coder = RotatedCoder()

    def forward(
        self, features: list[Tensor], sizes: list[tuple[int, int]], truths: list[Tensor] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals (K_i, 5) of each image, best first, and (with truths (N_i, 5)) the losses."""
        levels = self.anchors(features)
        logits, differences = self.head(features)
        scores = [
            permute_and_flatten(t, t.shape[0], self.anchors.per_location, 1, *t.shape[-2:])[..., 0] for t in logits
        ]
        shifts = [permute_and_flatten(t, t.shape[0], self.anchors.per_location, 5, *t.shape[-2:]) for t in differences]
        found = [
            self._propose([s[k].detach() for s in scores], [d[k].detach() for d in shifts], levels, size)
            for k, size in enumerate(sizes)
        ]
        proposals = [boxes for boxes, _ in found]
        if truths is None:
            self.capped = proposals_capped(scores, [score for _, score in found], *self.caps[False])
            return proposals, {}
        return proposals, self._losses(torch.cat(scores, dim=1), torch.cat(shifts, dim=1), levels, truths)

    @torch.no_grad()
    def _propose(
        self, scores: list[Tensor], shifts: list[Tensor], levels: list[Grid], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """The best of each level, decoded, without repetitions, and their logits; centres inside the image (H, W)."""
        a_level, in_all = self.caps[self.training]
        boxes, best, level_of = [], [], []
        for index, (score, shift, anchors) in enumerate(zip(scores, shifts, levels, strict=True)):
            value, chosen = score.topk(min(a_level, len(score)))
            boxes.append(self.coder.decode(shift[chosen], anchors.boxes[chosen]))
            best.append(value)
            level_of.append(torch.full_like(chosen, index))
        together, score, level = torch.cat(boxes), torch.cat(best), torch.cat(level_of)
        usable = usable_boxes(together, size) & score.isfinite()
        together, score, level = together[usable], score[usable], level[usable]
        kept = rotated_nms(together, score, level, self.nms_iou, in_all)
        return together[kept], score[kept]

    def _losses(self, logits: Tensor, shifts: Tensor, levels: list[Grid], truths: list[Tensor]) -> dict[str, Tensor]:
        """logits (B, A), shifts (B, A, 5) of the anchors of all levels."""
        assigned = [assign(own, levels, 0.5, 0.3, best_ones=True) for own in truths]
        positive, negative = (torch.stack(part).bool() for part in self.sampler([labels for labels, _ in assigned]))
        sampled = positive | negative
        count = sampled.sum().clamp(min=1)
        image, anchor = positive.nonzero(as_tuple=True)
        wanted = [
            own[owner[chosen]] for own, (_, owner), chosen in zip(truths, assigned, positive, strict=True) if len(own)
        ]
        sources = torch.cat([level.boxes for level in levels])[anchor]
        box = self.coder.loss(shifts[image, anchor], sources, torch.cat([sources[:0], *wanted])) / count
        labels = torch.stack([labels for labels, _ in assigned])[sampled]
        objectness = F.binary_cross_entropy_with_logits(logits[sampled], labels, reduction="sum")
        return {"loss_objectness": objectness / count, "loss_rpn_box_reg": box}


def usable_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Which boxes (N, 5) are finite, have sides, and have their centre in the image (H, W)."""
    centre = (boxes[:, :2] >= 0).all(dim=1) & (boxes[:, 0] <= size[1]) & (boxes[:, 1] <= size[0])
    return boxes.isfinite().all(dim=1) & (boxes[:, 2:4] >= LEAST_SIDE_PX).all(dim=1) & centre

"""Heads on rotated regions: class, box differences and, where asked for, a mask in the box's own frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from tem_seg.models.torchvision.chunks import BOXES, MASKS, in_chunks
from tem_seg.models.torchvision.rotated_boxes import RotatedCoder
from tem_seg.models.torchvision.rotated_matching import assign
from tem_seg.models.torchvision.rotated_ops import rotated_nms
from tem_seg.models.torchvision.rotated_roi_align import crop_masks, pool_pyramid
from tem_seg.models.torchvision.rotated_rpn import usable_boxes

Found = dict[str, Tensor]
"""Detections of one image: boxes (K, 5), labels (K,) in 1..C, scores (K,) descending, masks (K, 28, 28) in [0, 1]."""
Truth = dict[str, Tensor]
"""boxes (N, 5) px, labels (N,) in 1..C and, for a mask head, masks (N, H, W) in {0, 1}."""


class RotatedPredictor(nn.Module):
    """Class scores (K, C + 1) and differences (K, C + 1, 5); named as torchvision's FastRCNNPredictor."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, classes)
        self.bbox_pred = nn.Linear(width, classes * 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (K, width)."""
        return self.cls_score(x), self.bbox_pred(x).view(len(x), -1, 5)


class RotatedHeads(nn.Module):
    """box_head and box_predictor on 7 × 7 regions; mask_head and mask_predictor (or None) on 14 × 14 ones."""

    def __init__(
        self, box_head: nn.Module, box_predictor: nn.Module, mask_head: nn.Module | None,
        mask_predictor: nn.Module | None, *, rois_per_image: int, min_score: float, nms_iou: float, max_instances: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.box_head, self.box_predictor = box_head, box_predictor
        self.mask_head, self.mask_predictor = mask_head, mask_predictor
        self.min_score, self.nms_iou, self.max_instances = min_score, nms_iou, max_instances
        self.sampler = BalancedPositiveNegativeSampler(rois_per_image, 0.25)
        self.coder = RotatedCoder((10.0, 10.0, 5.0, 5.0, 5.0))

    def losses(self, features: list[Tensor], proposals: list[Tensor], truths: list[Truth]) -> dict[str, Tensor]:
        """features: maps at strides 4 to 32; proposals (K_i, 5) and truths of each image."""
        sampled = [self._sample(own, truth) for own, truth in zip(proposals, truths, strict=True)]
        rois, labels, owners = ([part[k] for part in sampled] for k in range(3))
        logits, shifts = self._scored(features, rois)
        label, together = torch.cat(labels), torch.cat(rois)
        wanted = torch.cat([_pick(truth["boxes"], own) for truth, own in zip(truths, owners, strict=True)])
        particle = torch.where(label > 0)[0]
        box = self.coder.loss(shifts[particle, label[particle]], together[particle], wanted[particle])
        losses = {
            "loss_classifier": F.cross_entropy(logits, label),
            "loss_box_reg": box / max(1, len(label)),
        }
        if self.mask_head is not None:
            losses["loss_mask"] = self._mask_loss(features, rois, labels, owners, truths)
        return losses

    @torch.no_grad()
    def _sample(self, proposals: Tensor, truth: Truth) -> tuple[Tensor, Tensor, Tensor]:
        """Regions that train the heads (R, 5), their labels (R,), 0 for the ground, and which truth each is of."""
        boxes = torch.cat([proposals, truth["boxes"]])
        particle, owner = assign(truth["boxes"], [boxes], 0.5, 0.5, best_ones=False)
        labels = torch.zeros_like(owner)
        if len(truth["boxes"]):
            labels = torch.where(particle > 0, truth["labels"][owner], 0)
        positive, negative = self.sampler([labels])
        chosen = torch.where((positive[0] | negative[0]).bool())[0]
        return boxes[chosen], labels[chosen], owner[chosen]

    def _mask_loss(
        self,
        features: list[Tensor],
        rois: list[Tensor],
        labels: list[Tensor],
        owners: list[Tensor],
        truths: list[Truth],
    ) -> Tensor:
        on = [label > 0 for label in labels]
        boxes = [roi[chosen] for roi, chosen in zip(rois, on, strict=True)]
        logits = self._mask_logits(features, boxes)
        wanted = torch.cat([
            crop_masks(truth["masks"], owner[chosen], box, logits.shape[-1])
            for truth, owner, chosen, box in zip(truths, owners, on, boxes, strict=True)
        ])  # fmt: skip
        if not len(logits):
            return logits.sum() * 0
        label = torch.cat([label[chosen] for label, chosen in zip(labels, on, strict=True)])
        return F.binary_cross_entropy_with_logits(logits[torch.arange(len(label), device=label.device), label], wanted)

    def _scored(self, features: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, ...]:
        """Of K boxes: class logits (K, C + 1), and shifts to their particles."""
        pooled = pool_pyramid(features, boxes, 7)
        return in_chunks(lambda part: self.box_predictor(self.box_head(part)), pooled, *BOXES)

    def _mask_logits(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(K, C + 1, 28, 28)."""
        head, predictor = self.mask_head, self.mask_predictor
        assert head is not None and predictor is not None
        return in_chunks(lambda part: (predictor(head(part)),), pool_pyramid(features, boxes, 14), *MASKS)[0]

    def detect(self, features: list[Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]) -> list[Found]:
        """What is found in each image, of its size (H, W), at most max_instances each."""
        logits, shifts = self._scored(features, proposals)
        boxes = self.coder.decode(shifts, torch.cat(proposals))
        counts = [len(own) for own in proposals]
        parts = zip(boxes.split(counts), logits.softmax(dim=1).split(counts), sizes, strict=True)
        found = [self._choose(*part) for part in parts]
        if self.mask_head is not None:
            own = [one["boxes"] for one in found]
            masks = self._mask_logits(features, own).sigmoid().split([len(one) for one in own])
            for one, mask in zip(found, masks, strict=True):
                one["masks"] = mask[torch.arange(len(mask), device=mask.device), one["labels"]]
        return found

    def _choose(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Found:
        """boxes (K, C + 1, 5), scores (K, C + 1) of an image (H, W) → detections without repetitions, best first."""
        place, label = (scores[:, 1:] >= self.min_score).nonzero(as_tuple=True)
        label = label + 1
        chosen, score = boxes[place, label], scores[place, label]
        usable = usable_boxes(chosen, size)
        chosen, score, label = chosen[usable], score[usable], label[usable]
        kept = rotated_nms(chosen, score, label, self.nms_iou, self.max_instances)
        return {"boxes": chosen[kept], "scores": score[kept], "labels": label[kept]}


def _pick(boxes: Tensor, owner: Tensor) -> Tensor:
    """boxes[owner], and zeros where there is none to pick from (an image without particles)."""
    return boxes[owner] if len(boxes) else boxes.new_zeros(len(owner), 5)

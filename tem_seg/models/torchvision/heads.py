"""RoI heads: torchvision's, with a mask branch that gives masks as fine as the micrograph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss

from tem_seg.models.torchvision.chunks import BOXES, MASKS, in_chunks
from tem_seg.models.torchvision.refinement import Coarse, Refinement, masks_on_boxes

SoftMasks = list[tuple[Tensor, Tensor]]
"""Parts of N particles: which ones (k,), and their masks (k, G, G) in [0, 1] on their boxes; each particle once."""


class Heads(RoIHeads):
    """torchvision's RoIHeads; with ``refinement`` masks are looked at again near their edges.

    features: the pyramid's maps by name, finest first, and "edges" where there is a refinement.
    """

    def __init__(self, *, refinement: Refinement | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self.refinement = refinement

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Any] | None = None,
    ) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """Proposals (N_i, 4) px an image → (detections an image, {}) or, in training, ([], losses).

        A detection's "masks" are SoftMasks.
        """
        if not self.training:
            return self._detect(features, proposals, image_shapes), {}
        chosen, matched, labels, regression = self.select_training_samples(proposals, targets)
        logits, deltas = self.scored(features, chosen, image_shapes)
        classifier, box_reg = fastrcnn_loss(logits, deltas, labels, regression)
        losses = {"loss_classifier": classifier, "loss_box_reg": box_reg}
        if self.has_mask():
            assert targets is not None
            positive = [torch.where(of_image > 0)[0] for of_image in labels]
            boxes = [found[index] for found, index in zip(chosen, positive, strict=True)]
            truth_of = [found[index] for found, index in zip(matched, positive, strict=True)]
            losses |= self._mask_losses(features, boxes, image_shapes, truth_of, targets)
        return [], losses

    def scored(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Of N boxes, of all images in turn: class logits (N, 1 + C) and deltas (N, 4 (1 + C))."""
        pooled = self.box_roi_pool(features, boxes, sizes)
        logits, deltas = in_chunks(lambda part: self.box_predictor(self.box_head(part)), pooled, *BOXES)
        return logits, deltas

    def _detect(
        self, features: dict[str, Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        logits, deltas = self.scored(features, proposals, sizes)
        boxes, scores, labels = self.postprocess_detections(logits, deltas, proposals, sizes)
        found: list[dict[str, Any]] = [
            {"boxes": b, "scores": s, "labels": c} for b, s, c in zip(boxes, scores, labels, strict=True)
        ]
        if self.has_mask():
            for detections, masks in zip(found, self._masks(features, boxes, sizes, labels), strict=True):
                detections["masks"] = masks
        return found

    def coarse_masks(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]], labels: Tensor
    ) -> tuple[Tensor, Coarse | None]:
        """Logits (K, C, 28, 28), and what the refinement starts from. labels (K,): 1..C."""
        pooled = self.mask_roi_pool(features, boxes, sizes)  # type: ignore[misc]
        hidden, logits = in_chunks(self._mask_maps, pooled, *MASKS)
        if self.refinement is None:
            return logits, None
        everyone = torch.arange(labels.shape[0], device=labels.device)  # shape, not len: traced by onnx_export
        owner = torch.cat([torch.full((b.shape[0],), i, device=b.device) for i, b in enumerate(boxes)])
        finest = next(iter(features.values()))
        own = logits[everyone, labels]
        return logits, Coarse(features["edges"], finest, hidden, own, torch.cat(boxes).float(), owner)

    def _mask_maps(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.mask_head(pooled)  # type: ignore[misc]
        return hidden, self.mask_predictor(hidden)  # type: ignore[misc]

    def _mask_losses(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]],
        truth_of: list[Tensor], targets: list[Any],
    ) -> dict[str, Tensor]:  # fmt: skip
        first = [0, *accumulate(len(target["labels"]) for target in targets)]
        index = torch.cat([found + start for found, start in zip(truth_of, first, strict=False)])
        labels = torch.cat([target["labels"] for target in targets])[index]
        masks = torch.cat(_one_size([target["masks"] for target in targets]))
        logits, coarse = self.coarse_masks(features, boxes, sizes, labels)
        own = logits[torch.arange(len(labels), device=labels.device), labels]
        wanted = masks_on_boxes(masks, index, torch.cat(boxes), own.shape[-1])
        # no particle in the whole batch: the mean of nothing is NaN
        loss = F.binary_cross_entropy_with_logits(own, wanted) if len(own) else logits.sum() * 0
        if coarse is None or self.refinement is None:
            return {"loss_mask": loss}
        return {"loss_mask": loss, "loss_points": self.refinement.loss(coarse, masks, index)}

    def _masks(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]], labels: list[Tensor]
    ) -> Iterator[SoftMasks]:
        """An image's soft masks after the other's."""
        logits, coarse = self.coarse_masks(features, boxes, sizes, torch.cat(labels))
        everyone = torch.arange(len(logits), device=logits.device)
        parts = (
            [(everyone, logits[everyone, torch.cat(labels)].sigmoid())]
            if coarse is None or self.refinement is None
            else list(self.refinement.masks(coarse))
        )
        first = 0
        for own in boxes:
            last = first + len(own)
            inside = [(index, (index >= first) & (index < last)) for index, _ in parts]
            yield [
                (index[here] - first, soft[here])
                for (index, here), (_, soft) in zip(inside, parts, strict=True)
                if here.any()
            ]
            first = last


def _one_size(masks: list[Tensor]) -> list[Tensor]:
    """Masks (N_i, H_i, W_i) of a batch's images, filled up with zeros to the largest."""
    height, width = (max(found.shape[axis] for found in masks) for axis in (1, 2))
    return [F.pad(found, (0, width - found.shape[2], 0, height - found.shape[1])) for found in masks]

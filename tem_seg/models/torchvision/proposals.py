"""torchvision's region proposal network, which says where its caps may have cost particles."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork

from tem_seg.models.caps import proposals_capped

LEAST_OBJECTNESS = 0.05
"""In predicting, places less likely to be an object do not become proposals: a sixth of the time, and no particle."""


class Proposals(RegionProposalNetwork):
    """``capped``: of the images that were looked at last, which ones reached a cap (not while training)."""

    capped: list[bool]

    def filter_proposals(
        self, proposals: Tensor, objectness: Tensor, image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """As torchvision's: proposals (B, A, 4) and logits (B * A, 1) → boxes and objectness in [0, 1] an image."""
        self.score_thresh = 0.0 if self.training else LEAST_OBJECTNESS
        boxes, scores = super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)
        if torchvision._is_tracing() or torch.compiler.is_compiling():  # a graph has no memory of what it looked at
            self.capped = [False] * len(boxes)
        elif not self.training:
            levels = objectness.reshape(len(proposals), -1).split(num_anchors_per_level, 1)
            logits = [found.logit() for found in scores]
            self.capped = proposals_capped(levels, logits, self.pre_nms_top_n(), self.post_nms_top_n())
        return boxes, scores

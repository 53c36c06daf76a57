"""Rotated Faster R-CNN and rotated Mask R-CNN: boxes, and masks, that turn with the particles."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor

from tem_seg.core.types import Prediction
from tem_seg.models.contract import RcnnSpec, SegmentationModel, Target
from tem_seg.models.postprocess import with_masks
from tem_seg.models.rotated_masks import rotated_soft_crops
from tem_seg.models.torchvision.backbones import Parts, build_pyramid
from tem_seg.models.torchvision.rcnn import Float32, padded
from tem_seg.models.torchvision.rotated_boxes import canonical, enclosing, rescaled
from tem_seg.models.torchvision.rotated_heads import Found, RotatedHeads, RotatedPredictor
from tem_seg.models.torchvision.rotated_rpn import RotatedAnchors, RotatedRpn, rotated_head


class RotatedRcnn(SegmentationModel):
    """R-CNN on a feature pyramid whose anchors, proposals and regions are rotated (Ma et al., RRPN, 2018).

    With ``spec.masks`` a mask head looks into the rotated region, so that its 28 × 28 cells are as fine across a rod as
    its width allows; in an upright box most of them would see other rods. Names of weights are those of torchvision's
    Mask R-CNN, whose pretrained ones fit everywhere but in the last layers of the boxes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: RcnnSpec) -> None:
        super().__init__()
        self.spec = spec
        parts = build_pyramid(spec)
        self.backbone = parts.backbone
        anchors = RotatedAnchors(spec.anchor_sizes_px, spec.anchor_aspect_ratios, spec.anchor_angles_deg)
        head = Float32(rotated_head(parts.channels, anchors.per_location))
        self.rpn = RotatedRpn(head, anchors, (spec.proposals_a_map, spec.max_instances), spec.predicting_proposals)
        self.roi_heads = self._build_heads(parts)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def _build_heads(self, parts: Parts) -> RotatedHeads:
        spec, classes = self.spec, self.spec.num_classes + 1
        mask_predictor: nn.Module | None = None
        if spec.masks:
            mask_predictor = Float32(MaskRCNNPredictor(parts.mask_width, spec.mask_head_channels, classes))
        return RotatedHeads(
            parts.box_head, Float32(RotatedPredictor(parts.box_width, classes)), parts.mask_head, mask_predictor,
            rois_per_image=spec.rois_per_image, min_score=spec.min_score, nms_iou=spec.nms_iou,
            max_instances=spec.max_instances,
        )  # fmt: skip

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg and (with masks) loss_mask.

        Raises ValueError for targets without rotated boxes, and without masks where the model has some.
        """
        truths = [self._truth(target) for target in targets]
        batch = padded(images, self.mean, self.std)
        levels = list(self.backbone(batch.tensors).values())
        boxes = [truth["boxes"] for truth in truths]
        proposals, rpn_losses = self.rpn(levels, batch.image_sizes, boxes)
        return {**rpn_losses, **self.roi_heads.losses(levels[:4], proposals, truths)}

    def _truth(self, target: Target) -> dict[str, Tensor]:
        if "rotated_boxes" not in target:
            raise ValueError("a rotated R-CNN needs targets with rotated_boxes")
        truth = {"boxes": canonical(target["rotated_boxes"].float()), "labels": target["labels"] + 1}
        if not self.spec.masks:
            return truth
        if "masks" not in target:
            raise ValueError("a rotated Mask R-CNN needs targets with masks; use masks=False for boxes alone")
        return truth | {"masks": target["masks"]}

    @torch.no_grad()
    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        """See the contract. ``boxes`` are the upright ones that enclose ``rotated_boxes``, cut to the frame."""
        batch = padded(images, self.mean, self.std)
        levels = list(self.backbone(batch.tensors).values())
        proposals, _ = self.rpn(levels, batch.image_sizes)
        detections = self.roi_heads.detect(levels[:4], proposals, batch.image_sizes)
        pairs = zip(detections, batch.image_sizes, frames or batch.image_sizes, self.rpn.capped, strict=True)
        return [self._prediction(*of_image) for of_image in pairs]

    def _prediction(
        self, found: Found, size: tuple[int, int], frame: tuple[int, int], capped: bool
    ) -> Prediction:  # fmt: skip
        scale = (frame[1] / size[1], frame[0] / size[0])
        rotated = rescaled(found["boxes"].float().cpu(), *scale)
        limit = torch.tensor([frame[1], frame[0]]).repeat(2)
        prediction = Prediction(
            boxes=torch.minimum(enclosing(rotated).clamp(min=0), limit).numpy(),
            labels=(found["labels"] - 1).cpu().numpy(),
            scores=found["scores"].float().cpu().numpy(),
            rotated_boxes=rotated.numpy(),
            capped=capped or len(rotated) >= self.spec.max_instances,
        )
        if not self.spec.masks:
            return prediction
        crops = rotated_soft_crops(found["masks"], found["boxes"], frame, scale)
        return with_masks(prediction, [(torch.arange(len(rotated)), crops)], frame)

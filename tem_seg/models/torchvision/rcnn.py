"""Faster and Mask R-CNN on torchvision, without its resizing, its 100-object caps and its full-frame masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from tem_seg.core.types import Prediction
from tem_seg.models.contract import RcnnSpec, SegmentationModel, Target
from tem_seg.models.postprocess import soft_crops, with_masks
from tem_seg.models.torchvision.backbones import Parts, build_pyramid
from tem_seg.models.torchvision.heads import Heads
from tem_seg.models.torchvision.proposals import Proposals
from tem_seg.models.torchvision.refinement import Refinement
from tem_seg.models.torchvision.roi_align import PyramidRoIAlign
from tem_seg.models.torchvision.single_level import Doubled, build_c4, build_dc5

STRIDE = 32
ARCHITECTURES = {"fpn": build_pyramid, "c4": build_c4, "dc5": build_dc5}


class Float32(nn.Module):
    """A head whose outputs leave mixed precision: in bfloat16 a box at 300 px is a multiple of 2 px."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, *inputs: Tensor) -> Any:
        """The head's own outputs, a tensor, or a tuple of tensors and lists of them, as float32."""
        outputs = self.head(*inputs)
        if isinstance(outputs, Tensor):
            return outputs.float()
        return tuple([t.float() for t in part] if isinstance(part, list) else part.float() for part in outputs)


def padded(images: list[Tensor], mean: Tensor, std: Tensor) -> ImageList:
    """Grey images of any sizes → one padded three-channel batch (zeros, as torchvision pads)."""
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    height, width = (-(-max(side) // STRIDE) * STRIDE for side in zip(*sizes, strict=True))
    batch = images[0].new_zeros(len(images), 3, height, width)
    for index, (image, (h, w)) in enumerate(zip(images, sizes, strict=True)):
        batch[index, :, :h, :w] = (image - mean) / std
    return ImageList(batch.contiguous(memory_format=torch.channels_last), sizes)


class TorchvisionRcnn(SegmentationModel):
    """Mask R-CNN (or Faster R-CNN, ``spec.masks=False``); classes 0..C-1 outside, 1..C within."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: RcnnSpec) -> None:
        super().__init__()
        self.spec = spec
        parts = ARCHITECTURES[spec.architecture](spec)
        self.backbone = parts.backbone
        self.rpn = self._build_rpn(parts.channels)
        self.roi_heads = self._build_heads(parts)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def _build_rpn(self, channels: int) -> Proposals:
        spec = self.spec
        pyramid = spec.architecture == "fpn"
        sizes = tuple((size,) for size in spec.anchor_sizes_px) if pyramid else (spec.anchor_sizes_px,)
        anchors = AnchorGenerator(sizes, (spec.anchor_aspect_ratios,) * len(sizes))
        head = Float32(RPNHead(channels, anchors.num_anchors_per_location()[0]))
        a_map, in_all = spec.predicting_proposals
        first = {"training": spec.proposals_a_map, "testing": a_map}
        cap = {"training": spec.max_instances, "testing": in_all}
        return Proposals(
            anchors, head, fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=256, positive_fraction=0.5,
            pre_nms_top_n=first, post_nms_top_n=cap, nms_thresh=0.7,
        )  # fmt: skip

    def _build_heads(self, parts: Parts) -> Heads:
        spec, classes = self.spec, self.spec.num_classes + 1
        mask: dict[str, Any] = {}
        if spec.masks:
            predictor = MaskRCNNPredictor(parts.mask_width, spec.mask_head_channels, classes)
            mask = {
                "mask_roi_pool": PyramidRoIAlign(parts.pooled, 14, 2, parts.strides),
                "mask_head": parts.mask_head,
                "mask_predictor": Float32(Doubled(predictor) if spec.architecture == "c4" else predictor),
            }
            if spec.refine_masks:
                mask["refinement"] = Refinement(parts.channels, parts.mask_width)
        return Heads(
            box_roi_pool=PyramidRoIAlign(parts.pooled, parts.box_bins, 2, parts.strides), box_head=parts.box_head,
            box_predictor=Float32(FastRCNNPredictor(parts.box_width, classes)),
            fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=spec.rois_per_image, positive_fraction=0.25,
            bbox_reg_weights=None, score_thresh=spec.min_score, nms_thresh=spec.nms_iou,
            detections_per_img=spec.max_instances, **mask,
        )  # fmt: skip

    def _batch(self, images: list[Tensor]) -> ImageList:
        return padded(images, self.mean, self.std)

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg and (with masks) loss_mask."""
        shifted = [{**target, "labels": target["labels"] + 1} for target in targets]
        batch = self._batch(images)
        features = self.backbone(batch.tensors)
        proposals, rpn_losses = self.rpn(batch, features, shifted)
        features = self.with_edges(features, batch)
        _, head_losses = self.roi_heads(features, proposals, batch.image_sizes, shifted)
        return {**rpn_losses, **head_losses}

    def with_edges(self, features: dict[str, Tensor], batch: ImageList) -> dict[str, Tensor]:
        """The pyramid, and what refines masks. Not for the RPN, which takes every map that it is given."""
        refinement = self.roi_heads.refinement
        return features if refinement is None else {**features, "edges": refinement.edges(batch.tensors[:, :1])}

    @torch.no_grad()
    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        """See the contract. Masks are pasted into their own boxes only, at the frame's resolution."""
        batch = self._batch(images)
        features = self.backbone(batch.tensors)
        proposals, _ = self.rpn(batch, features)
        features = self.with_edges(features, batch)
        detections, _ = self.roi_heads(features, proposals, batch.image_sizes)
        pairs = zip(detections, batch.image_sizes, frames or batch.image_sizes, self.rpn.capped, strict=True)
        return [self._prediction(*of_image) for of_image in pairs]

    def _prediction(
        self, found: dict[str, Tensor], size: tuple[int, int], frame: tuple[int, int], capped: bool
    ) -> Prediction:  # fmt: skip
        stretch = torch.tensor([frame[1] / size[1], frame[0] / size[0]]).repeat(2)
        boxes = found["boxes"].float().cpu() * stretch
        prediction = Prediction(
            boxes=boxes.numpy(),
            labels=(found["labels"] - 1).cpu().numpy(),
            scores=found["scores"].float().cpu().numpy(),
            capped=capped or len(boxes) >= self.spec.max_instances,
        )
        if not self.spec.masks:
            return prediction
        parts = ((chosen.cpu(), soft_crops(soft, boxes[chosen.cpu()], frame)) for chosen, soft in found["masks"])
        return with_masks(prediction, parts, frame)

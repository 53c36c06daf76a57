"""Faster and Mask R-CNN on torchvision, without its resizing, its 100-object caps and its full-frame masks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FrozenBatchNorm2d

from tem_seg.core.types import Prediction
from tem_seg.models.contract import RcnnSpec, SegmentationModel, Target
from tem_seg.models.postprocess import masks_to_rles
from tem_seg.models.torchvision.roi_align import PyramidRoIAlign

STRIDE = 32
FEATURES = ["0", "1", "2", "3"]


def build_backbone(spec: RcnnSpec) -> BackboneWithFPN:
    """ResNet with a feature pyramid of five levels (strides 4 to 64), random weights."""
    norms = {"frozen_bn": FrozenBatchNorm2d, "bn": nn.BatchNorm2d, "gn": partial(nn.GroupNorm, 32)}
    body = torchvision.models.get_model(spec.backbone, weights=None, norm_layer=norms[spec.norm])
    widths = [body.inplanes // 8, body.inplanes // 4, body.inplanes // 2, body.inplanes]
    layers = {f"layer{level + 1}": str(level) for level in range(4)}
    norm = None if spec.norm == "frozen_bn" else norms[spec.norm]
    return BackboneWithFPN(body, layers, widths, spec.fpn_channels, norm_layer=norm)


class _Float32(nn.Module):
    """A head whose outputs leave mixed precision: in bfloat16 a box at 300 px is a multiple of 2 px."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, *inputs: Tensor) -> Any:
        outputs = self.head(*inputs)
        if isinstance(outputs, Tensor):
            return outputs.float()
        return tuple([t.float() for t in part] if isinstance(part, list) else part.float() for part in outputs)


class TorchvisionRcnn(SegmentationModel):
    """Mask R-CNN (or Faster R-CNN, ``spec.masks=False``) with FPN; classes 0..C-1 outside, 1..C within."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: RcnnSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = build_backbone(spec)
        self.rpn = self._build_rpn()
        self.roi_heads = self._build_heads()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def _build_rpn(self) -> RegionProposalNetwork:
        spec = self.spec
        anchors = AnchorGenerator(tuple((size,) for size in spec.anchor_sizes_px), (spec.anchor_aspect_ratios,) * 5)
        head = _Float32(RPNHead(spec.fpn_channels, anchors.num_anchors_per_location()[0]))
        cap = {"training": spec.max_instances, "testing": spec.max_instances}
        return RegionProposalNetwork(
            anchors, head, fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=256, positive_fraction=0.5,
            pre_nms_top_n=cap, post_nms_top_n=cap, nms_thresh=0.7,
        )  # fmt: skip

    def _build_heads(self) -> RoIHeads:
        spec, classes = self.spec, self.spec.num_classes + 1
        box_pool = PyramidRoIAlign(FEATURES, output_size=7, sampling_ratio=2)
        mask: dict[str, nn.Module] = {}
        if spec.masks:
            channels = spec.mask_head_channels
            mask = {
                "mask_roi_pool": PyramidRoIAlign(FEATURES, output_size=14, sampling_ratio=2),
                "mask_head": MaskRCNNHeads(spec.fpn_channels, [channels] * spec.mask_head_layers, 1),
                "mask_predictor": _Float32(MaskRCNNPredictor(channels, channels, classes)),
            }
        return RoIHeads(
            box_roi_pool=box_pool, box_head=TwoMLPHead(spec.fpn_channels * 49, spec.box_head_width),
            box_predictor=_Float32(FastRCNNPredictor(spec.box_head_width, classes)),
            fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=spec.rois_per_image, positive_fraction=0.25,
            bbox_reg_weights=None, score_thresh=spec.min_score, nms_thresh=spec.nms_iou,
            detections_per_img=spec.max_instances, **mask,
        )  # fmt: skip

    def _batch(self, images: list[Tensor]) -> ImageList:
        """Grey images of any sizes → one padded three-channel batch (zeros, as torchvision pads)."""
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (-(-max(side) // STRIDE) * STRIDE for side in zip(*sizes, strict=True))
        batch = images[0].new_zeros(len(images), 3, height, width)
        for index, (image, (h, w)) in enumerate(zip(images, sizes, strict=True)):
            batch[index, :, :h, :w] = (image - self.mean) / self.std
        return ImageList(batch.contiguous(memory_format=torch.channels_last), sizes)

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg and (with masks) loss_mask."""
        shifted = [{**target, "labels": target["labels"] + 1} for target in targets]
        batch = self._batch(images)
        features = self.backbone(batch.tensors)
        proposals, rpn_losses = self.rpn(batch, features, shifted)
        _, head_losses = self.roi_heads(features, proposals, batch.image_sizes, shifted)
        return {**rpn_losses, **head_losses}

    @torch.no_grad()
    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        """See the contract. Masks are pasted into their own boxes only, at the frame's resolution."""
        batch = self._batch(images)
        features = self.backbone(batch.tensors)
        proposals, _ = self.rpn(batch, features)
        detections, _ = self.roi_heads(features, proposals, batch.image_sizes)
        pairs = zip(detections, batch.image_sizes, frames or batch.image_sizes, strict=True)
        return [self._prediction(found, size, frame) for found, size, frame in pairs]

    def _prediction(self, found: dict[str, Tensor], size: tuple[int, int], frame: tuple[int, int]) -> Prediction:
        order = torch.argsort(found["scores"], descending=True, stable=True)
        stretch = torch.tensor([frame[1] / size[1], frame[0] / size[0]]).repeat(2)
        boxes = found["boxes"][order].float().cpu() * stretch
        masks = masks_to_rles(found["masks"][order, 0].float().cpu(), boxes, frame) if self.spec.masks else None
        return Prediction(
            boxes=boxes.numpy(),
            labels=(found["labels"][order] - 1).cpu().numpy(),
            scores=found["scores"][order].float().cpu().numpy(),
            masks=masks,
            capped=len(order) >= self.spec.max_instances,
        )

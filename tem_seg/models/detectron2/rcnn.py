"""Faster and Mask R-CNN as Detectron2 builds them, behind the contract of all models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances, RotatedBoxes
from detectron2.utils.events import EventStorage
from torch import Tensor
from torchvision.ops import roi_align

from tem_seg.core.types import Prediction
from tem_seg.models.caps import proposals_capped
from tem_seg.models.contract import RcnnSpec, SegmentationModel, Target
from tem_seg.models.detectron2.config import rcnn_config
from tem_seg.models.detectron2.proposals import watched
from tem_seg.models.detectron2.rotated import give_rods_no_heads
from tem_seg.models.postprocess import soft_crops, with_masks
from tem_seg.models.torchvision.rotated_boxes import canonical, enclosing


class SharedMasks(BitMasks):
    """Detectron2's BitMasks as ground truth, where indexing picks numbers and copies no mask.

    BitMasks copies a full mask for every sampled proposal: 512 × H × W an image, 0.5 GB at 1024². The crops are
    the same (tested). masks (N, H, W) in {0, 1}; index (K,) int64 into them.
    """

    def __init__(self, masks: Tensor, index: Tensor | None = None) -> None:
        self.masks = masks
        self.image_size = (masks.shape[1], masks.shape[2])
        self.index = torch.arange(len(masks), device=masks.device) if index is None else index

    @property
    def tensor(self) -> Tensor:
        """The masks as BitMasks has them, (K, H, W) bool: PointRend asks for those of the positive proposals."""
        return self.masks[self.index].bool()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: Any) -> SharedMasks:
        return SharedMasks(self.masks, self.index[item])

    def to(self, *args: Any, **kwargs: Any) -> SharedMasks:
        """Moved as a tensor is."""
        return SharedMasks(self.masks.to(*args, **kwargs), self.index.to(*args, **kwargs))

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """boxes (K, 4) xyxy px, one a mask → bool (K, mask_size, mask_size), pooled as BitMasks does."""
        used, place = torch.unique(self.index, return_inverse=True)
        rois = torch.cat([place[:, None].float(), boxes.float()], dim=1)
        pooled: Tensor = roi_align(self.masks[used][:, None].float(), rois, mask_size, aligned=True)[:, 0]
        return pooled >= 0.5


class Detectron2Rcnn(SegmentationModel):
    """Mask R-CNN (or Faster R-CNN, ``spec.masks=False``) from Detectron2's model zoo configs.

    ``network`` is the plain GeneralizedRCNN, for use with any Detectron2 tool. Its weights are random;
    weights.start_from loads those of the zoo.
    """

    def __init__(self, spec: RcnnSpec) -> None:
        super().__init__()
        self.spec = spec
        cfg = rcnn_config(spec)
        self.network = build_model(cfg)
        if spec.rotated:
            give_rods_no_heads(self.network, cfg)

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """loss_rpn_cls, loss_rpn_loc, loss_cls, loss_box_reg and (with masks) loss_mask."""
        inputs = [
            {"image": _three_channels(image), "instances": self._instances(target, image)}
            for image, target in zip(images, targets, strict=True)
        ]
        with EventStorage():  # Detectron2 writes statistics there, and fails where there is none
            return self.network(inputs)  # type: ignore[no-any-return]

    def _instances(self, target: Target, image: Tensor) -> Instances:
        found = Instances((image.shape[-2], image.shape[-1]))
        if self.spec.rotated:
            if "rotated_boxes" not in target:
                raise ValueError("a rotated R-CNN needs targets with rotated_boxes")
            found.gt_boxes = RotatedBoxes(target["rotated_boxes"])
        else:
            found.gt_boxes = Boxes(target["boxes"])
        found.gt_classes = target["labels"]
        if self.spec.masks:
            if "masks" not in target:
                raise ValueError("a Mask R-CNN needs targets with masks; use masks=False for boxes alone")
            found.gt_masks = SharedMasks(target["masks"])
        return found

    @torch.no_grad()
    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        """See the contract. Masks are pasted into their own boxes only, at the frame's resolution."""
        inputs = [{"image": _three_channels(image)} for image in images]
        with watched(self.network.proposal_generator) as proposals:
            found = self.network.inference(inputs, do_postprocess=False)
        capped = proposals_capped(proposals.levels, proposals.kept, *self.spec.predicting_proposals)
        made = self._rotated_prediction if self.spec.rotated else self._prediction
        predictions = [made(*each) for each in zip(found, frames or [i.image_size for i in found], strict=True)]
        return [replace(p, capped=p.capped or few) for p, few in zip(predictions, capped, strict=True)]

    def _rotated_prediction(self, found: Instances, frame: tuple[int, int]) -> Prediction:
        """``boxes`` are the upright ones that enclose ``rotated_boxes``, cut to the frame."""
        capped = len(found) >= self.spec.max_instances
        height, width = found.image_size
        found.pred_boxes.scale(frame[1] / width, frame[0] / height)
        found = found[found.pred_boxes.nonempty()]
        rotated = canonical(found.pred_boxes.tensor.float()).cpu()
        limit = torch.tensor([frame[1], frame[0]]).repeat(2)
        return Prediction(
            boxes=torch.minimum(enclosing(rotated).clamp(min=0), limit).numpy(),
            labels=found.pred_classes.cpu().numpy(),
            scores=found.scores.float().cpu().numpy(),
            rotated_boxes=rotated.numpy(),
            capped=capped,
        )

    def _prediction(self, found: Instances, frame: tuple[int, int]) -> Prediction:
        """As Detectron2's detector_postprocess: to the frame, clipped to it, boxes without area dropped."""
        capped = len(found) >= self.spec.max_instances
        height, width = found.image_size
        found.pred_boxes.scale(frame[1] / width, frame[0] / height)
        found.pred_boxes.clip(frame)
        found = found[found.pred_boxes.nonempty()]
        boxes = found.pred_boxes.tensor.float()
        prediction = Prediction(
            boxes=boxes.cpu().numpy(),
            labels=found.pred_classes.cpu().numpy(),
            scores=found.scores.float().cpu().numpy(),
            capped=capped,
        )
        if not self.spec.masks:
            return prediction
        soft = soft_crops(found.pred_masks[:, 0], boxes, frame)
        return with_masks(prediction, [(torch.arange(len(boxes)), soft)], frame)


def _three_channels(image: Tensor) -> Tensor:
    """(1, H, W) in [0, 1] → (3, H, W) in [0, 255], the range of the zoo's PIXEL_MEAN; grey has no channel order."""
    return (image * 255.0).expand(3, -1, -1)

"""Rotated Faster R-CNN of Detectron2's own parts: RotatedAnchorGenerator, RRPN and RROIHeads."""

from __future__ import annotations

from detectron2.config import CfgNode
from torch import Tensor, nn

from tem_seg.models.contract import RcnnSpec
from tem_seg.models.torchvision.rotated_boxes import RotatedCoder, wrap_deg


def set_rotated(cfg: CfgNode, spec: RcnnSpec) -> None:
    """Changes a Faster R-CNN config of the zoo, which holds no rotated one."""
    model = cfg.MODEL
    model.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    model.ANCHOR_GENERATOR.ANGLES = [[float(angle) for angle in spec.anchor_angles_deg]]
    model.PROPOSAL_GENERATOR.NAME = "RRPN"
    model.RPN.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0)
    model.RPN.IOU_THRESHOLDS = [0.3, 0.5]  # turned by 15° a rod of aspect 4 overlaps itself with 0.6
    model.ROI_HEADS.NAME = "RROIHeads"
    model.ROI_BOX_HEAD.POOLER_TYPE = "ROIAlignRotated"
    model.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 2
    model.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0, 5.0)


class RodTransform:
    """In place of Detectron2's Box2BoxTransformRotated, for which a rod has a head and a tail.

    There a truth at -90° lies 150° from an anchor at 60°, and one whose sides change places 90°. Here the target is the
    nearest description of the same box, within 45°; and shifts count in the source's own frame.
    """

    def __init__(self, weights: tuple[float, ...]) -> None:
        shift_x, shift_y, log_w, log_h, turn = (float(weight) for weight in weights)
        self.coder = RotatedCoder((shift_x, shift_y, log_w, log_h, turn))

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Both (N, 5) → (N, 5)."""
        far = wrap_deg(target_boxes[:, 4] - src_boxes[:, 4]).abs() > 45.0
        nearest = target_boxes.clone()
        nearest[far] = nearest[far][:, [0, 1, 3, 2, 4]]
        nearest[far, 4] += 90.0
        return self.coder.encode(nearest, src_boxes)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """deltas (N, k * 5) on boxes (N, 5) → canonical boxes (N, k * 5)."""
        return self.coder.decode(deltas.view(len(deltas), -1, 5), boxes).view(deltas.shape)


def give_rods_no_heads(network: nn.Module, cfg: CfgNode) -> None:
    """Puts RodTransform into a built network; its weights and its config stay what Detectron2 knows."""
    network.proposal_generator.box2box_transform = RodTransform(cfg.MODEL.RPN.BBOX_REG_WEIGHTS)  # type: ignore[union-attr, assignment]
    predictor = network.roi_heads.box_predictor  # type: ignore[union-attr]
    predictor.box2box_transform = RodTransform(cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS)  # type: ignore[union-attr, assignment]

"""RcnnSpec → Detectron2 config: a model zoo config with our values in it, also fit for Detectron2's own trainer."""

from __future__ import annotations

from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg
from detectron2.projects.point_rend import add_pointrend_config

from tem_seg.core.errors import UserError
from tem_seg.models.contract import RcnnSpec
from tem_seg.models.detectron2.point_rend import set_refinement
from tem_seg.models.detectron2.rotated import set_rotated

DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101}
IN_ZOO = ("resnet50", "resnet101")
NORMS = {"frozen_bn": "FrozenBN", "bn": "BN", "gn": "GN"}
GROUPS = 32
"""Groups of Detectron2's GroupNorm."""


def zoo_name(spec: RcnnSpec) -> str:
    """The model zoo config that is the starting point; ResNet-18 and -34 start from that of ResNet-50."""
    network = f"R_{101 if spec.backbone == 'resnet101' else 50}_{spec.architecture.upper()}_3x.yaml"
    return f"COCO-InstanceSegmentation/mask_rcnn_{network}" if spec.masks else f"COCO-Detection/faster_rcnn_{network}"


def rcnn_config(spec: RcnnSpec) -> CfgNode:
    """The complete config of ``spec``, on the CPU. MODEL.WEIGHTS is the zoo's address, or "" for none and files.

    Raises UserError for what Detectron2 cannot build.
    """
    refuse(spec)
    cfg = get_cfg()
    add_pointrend_config(cfg)
    cfg.merge_from_file(model_zoo.get_config_file(zoo_name(spec)))
    cfg.MODEL.DEVICE = "cpu"  # the module is moved as a whole afterwards
    cfg.INPUT.MASK_FORMAT = "bitmask"
    _set_weights(cfg, spec)
    _set_network(cfg, spec)
    if spec.masks and spec.refine_masks:
        set_refinement(cfg, spec)
    if spec.rotated:
        set_rotated(cfg, spec)
    _set_caps(cfg, spec)
    return cfg


def refuse(spec: RcnnSpec) -> None:
    """Raises UserError for what Detectron2 cannot build, before any work."""
    if spec.backbone not in DEPTHS:
        raise UserError(f"model.backbone={spec.backbone} is unknown to detectron2: choose one of {', '.join(DEPTHS)}")
    if spec.rotated and spec.masks:
        raise UserError(
            "detectron2 has no masks in rotated boxes: its rotated heads predict boxes alone. Use "
            "model.backend=torchvision, or model=rotated_faster_rcnn"
        )
    if spec.architecture != "fpn" and spec.backbone not in IN_ZOO:
        raise UserError(
            f"detectron2 builds model.architecture={spec.architecture} of bottleneck blocks only, which "
            f"{spec.backbone} has not: set model.backbone to one of {', '.join(IN_ZOO)}, or model.backend=torchvision"
        )
    if spec.masks and spec.refine_masks and spec.architecture != "fpn":
        raise UserError(
            f"detectron2's PointRend refines masks from the pyramid, which model.architecture={spec.architecture} has "
            "not: set model.refine_masks=false, or model.backend=torchvision"
        )
    if spec.weights in ("coco", "imagenet"):
        if spec.backbone not in IN_ZOO:
            raise UserError(
                f"detectron2's model zoo has no {spec.weights} weights for {spec.backbone}: set model.weights=none "
                f"with model.norm=bn, or model.backbone to one of {', '.join(IN_ZOO)}"
            )
        if spec.norm == "gn":
            raise UserError(
                f"model.weights={spec.weights} was trained with batch norm: set model.norm to frozen_bn or bn"
            )
    in_pyramid = spec.architecture == "fpn" and spec.fpn_channels % GROUPS
    if spec.norm == "gn" and (in_pyramid or (spec.masks and spec.mask_head_channels % GROUPS)):
        raise UserError(
            f"model.norm=gn needs model.fpn_channels and model.mask_head_channels that are multiples of {GROUPS}, "
            f"got {spec.fpn_channels} and {spec.mask_head_channels}"
        )


def _set_weights(cfg: CfgNode, spec: RcnnSpec) -> None:
    if spec.weights == "coco":
        cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url(zoo_name(spec))
    elif spec.weights != "imagenet":  # the zoo's configs start from ImageNet
        cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.BACKBONE.FREEZE_AT = 0  # models/freezing.py does, the same way in both back ends


def _set_network(cfg: CfgNode, spec: RcnnSpec) -> None:
    model, norm = cfg.MODEL, NORMS[spec.norm]
    model.MASK_ON = spec.masks
    model.RESNETS.DEPTH = DEPTHS[spec.backbone]
    if spec.backbone not in IN_ZOO:
        model.RESNETS.RES2_OUT_CHANNELS = 64
    model.RESNETS.NORM = norm
    model.FPN.NORM = "" if spec.norm == "frozen_bn" else norm
    # batch statistics over a handful of particles are noise, and none at all an error: BN stays out of the heads
    model.ROI_MASK_HEAD.NORM = "GN" if spec.norm == "gn" else ""
    model.FPN.OUT_CHANNELS = spec.fpn_channels
    model.ROI_HEADS.NUM_CLASSES = spec.num_classes
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = spec.rois_per_image
    model.ROI_BOX_HEAD.FC_DIM = spec.box_head_width
    model.ROI_MASK_HEAD.NUM_CONV = spec.mask_head_layers if spec.architecture != "c4" else 0  # the stage is its body
    model.ROI_MASK_HEAD.CONV_DIM = spec.mask_head_channels
    sizes = [float(size) for size in spec.anchor_sizes_px]
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in sizes] if spec.architecture == "fpn" else [sizes]
    model.ANCHOR_GENERATOR.ASPECT_RATIOS = [[float(ratio) for ratio in spec.anchor_aspect_ratios]]


def _set_caps(cfg: CfgNode, spec: RcnnSpec) -> None:
    """Every limit on the number of objects follows max_instances; Detectron2's own stop at 100 without a word."""
    cfg.TEST.DETECTIONS_PER_IMAGE = spec.max_instances
    rpn, heads = cfg.MODEL.RPN, cfg.MODEL.ROI_HEADS
    rpn.PRE_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TRAIN = spec.proposals_a_map, spec.max_instances
    rpn.PRE_NMS_TOPK_TEST, rpn.POST_NMS_TOPK_TEST = spec.predicting_proposals
    heads.SCORE_THRESH_TEST = spec.min_score
    heads.NMS_THRESH_TEST = spec.nms_iou

"""The contract of models, kept by Detectron2's R-CNNs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tem_seg.models.detectron2 import INSTALL_HINT

pytest.importorskip("detectron2", reason=f"detectron2 is not installed ({INSTALL_HINT})")

from detectron2.structures import BitMasks
from rcnn_laws import SPEC, check_frames, check_losses, crop_of_discs, empty_target, sgd

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.models import checkpoint
from tem_seg.models.contract import RcnnSpec
from tem_seg.models.detectron2.config import rcnn_config
from tem_seg.models.detectron2.rcnn import Detectron2Rcnn, SharedMasks


def build(spec: RcnnSpec = SPEC, seed: int = 0) -> Detectron2Rcnn:
    torch.manual_seed(seed)
    return Detectron2Rcnn(spec)


BOX_LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, BOX_LOSSES | {"loss_mask", "loss_mask_point"}),
        ({"refine_masks": False}, BOX_LOSSES | {"loss_mask"}),
        ({"norm": "gn"}, BOX_LOSSES | {"loss_mask", "loss_mask_point"}),
        ({"masks": False}, BOX_LOSSES),
    ],
    ids=["mask bn", "coarse", "mask gn", "faster"],
)
def test_losses_are_named_finite_and_fall(change: dict, names: set[str]) -> None:
    model = build(replace(SPEC, **change)).train()
    check_losses(model, crop_of_discs(), names, sgd(model), steps=20, to=0.75)


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_negative_crops_train(norm: str) -> None:
    """Alone, and beside a crop with particles of another size: no NaN, every gradient finite."""
    model = build(replace(SPEC, norm=norm)).train()
    image, target = crop_of_discs()
    alone = model([torch.rand(1, 64, 96)], [empty_target(64, 96)])
    assert alone["loss_mask"] == 0 and alone["loss_box_reg"] == 0 and alone["loss_cls"] > 0
    mixed = model([image, torch.rand(1, 64, 96)], [target, empty_target(64, 96)])
    assert mixed["loss_mask"] > 0
    (sum(alone.values()) + sum(mixed.values())).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_targets_without_masks_are_refused() -> None:
    image, target = crop_of_discs()
    del target["masks"]
    with pytest.raises(ValueError, match="needs targets with masks"):
        build().train()([image], [target])


def test_training_without_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="needs targets"):
        build().train()([torch.rand(1, 64, 64)])


def test_predictions_are_in_the_frame_of_their_image() -> None:
    """Of any size, down to one pixel; more than 100, capped at max_instances, descending."""
    check_frames(build(replace(SPEC, max_instances=150, min_score=0.0, nms_iou=0.95)).eval())


def test_max_instances_reaches_every_cap() -> None:
    cfg = rcnn_config(replace(SPEC, max_instances=1234, min_score=0.2, nms_iou=0.4))
    rpn = cfg.MODEL.RPN
    assert [rpn.PRE_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TRAIN, cfg.TEST.DETECTIONS_PER_IMAGE] == [1234] * 3
    assert [rpn.PRE_NMS_TOPK_TEST, rpn.POST_NMS_TOPK_TEST] == [4 * 1234, 2 * 1234], "several proposals a particle"
    assert (cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST, cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST) == (0.2, 0.4)


def test_finding_nothing_is_legal() -> None:
    for masks in (True, False):
        (found,) = build(replace(SPEC, min_score=1.0, masks=masks)).eval()([torch.rand(1, 64, 64)])
        assert len(found) == 0 and not found.capped
        assert found.boxes.shape == (0, 4) and found.masks == ([] if masks else None)


def test_prediction_does_not_depend_on_the_batch() -> None:
    model = build(replace(SPEC, min_score=0.0, max_instances=20)).eval()
    image = torch.rand(1, 96, 96, generator=torch.Generator().manual_seed(3))
    (alone,), (beside, _) = model([image]), model([image, torch.rand(1, 96, 96)])
    np.testing.assert_allclose(alone.boxes, beside.boxes, atol=1e-3)
    np.testing.assert_allclose(alone.scores, beside.scores, atol=1e-5)


@pytest.mark.parametrize("frame", [None, (180, 140), (45, 40)])
def test_results_equal_detectron2s_own_postprocessing(frame: tuple[int, int] | None) -> None:
    """In the image's frame, and in that of a micrograph twice or half as large."""
    model = build(replace(SPEC, min_score=0.0, max_instances=40)).eval()
    image = torch.rand(1, 90, 70)
    (ours,) = model([image], frames=[frame] if frame else None)
    height, width = frame or (90, 70)
    with torch.no_grad():
        request = {"image": 255 * image.expand(3, -1, -1), "height": height, "width": width}
        theirs = model.network([request])[0]["instances"]
    np.testing.assert_allclose(ours.boxes, theirs.pred_boxes.tensor, atol=1e-4)
    np.testing.assert_array_equal(np.stack([rle.decode(mask) for mask in ours.masks]), theirs.pred_masks)


def test_shared_masks_crop_as_bitmasks_do() -> None:
    _, target = crop_of_discs()
    order = torch.tensor([2, 0, 0, 1, 2])
    boxes = target["boxes"][order] + torch.tensor([[-3.0, 2.5, 4.25, -1.0]])
    shared = SharedMasks(target["masks"])[order]
    assert len(shared) == 5
    expected = BitMasks(target["masks"].bool())[order].crop_and_resize(boxes, 28)
    assert torch.equal(shared.crop_and_resize(boxes, 28), expected)
    some = torch.tensor([True, False, True, False, True])
    assert torch.equal(shared[some].crop_and_resize(boxes[some], 28), expected[some])


def test_own_checkpoints_are_not_taken_for_old_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Detectron2 warns of weights that do not say of which version their modules are."""
    trained, fresh = build(seed=1), build(seed=2)
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, trained.state_dict(), {"categories": ["a", "b"]})
    with caplog.at_level("WARNING"):
        checkpoint.load(fresh, path)
    assert not caplog.records
    now = fresh.state_dict()
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(now[name], value, rtol=1e-3, atol=1e-6)  # files hold half precision


def test_point_rend_refines_masks() -> None:
    """Detectron2's own head, with our widths; its ground truth is that of BitMasks, and it needs the pyramid."""
    shapes = {name: tuple(weight.shape) for name, weight in build(SPEC).network.named_parameters()}
    assert shapes["roi_heads.mask_head.point_head.fc1.weight"][0] == SPEC.mask_head_channels
    masks = (torch.rand(4, 20, 30) > 0.5).to(torch.uint8)
    chosen = torch.tensor([3, 0, 0])
    assert torch.equal(SharedMasks(masks)[chosen].tensor, BitMasks(masks)[chosen].tensor)
    with pytest.raises(UserError, match=r"PointRend refines masks from the pyramid.*refine_masks=false"):
        rcnn_config(replace(SPEC, architecture="c4", backbone="resnet50"))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_backbones_build_with_the_widths_of_the_spec(backbone: str) -> None:
    ratios = (0.5, 1.0, 1.5, 2.0)
    spec = replace(SPEC, backbone=backbone, mask_head_layers=2, anchor_aspect_ratios=ratios, refine_masks=False)
    network = build(spec).network
    shapes = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    assert shapes["backbone.fpn_output2.weight"] == (32, 32, 3, 3)
    assert shapes["proposal_generator.rpn_head.objectness_logits.weight"] == (4, 32, 1, 1)
    assert shapes["roi_heads.box_head.fc1.weight"] == (64, 32 * 7 * 7)
    assert shapes["roi_heads.box_predictor.cls_score.weight"] == (3, 64)
    assert shapes["roi_heads.mask_head.mask_fcn2.weight"] == (32, 32, 3, 3)
    assert "roi_heads.mask_head.mask_fcn3.weight" not in shapes
    sizes = [cell.shape[0] for cell in network.proposal_generator.anchor_generator.cell_anchors]
    assert sizes == [4] * 5


def test_anchors_have_the_sizes_of_the_spec() -> None:
    cells = build().network.proposal_generator.anchor_generator.cell_anchors
    areas = [float((cell[0, 2] - cell[0, 0]) * (cell[0, 3] - cell[0, 1])) for cell in cells]
    np.testing.assert_allclose(np.sqrt(areas), SPEC.anchor_sizes_px, rtol=1e-4)


def test_nothing_is_frozen_without_pretrained_weights() -> None:
    assert all(weight.requires_grad for weight in build().parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet152"}, "model.backbone=resnet152 is unknown"),
        ({"weights": "coco"}, "no coco weights for resnet18: set model.weights=none with model.norm=bn"),
        ({"weights": "imagenet", "backbone": "resnet34"}, "no imagenet weights for resnet34"),
        ({"weights": "coco", "backbone": "resnet50", "norm": "gn"}, "set model.norm to frozen_bn or bn"),
        ({"norm": "gn", "fpn_channels": 48}, "multiples of 32, got 48 and 32"),
        ({"backbone": "resnet16"}, "model.backbone=resnet16 is unknown to detectron2"),
        ({"architecture": "c4"}, "model.architecture=c4 of bottleneck blocks only, which resnet18 has not"),
        ({"architecture": "dc5", "backbone": "resnet34"}, "or model.backend=torchvision"),
    ],
)
def test_what_cannot_be_built_is_explained(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rcnn_config(replace(SPEC, **change))


@pytest.mark.parametrize(
    ("change", "address"),
    [
        ({"weights": "coco"}, "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl"),
        ({"weights": "coco", "masks": False}, "COCO-Detection/faster_rcnn_R_50_FPN_3x/"),
        ({"weights": "coco", "backbone": "resnet101"}, "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x/"),
        ({"weights": "imagenet", "backbone": "resnet101"}, "detectron2://ImageNetPretrained/MSRA/R-101.pkl"),
        (
            {"weights": "coco", "architecture": "c4", "refine_masks": False},
            "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x/",
        ),
        ({"weights": "coco", "architecture": "dc5", "masks": False}, "COCO-Detection/faster_rcnn_R_50_DC5_3x/"),
    ],
)
def test_pretrained_weights_come_from_the_zoo(change: dict, address: str) -> None:
    cfg = rcnn_config(replace(SPEC, **({"backbone": "resnet50", "norm": "frozen_bn"} | change)))
    assert address in cfg.MODEL.WEIGHTS
    assert cfg.MODEL.BACKBONE.FREEZE_AT == 0  # models/freezing.py does that


def test_losses_are_finite_in_bfloat16() -> None:
    """Mixed precision on the CPU."""
    image, target = crop_of_discs()
    with torch.autocast("cpu", torch.bfloat16):
        losses = build().train()([image], [target])
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("architecture", ["c4", "dc5"])
def test_one_map_architectures_train_also_on_negatives_alone(architecture: str) -> None:
    sizes = (12.0, 24.0, 48.0)
    small = {
        "refine_masks": False,
        "rois_per_image": 8,
        "max_instances": 8,
        "anchor_sizes_px": sizes,
        "backbone": "resnet50",
    }
    model = build(replace(SPEC, architecture=architecture, **small))
    cells = model.network.proposal_generator.anchor_generator.cell_anchors
    assert [len(cell) for cell in cells] == [9]
    image, target = crop_of_discs()
    for losses in (model.train()([image], [target]), model([torch.rand(1, 64, 64)], [empty_target(64, 64)])):
        assert set(losses) >= {"loss_mask", "loss_box_reg"} and all(torch.isfinite(v) for v in losses.values())
        sum(losses.values()).backward()
    (found,) = model.eval()([image])
    assert found.masks is not None and len(found.masks) == len(found)

"""The contract of models, kept by torchvision's R-CNNs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rcnn_laws import SPEC, check_few_shapes, check_frames, check_losses, crop_of_discs, empty_target, sgd

from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.models.contract import RcnnSpec
from tem_seg.models.torchvision.rcnn import TorchvisionRcnn

BOX_LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}


def build(spec: RcnnSpec = SPEC, seed: int = 0) -> TorchvisionRcnn:
    torch.manual_seed(seed)
    return TorchvisionRcnn(spec)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, BOX_LOSSES | {"loss_mask", "loss_points"}),
        ({"refine_masks": False}, BOX_LOSSES | {"loss_mask"}),
        ({"norm": "gn"}, BOX_LOSSES | {"loss_mask", "loss_points"}),
        ({"masks": False}, BOX_LOSSES),
    ],
    ids=["mask bn", "coarse", "mask gn", "faster"],
)
def test_losses_are_named_finite_and_fall(change: dict, names: set[str]) -> None:
    model = build(replace(SPEC, **change)).train()
    check_losses(model, crop_of_discs(), names, sgd(model), steps=15, to=0.75)


def test_negative_crops_train() -> None:
    """Alone, and beside a crop with particles of another size: no NaN, every gradient finite."""
    model = build().train()
    image, target = crop_of_discs()
    alone = model([torch.rand(1, 64, 96)], [empty_target(64, 96)])
    assert alone["loss_mask"] == 0 and alone["loss_box_reg"] == 0 and alone["loss_classifier"] > 0
    mixed = model([image, torch.rand(1, 64, 96)], [target, empty_target(64, 96)])
    assert mixed["loss_mask"] > 0
    (sum(alone.values()) + sum(mixed.values())).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_bfloat16_losses_are_finite_float32(memory_format: torch.memory_format) -> None:
    model = build().train().to(memory_format=memory_format)
    image, target = crop_of_discs()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image, image[:, :64]], [target, empty_target(64, 80)])
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(w.grad).all() for w in model.parameters() if w.grad is not None)


def test_training_without_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="needs targets"):
        build().train()([torch.rand(1, 64, 64)])


def permissive(**changes: object) -> TorchvisionRcnn:
    """Untrained, but everything that the head proposes is returned."""
    return build(replace(SPEC, min_score=0.0, nms_iou=0.95, **changes)).eval()


def test_predictions_are_in_the_frame_of_their_image() -> None:
    """Of any size, down to one pixel; more than 100, capped at max_instances, descending."""
    check_frames(permissive(max_instances=150))


def test_the_cap_is_ours_and_reaching_it_is_said() -> None:
    """The 100-object habit: 230 particles are returned when 1000 may be; 60 when 60 may be, and that is flagged."""
    image = torch.rand(1, 192, 192)
    many, few = permissive(max_instances=1000)([image])[0], permissive(max_instances=60)([image])[0]
    assert len(many) > 230 and many.capped == (len(many) >= 1000)
    assert len(few) == 60 and few.capped


def test_no_detection_is_a_legal_prediction() -> None:
    found: Prediction = build(replace(SPEC, min_score=0.999, max_instances=1000)).eval()([torch.zeros(1, 64, 64)])[0]
    assert len(found) == 0 and found.masks == [] and found.boxes.shape == (0, 4) and not found.capped


def test_frames_stretch_boxes_and_masks() -> None:
    """In a frame of 2 × the height and 3 × the width boxes are stretched, and masks pasted at its resolution."""
    model, image = permissive(max_instances=50), torch.rand(1, 96, 64)
    own, framed = model([image])[0], model([image], frames=[(192, 192)])[0]
    np.testing.assert_allclose(framed.boxes, own.boxes * [3, 2, 3, 2], rtol=1e-5)
    np.testing.assert_array_equal(framed.scores, own.scores)
    assert all(mask["size"] == [192, 192] for mask in framed.masks)
    areas = np.array([[rle.area_px(a), rle.area_px(b)] for a, b in zip(own.masks, framed.masks, strict=True)])
    large = areas[areas[:, 0] > 100]
    assert len(large)
    np.testing.assert_allclose(large[:, 1] / large[:, 0], 6.0, rtol=0.15)


def test_padding_beside_a_larger_image_does_not_move_boxes_out() -> None:
    """Two images of different size in a batch: each prediction stays within its own image."""
    found = permissive(max_instances=40)([torch.rand(1, 40, 90), torch.rand(1, 120, 33)])
    for prediction, (height, width) in zip(found, [(40, 90), (120, 33)], strict=True):
        assert prediction.boxes[:, 2].max() <= width and prediction.boxes[:, 3].max() <= height


def test_faster_rcnn_gives_boxes_alone() -> None:
    found = permissive(masks=False, max_instances=10)([torch.rand(1, 64, 64)])[0]
    assert found.masks is None and len(found) == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "layer"}, "norm must be frozen_bn, bn or gn, got 'layer'"),
        ({"norm": "frozen_bn"}, "frozen_bn with random weights diverges"),
        ({"anchor_sizes_px": (16, 32)}, "anchor_sizes_px needs five sizes"),
        ({"max_instances": 0}, "max_instances must be at least 1, got 0"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **change)


def test_refined_masks_come_with_outlines() -> None:
    """Particles above 28 px get finer masks, each an outline and how sure it is."""
    model = build(replace(SPEC, min_score=0.0, max_instances=60)).eval()
    (found,) = model([torch.rand(1, 160, 160)])
    assert found.contours is not None and found.edge_sd_px is not None
    assert len(found.contours) == len(found.edge_sd_px) == len(found) > 0
    for contour, mask, spread in zip(found.contours, found.masks, found.edge_sd_px, strict=True):
        assert (len(contour) == 0) == (rle.area_px(mask) == 0) == bool(np.isnan(spread))


def test_heads_see_any_number_of_particles_in_few_shapes() -> None:
    check_few_shapes(build(replace(SPEC, min_score=0.0)).eval())

"""The contract of models, kept by rotated R-CNNs; anchors, matching, and what they learn of one crop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from rcnn_laws import check_few_shapes, check_frames, check_losses, empty_target
from torch import Tensor

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import enclosing_boxes, rotated_boxes_corners
from tem_seg.data import rle
from tem_seg.models.contract import RcnnSpec, Target
from tem_seg.models.rcnn import Rcnn
from tem_seg.models.torchvision.rotated_boxes import canonical
from tem_seg.models.torchvision.rotated_matching import assign
from tem_seg.models.torchvision.rotated_ops import overlapping_grid, pairwise_iou
from tem_seg.models.torchvision.rotated_rcnn import RotatedRcnn
from tem_seg.models.torchvision.rotated_rpn import RotatedAnchors, cell_anchors

SPEC = RcnnSpec(
    num_classes=2, rotated=True, refine_masks=False, backbone="resnet18", norm="bn", fpn_channels=32, box_head_width=64,
    mask_head_layers=1, mask_head_channels=32, anchor_sizes_px=(12.0, 24.0, 48.0, 96.0, 192.0),
    anchor_aspect_ratios=(1.5, 4.0), anchor_angles_deg=(-90.0, -60.0, -30.0, 0.0, 30.0, 60.0), rois_per_image=64,
    max_instances=200,
)  # fmt: skip
RODS = torch.tensor([[30.0, 30, 8, 40, 40], [60.0, 60, 10, 44, -70], [25.0, 75, 8, 30, 5]])
BOX_LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}


def crop_of_rods(height: int = 96, width: int = 96) -> tuple[Tensor, Target]:
    """A dark crop with three bright rods of classes 0, 1, 0."""
    corners = rotated_boxes_corners(RODS.numpy())
    crops = [rle.from_polygons([shape.ravel().tolist()], (height, width)) for shape in corners]
    masks = torch.from_numpy(np.stack([rle.decode(crop) for crop in crops])).to(torch.uint8)
    image = torch.where(masks.bool().any(dim=0), 0.9, 0.2)[None]
    boxes = torch.from_numpy(enclosing_boxes(RODS.numpy())).float()
    return image, {"boxes": boxes, "labels": torch.tensor([0, 1, 0]), "masks": masks, "rotated_boxes": RODS.clone()}


def build(spec: RcnnSpec = SPEC, seed: int = 0) -> RotatedRcnn:
    torch.manual_seed(seed)
    return RotatedRcnn(spec)


def test_it_learns_boxes_and_masks_of_a_crop() -> None:
    """Named losses that fall, until what it finds are those rods."""
    model = build(replace(SPEC, norm="gn", min_score=0.3, max_instances=60)).train()
    image, target = crop_of_rods()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    check_losses(model, (image, target), BOX_LOSSES | {"loss_mask"}, optimizer, steps=60, to=0.5)
    (found,) = model.eval()([image])
    assert found.rotated_boxes is not None and found.masks is not None
    overlap = pairwise_iou(RODS, torch.from_numpy(found.rotated_boxes))
    best = overlap.argmax(dim=1)
    assert (overlap.amax(dim=1) > 0.5).all() and found.labels[best].tolist() == [0, 1, 0]
    for truth, index in zip(target["masks"].numpy(), best.tolist(), strict=True):
        mask = rle.decode(found.masks[index])
        assert (mask & (truth > 0)).sum() / (mask | (truth > 0)).sum() > 0.5


@pytest.mark.parametrize("masks", [True, False])
def test_negative_crops_train(masks: bool) -> None:
    model = build(replace(SPEC, masks=masks)).train()
    image, target = crop_of_rods()
    alone = model([torch.rand(1, 64, 96)], [empty_target(64, 96, rotated=True)])
    assert alone["loss_box_reg"] == 0 and alone["loss_rpn_box_reg"] == 0 and alone["loss_classifier"] > 0
    mixed = model([image, torch.rand(1, 64, 96)], [target, empty_target(64, 96, rotated=True)])
    assert set(mixed) == BOX_LOSSES | ({"loss_mask"} if masks else set())
    (sum(alone.values()) + sum(mixed.values())).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_losses_do_not_depend_on_how_a_rod_is_described() -> None:
    model = build(replace(SPEC, norm="gn")).train()
    image, target = crop_of_rods()
    turned = {**target, "rotated_boxes": RODS + torch.tensor([0, 0, 0, 0, 180.0])}
    torch.manual_seed(1)
    one = model([image], [target])
    torch.manual_seed(1)
    other = model([image], [turned])
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("missing", ["rotated_boxes", "masks"])
def test_targets_that_lack_something_are_refused(missing: str) -> None:
    image, target = crop_of_rods()
    del target[missing]  # type: ignore[misc]
    with pytest.raises(ValueError, match=f"needs targets with {missing}"):
        build().train()([image], [target])


def test_predictions_are_in_the_frame_of_their_image() -> None:
    """Of any size, down to one pixel; more than 100, capped at max_instances, descending; canonical boxes."""
    model = build(replace(SPEC, max_instances=150, min_score=0.0, nms_iou=0.95)).eval()
    for image, prediction in check_frames(model):
        height, width = image.shape[1:]
        rotated = prediction.rotated_boxes
        assert rotated.dtype == np.float32
        assert (rotated[:, 2] <= rotated[:, 3]).all() and (np.abs(rotated[:, 4]) <= 90).all()
        around = enclosing_boxes(rotated).clip(0, [width, height, width, height])
        np.testing.assert_allclose(prediction.boxes, around, atol=1e-3)


def test_a_larger_frame_holds_the_same_particles() -> None:
    model = build(replace(SPEC, min_score=0.0, max_instances=20)).eval()
    image = torch.rand(1, 90, 70)
    (small,), (large,) = model([image]), model([image], frames=[(180, 140)])
    np.testing.assert_allclose(large.rotated_boxes[:, :4], 2 * small.rotated_boxes[:, :4], rtol=1e-4)
    np.testing.assert_allclose(large.rotated_boxes[:, 4], small.rotated_boxes[:, 4], atol=1e-3)
    areas = np.array([[rle.area_px(mask) for mask in part.masks] for part in (small, large)])
    sure = areas[0] > 30
    np.testing.assert_allclose(areas[1, sure] / areas[0, sure], 4, rtol=0.2)


@pytest.mark.parametrize("masks", [True, False])
def test_finding_nothing_is_legal(masks: bool) -> None:
    (found,) = build(replace(SPEC, min_score=1.0, masks=masks)).eval()([torch.rand(1, 64, 64)])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4) and found.rotated_boxes.shape == (0, 5)
    assert found.masks == ([] if masks else None)


def test_prediction_does_not_depend_on_the_batch() -> None:
    model = build(replace(SPEC, min_score=0.0, max_instances=20)).eval()
    image = torch.rand(1, 96, 96, generator=torch.Generator().manual_seed(3))
    (alone,), (beside, _) = model([image]), model([image, torch.rand(1, 96, 96)])
    np.testing.assert_allclose(alone.rotated_boxes[:, :4], beside.rotated_boxes[:, :4], atol=1e-2)
    np.testing.assert_allclose(alone.scores, beside.scores, atol=1e-5)


def test_mixed_precision() -> None:
    model = build().train()
    image, target = crop_of_rods()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image], [target])
        (found,) = model.eval()([image])
    assert all(torch.isfinite(loss) and loss.dtype == torch.float32 for loss in losses.values())
    assert found.rotated_boxes.dtype == np.float32


def test_anchors_have_the_area_ratio_and_angles_asked_for() -> None:
    cells = cell_anchors(24.0, (1.0, 4.0, 0.25), (-90.0, -45.0, 0.0, 45.0))
    assert len(cells) == 2 + 4 + 4  # of a square a quarter turn is no other anchor
    np.testing.assert_allclose(cells[:, 2] * cells[:, 3], 24**2, rtol=1e-5)
    np.testing.assert_allclose(cells[2:, 3] / cells[2:, 2], 4, rtol=1e-5)
    assert sorted(cells[2:6, 4].tolist()) == [-90, -45, 0, 45] == sorted(cells[6:, 4].tolist())
    levels = RotatedAnchors((8.0, 16.0), (2.0,), (0.0, 45.0))([torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 2, 2)])
    assert [len(level) for level in levels] == [24, 8]
    np.testing.assert_array_equal(levels[0].boxes[:4, :2], [[2, 2], [2, 2], [6, 2], [6, 2]])
    np.testing.assert_array_equal(levels[1].boxes[-1, :2], [12, 12])


@pytest.mark.parametrize("seed", range(3))
def test_matching_is_that_of_torchvisions_matcher(seed: int) -> None:
    from torchvision.models.detection._utils import Matcher

    draw = torch.Generator().manual_seed(seed)
    levels = [cell_anchors(size, (1.5, 4.0), (0.0, 60.0, -60.0)).repeat(300, 1) for size in (8.0, 16.0, 32.0)]
    for level in levels:
        level[:, :2] = torch.rand(len(level), 2, generator=draw) * 120
    low, high = torch.tensor([0.0, 0, 2, 4, -90]), torch.tensor([120.0, 120, 12, 90, 90])
    truths = canonical(low + (high - low) * torch.rand(25, 5, generator=draw))
    labels, owner = assign(truths, levels, 0.5, 0.3, best_ones=True)
    iou = pairwise_iou(truths, torch.cat(levels))
    matched = Matcher(0.5, 0.3, allow_low_quality_matches=True)(iou)
    expected = torch.where(matched >= 0, 1.0, torch.where(matched == Matcher.BELOW_LOW_THRESHOLD, 0.0, -1.0))
    assert torch.equal(labels, expected) and (labels == 1).sum() >= 25 and (labels == -1).any()
    poor = (labels == 1) & (iou.amax(0) < 0.3)
    assert torch.equal(owner[(labels == 1) & ~poor], matched[(labels == 1) & ~poor])
    assert torch.equal(iou[owner[poor], poor.nonzero()[:, 0]], iou.amax(1)[owner[poor]])  # the best that truth has
    plain, _ = assign(truths, levels, 0.5, 0.5, best_ones=False)
    again = Matcher(0.5, 0.5, allow_low_quality_matches=False)(pairwise_iou(truths, torch.cat(levels)))
    assert torch.equal(plain == 1, again >= 0) and not (plain == -1).any()


@pytest.mark.parametrize("at_least", [0.0, 0.1, 0.3, 0.6])
def test_a_grid_is_compared_as_the_boxes_it_stands_for(at_least: float) -> None:
    draw = torch.Generator().manual_seed(5)
    low, high = torch.tensor([-5.0, -5, 4, 10, -90]), torch.tensor([130.0, 90, 20, 60, 90])
    truths = canonical(low + (high - low) * torch.rand(80, 5, generator=draw))
    (grid,) = RotatedAnchors((16.0,), (1.0, 2.5, 6.0), (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0))(
        [torch.zeros(1, 1, 20, 30)]
    )
    found = torch.zeros(len(truths), len(grid))
    rows, columns, iou = overlapping_grid(truths, grid, at_least)
    found[rows, columns] = iou
    expected = pairwise_iou(truths, grid.boxes)
    enough = expected >= max(at_least, 1e-6)
    assert enough.sum() > 20
    torch.testing.assert_close(found[enough], expected[enough], atol=1e-6, rtol=0)


def test_matching_without_truths_or_boxes() -> None:
    labels, owner = assign(torch.zeros(0, 5), [torch.ones(4, 5)], 0.5, 0.3, best_ones=True)
    assert labels.tolist() == [0] * 4 and owner.tolist() == [0] * 4
    labels, _ = assign(torch.ones(3, 5), [torch.zeros(0, 5)], 0.5, 0.3, best_ones=True)
    assert labels.shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchor_angles_deg": ()}, "rotated boxes need angles"),
        ({"rotated": False}, "upright ones have none"),
        ({"architecture": "c4"}, "architecture=fpn only, not c4"),
        ({"refine_masks": True}, "set refine_masks=false"),
    ],
)
def test_specs_that_do_not_go_together(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **change)


def test_masks_in_rotated_boxes_are_torchvisions_alone() -> None:
    settings: dict[str, Any] = {
        "rotated": True, "anchor_angles_deg": (0.0, 45.0), "refine_masks": False, "weights": "none", "norm": "bn",
        "backbone": "resnet18", "fpn_channels": 32,
    }  # fmt: skip
    assert Rcnn(**settings).about()["backend"] == "torchvision"
    assert isinstance(Rcnn(**settings).build(), RotatedRcnn)
    with pytest.raises(UserError, match="detectron2"):
        Rcnn(**settings, backend="detectron2").about()


def test_heads_see_any_number_of_particles_in_few_shapes() -> None:
    check_few_shapes(build(replace(SPEC, min_score=0.0)).eval())

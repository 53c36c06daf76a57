"""C4 and DC5 on torchvision."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from rcnn_laws import check_losses, empty_target, sgd
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from tem_seg.models.contract import RcnnSpec, Target
from tem_seg.models.torchvision.backbones import build_body
from tem_seg.models.torchvision.rcnn import TorchvisionRcnn
from tem_seg.models.torchvision.single_level import dilate

SPEC = RcnnSpec(
    num_classes=2, backbone="resnet16", architecture="c4", norm="bn", box_head_width=32, mask_head_layers=1,
    mask_head_channels=32, anchor_sizes_px=(12.0, 24.0, 48.0), rois_per_image=32, max_instances=40, refine_masks=False,
)  # fmt: skip


def build(**change: object) -> TorchvisionRcnn:
    torch.manual_seed(0)
    return TorchvisionRcnn(replace(SPEC, **change))


def scene() -> tuple[torch.Tensor, Target]:
    """A dark square on bright ground."""
    image = torch.full((1, 80, 96), 0.7)
    image[:, 20:50, 30:60] = 0.2
    masks = torch.zeros(1, 80, 96, dtype=torch.uint8)
    masks[0, 20:50, 30:60] = 1
    return image, {"boxes": torch.tensor([[30.0, 20, 60, 50]]), "labels": torch.tensor([1]), "masks": masks}


@pytest.mark.parametrize("architecture", ["c4", "dc5"])
@pytest.mark.parametrize("masks", [True, False], ids=["mask", "faster"])
def test_one_map_of_stride_16_with_all_anchors(architecture: str, masks: bool) -> None:
    model = build(architecture=architecture, masks=masks).eval()
    maps = model.backbone(torch.zeros(1, 3, 64, 96))
    assert {name: tuple(level.shape[2:]) for name, level in maps.items()} == {"0": (4, 6)}
    assert maps["0"].shape[1] == (256 if architecture == "c4" else 512)
    (cells,) = model.rpn.anchor_generator.cell_anchors
    sides = cells[:, 2:] - cells[:, :2]
    expected = np.repeat([[12.0, 24.0, 48.0]], 3, axis=0).ravel()
    np.testing.assert_allclose(sides.prod(dim=1).sqrt(), expected, atol=1.5)  # torchvision rounds corners
    (found,) = model([torch.rand(1, 66, 50)])
    assert (found.masks is not None) == masks


@pytest.mark.parametrize("architecture", ["c4", "dc5"])
@pytest.mark.parametrize("refine", [False, True])
def test_trains_also_on_negatives_alone(architecture: str, refine: bool) -> None:
    model = build(architecture=architecture, refine_masks=refine).train()
    image, target = scene()
    losses, alone = model([image], [target]), model([torch.rand(1, 64, 64)], [empty_target(64, 64)])
    assert all(torch.isfinite(value) for value in (*losses.values(), *alone.values()))
    assert losses["loss_mask"] > 0 and alone["loss_mask"] == 0 and alone["loss_box_reg"] == 0
    (sum(losses.values()) + sum(alone.values())).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_losses_of_c4_fall() -> None:
    model = build(rois_per_image=8).train()
    names = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    check_losses(model, scene(), names, sgd(model), steps=12, to=0.75)


def test_the_last_stage_of_c4_is_one_for_boxes_and_masks() -> None:
    model = build()
    names = [name for name, _ in model.named_parameters() if ".layer4." in name]
    assert names and all(name.startswith("roi_heads.box_head.layer4.") for name in names)
    assert set(model.state_dict()) >= set(names)
    twin = copy.deepcopy(model)  # the running average of the weights is such a copy
    assert twin.roi_heads.mask_head._owner[0] is twin.roi_heads.box_head
    norm = model.train().roi_heads.box_head.layer4[0].bn1
    before = norm.running_mean.clone()
    model.roi_heads.mask_head(torch.rand(5, 256, 14, 14))
    assert torch.equal(norm.running_mean, before) and norm.training
    assert model.roi_heads.mask_head(torch.rand(0, 256, 14, 14)).shape == (0, 512, 7, 7)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_dilated_stage_gives_the_strided_one_at_every_second_place(block: type[nn.Module]) -> None:
    """The à trous identity: nothing learned with a stride is lost."""
    torch.manual_seed(0)
    stage = ResNet(block, [1, 1, 1, 3]).layer4.eval()
    maps = torch.randn(2, 256 * (4 if block is Bottleneck else 1), 12, 10)
    with torch.no_grad():
        strided = stage(maps)
        dilate(stage)
        dense = stage(maps)
    assert dense.shape[2:] == (12, 10)
    torch.testing.assert_close(dense[..., ::2, ::2], strided, rtol=1e-4, atol=1e-4)


def test_resnet16_is_resnet18_without_its_last_block() -> None:
    small, large = (build_body(replace(SPEC, backbone=name)) for name in ("resnet16", "resnet18"))
    left_out = {name for name in large.state_dict() if name.startswith("layer4.1.")}
    assert set(large.state_dict()) - left_out == set(small.state_dict())
    assert sum(p.numel() for n, p in small.named_parameters() if not n.startswith("fc.")) == 6_455_872


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "c5"}, "architecture must be fpn, c4 or dc5, got 'c5'"),
        ({"anchor_sizes_px": ()}, "anchor_sizes_px is empty"),
        ({"architecture": "fpn"}, "anchor_sizes_px needs five sizes"),
    ],
)
def test_what_is_not_built(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **change)

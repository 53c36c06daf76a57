"""Caps on proposals: 1,000 and 5,000 particles in one image, and a word where some may have been lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tem_seg.models.caps import proposals_capped
from tem_seg.models.contract import RcnnSpec, SegmentationModel
from tem_seg.models.torchvision.rcnn import TorchvisionRcnn

SPEC: dict[str, Any] = {
    "num_classes": 1, "backbone": "resnet18", "norm": "bn", "fpn_channels": 8, "box_head_width": 8, "masks": False,
    "anchor_sizes_px": (8, 16, 32, 64, 128), "anchor_aspect_ratios": (1.0,), "min_score": 0.05, "nms_iou": 0.5,
}  # fmt: skip


def logits(*positive: int, anchors: int = 50) -> Tensor:
    """(B, anchors): so many of each image are objects."""
    return torch.stack([torch.where(torch.arange(anchors) < n, 2.0, -2.0) for n in positive])


@pytest.mark.parametrize(
    ("positive", "kept", "expected"),
    [
        (10, [2.0, 2.0, 2.0], False),  # fewer than either cap
        (21, [2.0, 2.0, 2.0], True),  # more objects on a map than go on
        (10, [2.0, 2.0, 2.0, 2.0, 1.0], True),  # the last of as many as may go on is still an object
        (10, [2.0, 2.0, 2.0, 2.0, -1.0], False),  # the last one is ground: none was lost
        (0, [], False),
    ],
)
def test_a_cap_counts_where_it_drops_objects(positive: int, kept: list[float], expected: bool) -> None:
    levels = [logits(0, positive), logits(0, 3)]
    assert proposals_capped(levels, [torch.tensor([]), torch.tensor(kept)], 20, 5) == [False, expected]


def everywhere(model: TorchvisionRcnn, step: int) -> TorchvisionRcnn:
    """A network whose RPN sees an object in the middle of every ``step``-th cell of the finest map, and none elsewhere;
    whose heads believe it."""

    def objectness(module: Any, inputs: Any, output: Any) -> Any:
        levels, deltas = output
        fine = torch.full_like(levels[0], -10.0)
        fine[:, :, step // 2 :: step, step // 2 :: step] = 3.0
        return [fine, *(torch.full_like(level, -10.0) for level in levels[1:])], [torch.zeros_like(d) for d in deltas]

    def heads(module: Any, inputs: Any, output: Any) -> Any:
        scores, deltas = output
        return torch.stack([torch.zeros(len(scores)), torch.full((len(scores),), 4.0)], 1), torch.zeros_like(deltas)

    model.rpn.score_thresh = 0.5  # the places that fill the caps up would be believed as well
    model.rpn.head.register_forward_hook(objectness)
    model.roi_heads.box_predictor.register_forward_hook(heads)
    return model.eval()


@pytest.mark.parametrize("grid", [32, 71])
def test_a_thousand_and_five_thousand_come_back(grid: int) -> None:
    """8 px boxes 16 px apart: 1,024 and 5,041 of them in one image."""
    count, image = grid * grid, torch.zeros(1, grid * 16, grid * 16)
    enough = everywhere(TorchvisionRcnn(RcnnSpec(**SPEC, max_instances=count + 1)), 4)
    with torch.inference_mode():
        whole = enough([image])[0]
    confident = whole.scores > 0.5
    corners = np.round(whole.boxes[confident][:, :2]).astype(int)
    assert len({tuple(corner) for corner in corners.tolist()}) == count
    assert not whole.capped


def test_reaching_the_cap_is_said() -> None:
    with torch.inference_mode():
        cut = everywhere(TorchvisionRcnn(RcnnSpec(**SPEC, max_instances=1000)), 4)([torch.zeros(1, 512, 512)])[0]
    assert len(cut) == 1000 and cut.capped


def test_too_few_proposals_are_said_although_few_particles_come_back() -> None:
    """40 may come back: 80 proposals of 1,024 objects go on, most are rejected, and 30 detections look complete."""
    model = everywhere(TorchvisionRcnn(RcnnSpec(**SPEC, max_instances=40)), 4)

    def sceptical(module: Any, inputs: Any, output: Any) -> Any:
        scores, deltas = output
        scores[30:, 1] = -20.0
        return scores, deltas

    model.roi_heads.box_predictor.register_forward_hook(sceptical)
    with torch.inference_mode():
        found = model([torch.zeros(1, 512, 512)])[0]
    assert len(found) == 30 and found.capped


def test_detectron2_takes_and_says_the_same() -> None:
    """Its RPN is told nothing: a network with a bias of its own sees objects everywhere, or nowhere."""
    pytest.importorskip("detectron2", reason="the other back end is not installed")
    from tem_seg.models.detectron2.rcnn import Detectron2Rcnn

    torch.manual_seed(0)
    small = SPEC | {"fpn_channels": 16, "min_score": 0.99}
    model: SegmentationModel = Detectron2Rcnn(RcnnSpec(**small, max_instances=10_000)).eval()
    head: Any = model.get_submodule("network.proposal_generator.rpn_head")
    generator: Any = model.get_submodule("network.proposal_generator")
    assert generator.pre_nms_topk[False] == 40_000 and generator.post_nms_topk[False] == 20_000
    image = torch.rand(1, 448, 448)
    few: SegmentationModel = Detectron2Rcnn(RcnnSpec(**small, max_instances=50)).eval()
    few_head: Any = few.get_submodule("network.proposal_generator.rpn_head")
    for bias, expected in ((5.0, True), (-5.0, False)):
        for part in (head, few_head):
            torch.nn.init.constant_(part.objectness_logits.bias, bias)
            torch.nn.init.zeros_(part.objectness_logits.weight)
        assert few([image])[0].capped == expected
        assert not model([image])[0].capped, "16,709 objects on all maps"
    assert not few.get_submodule("network.proposal_generator")._forward_hooks, "it is watched while predicting only"

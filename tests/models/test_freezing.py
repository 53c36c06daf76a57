"""What model.freeze takes out of training, in both back ends."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint, freezing
from tem_seg.models.contract import SegmentationModel
from tem_seg.models.detectron2 import INSTALL_HINT, is_available
from tem_seg.models.rcnn import Rcnn

SMALL: dict[str, Any] = {
    "num_classes": 2, "backbone": "resnet18", "norm": "bn", "fpn_channels": 32, "box_head_width": 32,
    "mask_head_layers": 1, "mask_head_channels": 32, "rois_per_image": 16, "max_instances": 20, "refine_masks": False,
}  # fmt: skip
PARTS = ["stem", "layer1", "layer2", "layer3", "layer4", "fpn", "rpn", "mask_head", "box_head", "predictors"]
needs_detectron2 = pytest.mark.skipif(not is_available(), reason=f"detectron2 is not installed ({INSTALL_HINT})")
BACKENDS = ["torchvision", pytest.param("detectron2", marks=needs_detectron2)]


@pytest.fixture(scope="module", params=BACKENDS)
def whole(request: pytest.FixtureRequest) -> SegmentationModel:
    torch.manual_seed(0)
    return Rcnn(**SMALL, backend=request.param).build()


@pytest.fixture
def model(whole: SegmentationModel) -> SegmentationModel:
    return copy.deepcopy(whole)


def frozen(model: nn.Module) -> set[str]:
    return {freezing.part_of(name) for name, p in model.named_parameters() if not p.requires_grad}


def step(model: SegmentationModel) -> None:
    """One optimiser step on a crop with a particle."""
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 10:40, 10:40] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 40, 40]]), "labels": torch.tensor([0]), "masks": masks}
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    sum(model([torch.rand(1, 64, 64)], [target]).values()).backward()
    optimizer.step()


def test_every_part_is_there_and_every_parameter_in_one(model: SegmentationModel) -> None:
    assert {freezing.part_of(name) for name, _ in model.named_parameters()} == set(PARTS) == set(freezing.PARTS)


@pytest.mark.parametrize(
    ("entries", "parts"),
    [
        (["stem"], {"stem"}), (["stem", "layer1"], {"stem", "layer1"}), (["backbone"], set(PARTS[:5])),
        (["backbone", "fpn", "rpn"], set(PARTS[:7])), (["*mask_head*", "predictors"], {"mask_head", "predictors"}),
    ],
    ids=["stem", "two stages", "backbone", "without heads", "heads"],
)  # fmt: skip
def test_parts_and_patterns(model: SegmentationModel, entries: list[str], parts: set[str]) -> None:
    freezing.freeze(model, entries)
    assert frozen(model) == parts


def test_all_but_the_last_three_leaves_the_layers_that_give_classes_boxes_and_masks(model: SegmentationModel) -> None:
    """Paper 004: COCO weights, "freezing all except the final three layers"."""
    freezing.freeze(model, ["all_but_last_3"])
    free = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {freezing.part_of(name) for name in free} == {"predictors"} and len(free) == 6  # weight and bias of each
    assert len(freezing.layers(model)) > 30
    assert sorted(name for layer in freezing.layers(model) for name in layer) == sorted(
        name for name, _ in model.named_parameters()
    )


def test_a_norm_goes_with_the_layer_before_it(model: SegmentationModel) -> None:
    first = freezing.layers(model)[0]
    assert len(first) == 3 and all(freezing.part_of(name) == "stem" for name in first)  # conv, norm scale and shift


def test_frozen_weights_and_statistics_stay_and_the_rest_moves(model: SegmentationModel) -> None:
    freezing.freeze(model, ["stem", "layer1", "layer2"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(model)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    parts = {freezing.part_of(name) for name in changed}
    assert not parts & {"stem", "layer1", "layer2"} and {"layer3", "rpn", "box_head"} <= parts
    assert any(freezing.part_of(name) == "layer3" and "running_mean" in name for name in changed)
    step(copy.deepcopy(model))  # a copy holds its own norms


def test_counts_say_what_trains(model: SegmentationModel) -> None:
    everything = sum(p.numel() for p in model.parameters())
    assert freezing.counts(model) == (everything, everything)
    freezing.freeze(model, ["backbone"])
    trained, there = freezing.counts(model)
    assert there == everything and everything - trained > 11_000_000  # ResNet-18 without its classifier: 11.18 M


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["layer9"], r"'layer9' names nothing in this model. Parts: backbone, stem, .*, predictors; or all_but"),
        (["*nowhere*"], r"'\*nowhere\*' names nothing .* pattern with \* over names such as .*backbone"),
        (["all_but_last_0"], r"needs n from 1 to \d+ here, got 0"),
        (["all_but_last_5000"], r"needs n from 1 to \d+ here, got 5000"),
        (["*"], r"model.freeze=\['\*'\] leaves nothing to train"),
    ],
)
def test_what_names_nothing_is_refused(model: SegmentationModel, entries: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        freezing.freeze(model, entries)


@pytest.mark.parametrize(
    ("weights", "freeze", "expected"),
    [
        ("imagenet", None, ["stem", "layer1"]), ("imagenet", [], []), ("a.ckpt", None, []), ("none", None, []),
        ("coco", ["backbone"], ["backbone"]),
    ],
)  # fmt: skip
def test_what_null_stands_for(weights: str, freeze: list[str] | None, expected: list[str]) -> None:
    factory = Rcnn(**SMALL | {"backbone": "resnet50"}, weights=weights, freeze=freeze, backend="torchvision")
    assert factory.about()["freeze"] == expected


def test_random_weights_are_not_frozen() -> None:
    with pytest.raises(ValueError, match="keeps weights as they start, and weights=none is random"):
        Rcnn(**SMALL, freeze=["stem"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_starts_at_random_is_never_frozen(backend: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Paper 004's policy on other classes: the new predictors train, and the rest keeps what was loaded."""
    trained = Rcnn(**SMALL, backend=backend)
    checkpoint.write(tmp_path / "a.safetensors", trained.build().state_dict(), trained.about())
    torch.manual_seed(1)
    changed = SMALL | {"num_classes": 5, "weights": str(tmp_path / "a.safetensors"), "backend": backend}
    with caplog.at_level(logging.WARNING, "tem_seg"):
        model = Rcnn(**changed, freeze=["backbone", "fpn", "rpn", "mask_head", "box_head", "predictors"]).build()
    assert frozen(model) == set(PARTS) - {"predictors"}
    assert "cls_score" in caplog.text and "start at random and are not frozen" in caplog.text
    assert freezing.unchanged(model, freezing.values(model)) == {name for name, _ in model.named_parameters()}

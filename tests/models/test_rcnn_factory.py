"""Which back end an R-CNN is built on, and what is said where its weights cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights, maskrcnn_resnet50_fpn

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint, rcnn
from tem_seg.models.detectron2 import INSTALL_HINT, is_available
from tem_seg.models.rcnn import Rcnn, choose_backend
from tem_seg.models.torchvision import pretrained
from tem_seg.models.torchvision.rcnn import TorchvisionRcnn

SMALL: dict[str, Any] = {
    "num_classes": 2, "backbone": "resnet18", "norm": "bn", "fpn_channels": 32, "box_head_width": 64,
    "mask_head_layers": 1, "mask_head_channels": 32, "rois_per_image": 32, "backend": "torchvision",
}  # fmt: skip


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """installed(False): as if Detectron2 were not there."""

    def pretend(there: bool) -> None:
        reason = None if there else "detectron2 is not installed"
        monkeypatch.setattr(rcnn.detectron2, "why_unavailable", lambda: reason)

    return pretend


@pytest.mark.parametrize(
    ("asked", "there", "taken"),
    [
        ("auto", True, "detectron2"), ("auto", False, "torchvision"), ("torchvision", True, "torchvision"),
        ("torchvision", False, "torchvision"), ("detectron2", True, "detectron2"),
    ],
)  # fmt: skip
def test_choice_of_back_end(installed: Callable[[bool], None], asked: str, there: bool, taken: str) -> None:
    installed(there)
    assert choose_backend(asked) == taken
    assert Rcnn(weights="imagenet", backend=asked).about()["backend"] == taken


def test_absent_detectron2_is_refused_with_the_command_that_installs_it(installed: Callable[[bool], None]) -> None:
    installed(False)
    factory = Rcnn(**SMALL | {"backend": "detectron2"})
    for ask in (factory.about, factory.build, lambda: choose_backend("detectron2")):
        with pytest.raises(UserError, match="model.backend=detectron2, but detectron2 is not installed") as error:
            ask()
        assert "pip install" in str(error.value) and "--no-build-isolation" in str(error.value)
        assert "02b5c4e295e990042a714712c21dc79b731e8833" in str(error.value)
        assert "model.backend=torchvision" in str(error.value)


def test_unknown_back_end_is_refused() -> None:
    with pytest.raises(UserError, match="model.backend must be auto, detectron2 or torchvision, got 'tensorflow'"):
        choose_backend("tensorflow")


def test_about_is_plain_and_complete() -> None:
    about = Rcnn(**SMALL, anchor_sizes_px=[8, 16, 32, 64, 128]).about()
    assert about["family"] == "rcnn" and about["backend"] == "torchvision"
    assert about["anchor_sizes_px"] == [8.0, 16.0, 32.0, 64.0, 128.0]
    assert {key: about[key] for key in SMALL} == SMALL
    assert all(isinstance(value, (str, int, float, bool, list)) for value in about.values())


def test_the_spec_reaches_the_model() -> None:
    model = Rcnn(**SMALL, max_instances=321, min_score=0.25, nms_iou=0.4).build()
    assert isinstance(model, TorchvisionRcnn)
    heads = model.roi_heads
    assert (heads.detections_per_img, heads.score_thresh, heads.nms_thresh) == (321, 0.25, 0.4)
    assert model.rpn.pre_nms_top_n() == 321 and model.rpn.post_nms_top_n() == 321
    model.eval()
    assert model.rpn.pre_nms_top_n() == 4 * 321 and model.rpn.post_nms_top_n() == 2 * 321


def test_a_spec_that_cannot_work_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="frozen_bn with random weights diverges"):
        Rcnn(**SMALL | {"norm": "frozen_bn"})


# -------------------------------------------------------------------------------------------- starting weights


@pytest.mark.parametrize(
    ("weights", "failure"),
    [
        ("coco", URLError("no route")), ("coco", ConnectionResetError("reset")), ("coco", IncompleteRead(b"")),
        ("coco", RuntimeError("invalid hash value")), ("imagenet", URLError("no route")),
    ],
    ids=["unreachable", "reset", "broken off", "wrong hash", "imagenet unreachable"],
)  # fmt: skip
def test_weights_that_cannot_be_downloaded_name_the_override(
    monkeypatch: pytest.MonkeyPatch, weights: str, failure: Exception
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise failure

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    factory = Rcnn(**SMALL | {"weights": weights, "backbone": "resnet50", "norm": "frozen_bn"})
    with pytest.raises(UserError, match=f"the {weights} weights of resnet50 cannot be downloaded") as error:
        factory.build()
    for way_out in ("model.weights=none model.norm=bn", "model.weights=<file>", "profile=laptop"):
        assert way_out in str(error.value)


def test_coco_weights_of_a_backbone_that_has_none() -> None:
    with pytest.raises(UserError, match="COCO weights for resnet50 with fpn only, not resnet18 with fpn: set"):
        Rcnn(**SMALL | {"weights": "coco"}).about()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet152"}, "resnet152 is unknown to torchvision's back end: choose one of resnet16"),
        ({"weights": "coco", "backbone": "resnet50", "architecture": "dc5"}, "not resnet50 with dc5"),
        ({"weights": "imagenet", "backbone": "resnet16"}, "no ImageNet weights for resnet16"),
        ({"weights": "imagenet", "norm": "gn"}, "was trained with batch norm"),
        ({"norm": "gn", "fpn_channels": 48}, "model.fpn_channels"),
    ],
)
def test_what_torchvision_cannot_build_is_refused_before_any_work(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Rcnn(**SMALL | change).about()


def test_imagenet_weights_land_in_the_heads_of_c4_too(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    source = resnet18().state_dict()
    monkeypatch.setattr(ResNet18_Weights.DEFAULT.__class__, "get_state_dict", lambda *a, **k: source)
    own = Rcnn(**SMALL | {"weights": "imagenet", "architecture": "c4"}).build().state_dict()
    assert torch.equal(own["backbone.body.layer3.1.conv2.weight"], source["layer3.1.conv2.weight"])
    assert torch.equal(own["roi_heads.box_head.layer4.1.conv2.weight"], source["layer4.1.conv2.weight"])


@pytest.mark.timeout(300)
def test_coco_weights_all_land_except_those_of_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of torchvision's own model (random, 91 classes) stand in for the download."""
    torch.manual_seed(0)
    source = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    monkeypatch.setattr(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.__class__, "get_state_dict", lambda *a, **k: source)
    loaded: list[int] = []
    real = pretrained.checkpoint.load_matching
    monkeypatch.setattr(pretrained.checkpoint, "load_matching", lambda *a: loaded.append(real(*a)))
    Rcnn(backend="torchvision", num_classes=3, weights="coco", norm="frozen_bn").build()
    # the stand-in has plain norms, which count batches; the published weights have frozen ones, which do not
    left_out = [n for n in source if "box_predictor" in n or "mask_fcn_logits" in n or "num_batches_tracked" in n]
    assert loaded == [len(source) - len(left_out)]


def test_training_goes_on_from_a_file_of_ours(tmp_path: Path) -> None:
    trained = Rcnn(**SMALL).build()
    state = {f"model.{name}": value for name, value in trained.state_dict().items()}
    torch.save({"state_dict": state, "tem_seg": {"backend": "torchvision"}}, tmp_path / "a.ckpt")
    again = Rcnn(**SMALL | {"weights": str(tmp_path / "a.ckpt"), "num_classes": 5}).build()
    own = again.state_dict()
    taken = [name for name, value in trained.state_dict().items() if own[name].shape == value.shape]
    assert all(torch.equal(own[name], trained.state_dict()[name]) for name in taken)
    assert {name.split(".")[1] for name in set(own) - set(taken)} == {"box_predictor", "mask_predictor"}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at .*gone.ckpt"):
        Rcnn(**SMALL | {"weights": str(tmp_path / "gone.ckpt")}).build()


@pytest.mark.skipif(not is_available(), reason=f"detectron2 is not installed ({INSTALL_HINT})")
def test_a_file_of_the_other_back_end_says_so(tmp_path: Path) -> None:
    trained = Rcnn(**SMALL)
    checkpoint.write(tmp_path / "a.safetensors", trained.build().state_dict(), trained.about())
    factory = Rcnn(**SMALL | {"weights": str(tmp_path / "a.safetensors"), "backend": "detectron2"})
    with pytest.raises(UserError, match="backend is torchvision in the file, detectron2 here"):
        factory.build()


@pytest.mark.parametrize("backend", ["torchvision", "detectron2"])
@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_files_are_loaded_alike_by_both_back_ends(tmp_path: Path, backend: str, norm: str) -> None:
    if backend == "detectron2" and not is_available():
        pytest.skip(f"detectron2 is not installed ({INSTALL_HINT})")
    small = SMALL | {"backend": backend, "norm": norm}
    trained, about = Rcnn(**small).build(), Rcnn(**small).about()
    state = {f"model.{name}": value for name, value in trained.state_dict().items()}
    torch.save({"state_dict": state, "tem_seg": about}, tmp_path / "a.ckpt")
    again = Rcnn(**small | {"weights": str(tmp_path / "a.ckpt")}).build()
    assert all(torch.equal(v, trained.state_dict()[n]) for n, v in again.state_dict().items())
    with pytest.raises(UserError, match="box_head_width is 64 in the file, 32 here"):
        Rcnn(**small | {"weights": str(tmp_path / "a.ckpt"), "box_head_width": 32}).build()

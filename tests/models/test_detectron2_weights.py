"""Where a Detectron2 network's first weights come from."""

from __future__ import annotations

import logging
import socket
import urllib.request
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from tem_seg.models.detectron2 import INSTALL_HINT

pytest.importorskip("detectron2", reason=f"detectron2 is not installed ({INSTALL_HINT})")

from tem_seg.core.errors import UserError
from tem_seg.models.contract import RcnnSpec
from tem_seg.models.detectron2.rcnn import Detectron2Rcnn
from tem_seg.models.detectron2.weights import load_from_zoo

SPEC = RcnnSpec(
    num_classes=2, backbone="resnet18", norm="bn", fpn_channels=32, box_head_width=32, mask_head_layers=1,
    mask_head_channels=32, max_instances=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Detectron2Rcnn:
    torch.manual_seed(5)
    return Detectron2Rcnn(SPEC)


def save(path: Path, state: dict) -> RcnnSpec:
    torch.save({"state_dict": state, "epoch": 3}, path)
    return replace(SPEC, weights=str(path))


@pytest.mark.parametrize("prefix", ["", "model."], ids=["model", "training module"])
def test_checkpoint_comes_back(trained: Detectron2Rcnn, tmp_path: Path, prefix: str) -> None:
    state = {prefix + key: value for key, value in trained.state_dict().items()}
    loaded = Detectron2Rcnn(save(tmp_path / "last.ckpt", state))
    for key, value in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_frozen_bn_takes_a_checkpoint_of_frozen_bn(tmp_path: Path) -> None:
    """The one way to build frozen_bn without the zoo: prediction on another machine."""
    frozen = replace(SPEC, norm="frozen_bn", weights=str(tmp_path / "last.ckpt"))
    from detectron2.modeling import build_model

    from tem_seg.models.detectron2.config import rcnn_config

    state = {f"network.{key}": value for key, value in build_model(rcnn_config(frozen)).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    loaded = Detectron2Rcnn(frozen)
    assert torch.equal(loaded.state_dict()["network.backbone.bottom_up.stem.conv1.weight"],
                       state["network.backbone.bottom_up.stem.conv1.weight"])  # fmt: skip


def test_other_classes_start_the_predictors_anew(
    trained: Detectron2Rcnn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = replace(save(tmp_path / "last.ckpt", trained.state_dict()), num_classes=5)
    with caplog.at_level(logging.WARNING, "tem_seg"):
        loaded = Detectron2Rcnn(spec)
    assert "roi_heads.box_predictor.cls_score.weight" in caplog.text and "random weights" in caplog.text
    kept = "network.roi_heads.box_head.fc1.weight"
    assert torch.equal(loaded.state_dict()[kept], trained.state_dict()[kept])


@pytest.mark.parametrize(
    "change", [{"fpn_channels": 64}, {"norm": "gn"}, {"masks": False}, {"backbone": "resnet34"}, {"masks": True}]
)
def test_another_network_is_refused(trained: Detectron2Rcnn, tmp_path: Path, change: dict) -> None:
    state = dict(trained.state_dict())
    if change == {"masks": True}:  # a checkpoint of Faster R-CNN
        state = {key: value for key, value in state.items() if "mask_head" not in key}
    with pytest.raises(UserError, match=r"last.ckpt holds another network: .* layers do not fit, the first is "):
        Detectron2Rcnn(replace(save(tmp_path / "last.ckpt", state), **change))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.weights=.*gone.ckpt: no such file"):
        Detectron2Rcnn(replace(SPEC, weights=str(tmp_path / "gone.ckpt")))


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    for content in (b"", b"no checkpoint", b"PK\x03\x04 cut short"):
        (tmp_path / "bad.ckpt").write_bytes(content)
        with pytest.raises(UserError, match=r"bad.ckpt is not a readable checkpoint"):
            Detectron2Rcnn(replace(SPEC, weights=str(tmp_path / "bad.ckpt")))


def test_foreign_file_is_named(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="holds no 'state_dict'"):
        Detectron2Rcnn(replace(SPEC, weights=str(tmp_path / "other.pth")))


@pytest.mark.parametrize("weights", ["coco", "imagenet"])
def test_no_network_is_an_error_that_names_the_way_out(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: str, filename: str | None = None, reporthook: object = None) -> None:
        assert socket.getdefaulttimeout() == 30.0
        raise URLError("Name or service not known")

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlretrieve", refuse)
    spec = replace(SPEC, backbone="resnet50", norm="frozen_bn", weights=weights)
    with pytest.raises(UserError, match=rf"model.weights={weights}: .* Set model.weights=none with model.norm=bn"):
        Detectron2Rcnn(spec)
    assert socket.getdefaulttimeout() is None


def test_zoo_file_is_loaded(trained: Detectron2Rcnn, tmp_path: Path) -> None:
    """A checkpoint in the zoo's own format, by Detectron2's checkpointer; other classes are skipped."""
    address = tmp_path / "model_final.pth"
    torch.save({"model": trained.network.state_dict()}, address)
    other = Detectron2Rcnn(replace(SPEC, num_classes=7))
    load_from_zoo(other.network, str(address), "coco")
    assert torch.equal(other.network.backbone.fpn_lateral2.weight, trained.network.backbone.fpn_lateral2.weight)
    assert other.network.roi_heads.box_predictor.cls_score.weight.shape[0] == 8

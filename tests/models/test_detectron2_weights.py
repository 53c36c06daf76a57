"""Where a Detectron2 network's first weights come from."""

from __future__ import annotations

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
from tem_seg.models.detectron2.weights import load_from_zoo, start_from

SPEC = RcnnSpec(
    num_classes=2, backbone="resnet18", norm="bn", fpn_channels=32, box_head_width=32, mask_head_layers=1,
    mask_head_channels=32, max_instances=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Detectron2Rcnn:
    torch.manual_seed(5)
    return Detectron2Rcnn(SPEC)


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
        start_from(Detectron2Rcnn(spec), spec)
    assert socket.getdefaulttimeout() is None


def test_zoo_file_is_loaded(trained: Detectron2Rcnn, tmp_path: Path) -> None:
    """A checkpoint in the zoo's own format, by Detectron2's checkpointer; other classes are skipped."""
    address = tmp_path / "model_final.pth"
    torch.save({"model": trained.network.state_dict()}, address)
    other = Detectron2Rcnn(replace(SPEC, num_classes=7))
    load_from_zoo(other.network, str(address), "coco")
    assert torch.equal(other.network.backbone.fpn_lateral2.weight, trained.network.backbone.fpn_lateral2.weight)
    assert other.network.roi_heads.box_predictor.cls_score.weight.shape[0] == 8

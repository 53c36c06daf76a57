"""The command that exports: a checkpoint in, an ONNX file out, faults as sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tem_seg import export
from tem_seg.models import checkpoint
from tem_seg.models.rcnn import Rcnn

SMALL: dict[str, Any] = {
    "num_classes": 1, "backend": "torchvision", "backbone": "resnet18", "norm": "gn", "fpn_channels": 32,
    "box_head_width": 16, "mask_head_channels": 16, "mask_head_layers": 1, "refine_masks": False,
}  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    factory = Rcnn(**SMALL)
    path = tmp_path / "model.safetensors"
    checkpoint.write(path, factory.build().state_dict(), factory.about() | {"categories": ["particle"]})
    return path


def test_a_checkpoint_becomes_a_file(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    out = tmp_path / "new" / "model.onnx"
    export.main([str(trained), str(out), "--size", "64", "64"])
    assert out.is_file() and [p.name for p in out.parent.iterdir()] == ["model.onnx"]
    assert "model.onnx: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backend": "detectron2"}, "back end detectron2 cannot be exported"),
        ({"rotated": True}, "rotated boxes cannot be exported"),
        ({"categories": []}, "does not say which classes it knows"),
    ],
    ids=["detectron2", "rotated", "classes"],
)
def test_what_cannot_be_exported_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    content = checkpoint.read(trained)
    checkpoint.write(trained, content["state_dict"], content["tem_seg"] | change)
    with pytest.raises(SystemExit) as end:
        export.main([str(trained), str(tmp_path / "m.onnx")])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_wrong_paths_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["none.ckpt", str(tmp_path / "m.onnx")], "no checkpoint at none.ckpt"),
        (["m.onnx", "best.ckpt"], "best.ckpt does not end in .onnx"),
    ):
        with pytest.raises(SystemExit):
            export.main(arguments)
        assert said in capsys.readouterr().err

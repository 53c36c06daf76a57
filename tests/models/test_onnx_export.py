"""The exported graph, run by onnxruntime, against the model itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction
from tem_seg.data.rle import decode_crop
from tem_seg.models import onnx_export
from tem_seg.models.contract import RcnnSpec
from tem_seg.models.postprocess import soft_crops, with_masks
from tem_seg.models.torchvision.rcnn import TorchvisionRcnn
from tem_seg.models.torchvision.rotated_rcnn import RotatedRcnn

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")

Runner = Callable[[Tensor], dict[str, Any]]


def model_of(**changes: Any) -> TorchvisionRcnn:
    """A small model of random weights, pulled apart: particles with scores from 0 to 1, at all sizes."""
    torch.manual_seed(0)
    plain: dict[str, Any] = {
        "num_classes": 2, "backbone": "resnet18", "norm": "gn", "fpn_channels": 32, "box_head_width": 32,
        "mask_head_channels": 16, "mask_head_layers": 1, "anchor_sizes_px": (16.0, 32.0, 64.0, 128.0, 256.0),
        "max_instances": 60,
    }  # fmt: skip
    model = TorchvisionRcnn(RcnnSpec(**plain | changes)).eval()
    with torch.no_grad():
        model.rpn.head.head.cls_logits.weight *= 30
        model.rpn.head.head.bbox_pred.weight *= 10
        model.roi_heads.box_predictor.head.cls_score.weight *= 60
        if model.roi_heads.refinement is not None:
            nn.init.normal_(model.roi_heads.refinement.points[-1].weight, std=0.3)
    return model


def image_of(height: int, width: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = nn.functional.avg_pool2d(torch.rand(1, height, width, generator=generator), 9, 1, 4)
    return (noise - noise.min()) / (noise.max() - noise.min())


def runner_of(model: TorchvisionRcnn, path: Path, **options: Any) -> Runner:
    onnx_export.export(model, path, categories=["rod", "cube"], **options)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(None, {"image": image.numpy()}), strict=True))


def prediction_of(found: dict[str, Any], size: tuple[int, int], sides: tuple[int, ...]) -> Prediction:
    """What the graph gives → Prediction, masks pasted as the model pastes its own."""
    prediction = Prediction(found["boxes"], found["labels"], found["scores"])
    boxes = torch.from_numpy(found["boxes"])
    parts = [(torch.from_numpy(found[f"particles_{side}"]), torch.from_numpy(found[f"masks_{side}"])) for side in sides]
    crops = ((chosen, soft_crops(soft, boxes[chosen], size)) for chosen, soft in parts)
    return with_masks(prediction, crops, size) if sides else prediction


def full(prediction: Prediction, index: int) -> np.ndarray:
    assert prediction.masks is not None
    crop, x0, y0 = decode_crop(prediction.masks[index])
    height, width = prediction.masks[index]["size"]
    frame = np.zeros((height, width), bool)
    frame[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] = crop
    return frame


def assert_equal(found: Prediction, wanted: Prediction, min_count: int = 5) -> None:
    """The same particles; where two scores are nearly equal, in either order."""
    assert len(found) == len(wanted) >= min_count
    distance = np.abs(found.boxes[:, None] - wanted.boxes[None]).max(axis=2)
    distance = distance + 1e3 * (found.labels[:, None] != wanted.labels[None])
    order = distance.argmin(axis=0)
    assert sorted(order) == list(range(len(wanted)))
    np.testing.assert_allclose(found.boxes[order], wanted.boxes, atol=0.02)
    np.testing.assert_allclose(found.scores[order], wanted.scores, atol=1e-3)
    assert (found.labels[order] == wanted.labels).all()
    assert (np.diff(found.scores) <= 0).all()
    if wanted.masks is None:
        return
    pairs = [(full(found, int(other)), full(wanted, index)) for index, other in enumerate(order)]
    assert sum(int(mask.sum()) for _, mask in pairs) > 0
    assert sum(int((a ^ b).sum()) for a, b in pairs) <= 2e-3 * sum(int(b.sum()) for _, b in pairs)


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchvisionRcnn, Runner, Path]:
    model, path = model_of(), tmp_path_factory.mktemp("onnx") / "model.onnx"
    return model, runner_of(model, path), path


@pytest.mark.parametrize("size", [(224, 288), (100, 130), (333, 257)])
def test_the_graph_finds_what_the_model_finds(refined: Any, size: tuple[int, int]) -> None:
    model, run, _ = refined
    image, sides = image_of(*size), onnx_export.grids(True)
    found = run(image)
    shown = sorted(np.concatenate([found[f"particles_{side}"] for side in sides]).tolist())
    assert shown == list(range(len(found["boxes"])))  # each particle in one pair
    assert_equal(prediction_of(found, size, sides), model.predict([image])[0])


def test_a_file_says_how_it_is_used(refined: Any) -> None:
    *_, path = refined
    facts = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert json.loads(facts["categories"]) == ["rod", "cube"]
    assert json.loads(facts["max_instances"]) == 60
    assert json.loads(facts["size"]) is None
    assert "1st percentile" in facts["input"] and "half-open" in facts["boxes"]


@pytest.mark.parametrize(
    "changes",
    [
        {"masks": False},
        {"refine_masks": False},
        {"architecture": "dc5", "refine_masks": False},
        {"architecture": "c4", "refine_masks": False},
    ],
    ids=["boxes", "coarse", "dc5", "c4"],
)
def test_every_torchvision_rcnn_is_exported(tmp_path: Path, changes: dict[str, Any]) -> None:
    model, size = model_of(**changes), (160, 192)
    run, image = runner_of(model, tmp_path / "m.onnx"), image_of(*size, seed=3)
    sides = onnx_export.grids(model.spec.refine_masks) if model.spec.masks else ()
    assert_equal(prediction_of(run(image), size, sides), model.predict([image])[0])


def test_nothing_found_is_a_case(tmp_path: Path) -> None:
    found = runner_of(model_of(min_score=1.0), tmp_path / "m.onnx")(torch.zeros(1, 64, 64))
    assert found["boxes"].shape == (0, 4) and found["scores"].shape == (0,)
    assert all(found[f"masks_{side}"].shape == (0, side, side) for side in onnx_export.grids(True))


def test_a_fixed_size_is_in_the_file(tmp_path: Path) -> None:
    run = runner_of(model_of(masks=False), tmp_path / "m.onnx", size=(96, 128))
    facts = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "m.onnx")).metadata_props}
    assert json.loads(facts["size"]) == [96, 128]
    with pytest.raises(Exception, match="invalid dimensions"):
        run(torch.zeros(1, 64, 64))


def test_exporting_leaves_the_model_as_it_predicts(refined: Any) -> None:
    model, *_ = refined
    assert not model.training
    assert model.roi_heads.box_predictor.training is False


def test_other_models_are_refused_with_the_reason(tmp_path: Path) -> None:
    known = {"family": "rcnn", "backend": "torchvision"}
    onnx_export.refuse(known)
    with pytest.raises(UserError, match="rotated boxes cannot be exported.*upright boxes alone"):
        onnx_export.refuse(known | {"rotated": True})
    with pytest.raises(UserError, match="detectron2 cannot be exported.*without an exporter"):
        onnx_export.refuse(known | {"backend": "detectron2"})
    with pytest.raises(UserError, match="family 'unet'"):
        onnx_export.refuse(known | {"family": "unet"})
    spec = RcnnSpec(
        1, masks=False, rotated=True, norm="gn", backbone="resnet18", fpn_channels=32, box_head_width=16,
        anchor_angles_deg=(0.0,), refine_masks=False,
    )  # fmt: skip
    with pytest.raises(UserError, match="a RotatedRcnn cannot"):
        onnx_export.export(RotatedRcnn(spec), tmp_path / "m.onnx", categories=["rod"])  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(masks=False)
    with pytest.raises(UserError, match="16 x 64 px are too small"):
        onnx_export.export(model, tmp_path / "m.onnx", categories=["rod"], size=(16, 64))
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'tem_seg\[onnx\]'"):
        onnx_export.export(model, tmp_path / "m.onnx", categories=["rod"])

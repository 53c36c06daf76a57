"""The inference graph of torchvision's Faster and Mask R-CNN as ONNX, for programs without torch (docs/export.md).

One micrograph in, its particles out; everything that the model does to pixels is in the graph. Traced, not compiled:
proposals, detections and which mask is refined how far depend on the picture, and tracing keeps such shapes free.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from tem_seg.core.errors import UserError
from tem_seg.data.atomic import replacing
from tem_seg.models.torchvision.heads import Heads
from tem_seg.models.torchvision.rcnn import STRIDE, TorchvisionRcnn
from tem_seg.models.torchvision.refinement import COARSE, DOUBLINGS, Coarse, Refinement, doubled

OPSET = 18
INPUT = "image"
FOUND = ("boxes", "labels", "scores")
EXAMPLE_PX = (224, 288)
"""Of the picture that is traced; where the sides are free any other gives the same graph."""
CONVENTIONS = {
    "input": "image: (1, height, width) float32, grey, 0 = the micrograph's 1st percentile, 1 = its 99th, clipped",
    "boxes": "(n, 4) float32 x1, y1, x2, y2 px, half-open; pixel (r, c) covers [c, c+1) x [r, r+1)",
    "labels": "(n,) int64, place in categories, from 0",
    "scores": "(n,) float32 in [0, 1], descending",
    "masks": "particles_G: (k,) int64, which of the n; masks_G: (k, G, G) float32 in [0, 1] over their boxes, cell "
    "centres at (i + 0.5) / G; inside from 0.5. Every particle is in one pair. Sample bilinearly at pixel centres",
}


def grids(refined: bool) -> tuple[int, ...]:
    """Cells along a mask's side that may occur."""
    return tuple(COARSE * 2**times for times in range(DOUBLINGS + 1 if refined else 1))


def output_names(model: TorchvisionRcnn) -> list[str]:
    """boxes, labels, scores, and with masks the pairs particles_G and masks_G, G cells along a side."""
    sides = grids(model.spec.refine_masks) if model.spec.masks else ()
    return [*FOUND, *(f"{part}_{side}" for side in sides for part in ("particles", "masks"))]


class Graph(nn.Module):
    """What is traced: image (1, H, W) float32 in [0, 1] → the tensors of ``output_names``."""

    def __init__(self, model: TorchvisionRcnn) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        model, batch = self.model, self._batch(image)
        features = model.backbone(batch.tensors)
        proposals, _ = model.rpn(batch, features)
        features = model.with_edges(features, batch)
        heads: Heads = model.roi_heads
        logits, deltas = heads.scored(features, proposals, batch.image_sizes)
        boxes, scores, labels = heads.postprocess_detections(logits, deltas, proposals, batch.image_sizes)
        found = (boxes[0], labels[0] - 1, scores[0])
        return found + self._masks(features, boxes, batch.image_sizes, labels[0]) if model.spec.masks else found

    def _batch(self, image: Tensor) -> ImageList:
        """As ``rcnn.padded``, for sides that are not known yet."""
        height, width = image.shape[-2:]
        grey = (image - self.model.mean) / self.model.std
        filled = F.pad(grey, (0, -width % STRIDE, 0, -height % STRIDE))
        return ImageList(filled[None], [(height, width)])

    def _masks(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]], labels: Tensor
    ) -> tuple[Tensor, ...]:
        heads: Heads = self.model.roi_heads
        logits, coarse = heads.coarse_masks(features, boxes, sizes, labels)
        everyone = torch.arange(labels.shape[0])
        if coarse is None or heads.refinement is None:
            return everyone, logits[everyone, labels].sigmoid()
        return tuple(_refined(heads.refinement, coarse))


def _refined(refinement: Refinement, coarse: Coarse) -> list[Tensor]:
    """As ``Refinement.masks``, with one step for all that need it: a third of the nodes."""
    doublings, chosen, logits = refinement.doublings(coarse), torch.arange(coarse.boxes.shape[0]), coarse.logits.float()
    parts: list[Tensor] = []
    for times in range(DOUBLINGS + 1):
        if times:
            more = torch.where(doublings[chosen] >= times)[0]
            chosen, logits = chosen[more], doubled(logits[more])
        logits = refinement.step(coarse, chosen, logits)
        done = torch.where(doublings[chosen] == times)[0]
        parts += [chosen[done], logits[done].sigmoid()]
    return parts


def refuse(about: Mapping[str, Any]) -> None:
    """Raises UserError, with the reason, for a model that has no such graph. about: what its checkpoint says of it."""
    if about.get("family") != "rcnn":
        raise UserError(f"a model of the family {about.get('family')!r} cannot be exported as ONNX: only R-CNNs can")
    if about.get("rotated"):
        raise UserError(
            "a model of rotated boxes cannot be exported as ONNX, which knows RoIAlign and non-maximum suppression of "
            "upright boxes alone. Export a mask_rcnn: rotated boxes follow from its masks"
        )
    if about.get("backend") != "torchvision":
        raise UserError(
            f"a model of the back end {about.get('backend')} cannot be exported as ONNX: Detectron2 comes without an "
            "exporter to plain ONNX (its own wrote Caffe2's operators). Train with model.backend=torchvision"
        )


def export(
    model: TorchvisionRcnn, path: Path, *, categories: list[str], size: tuple[int, int] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Writes the model's inference graph, atomically, with what a user of it must know in the file's metadata.

    size: (H, W) px that pictures must have; None: any of at least 32 px a side. about: further plain values that go
    into the metadata. Raises UserError for other sizes, other models, and without the package onnx.
    """
    if not isinstance(model, TorchvisionRcnn):
        raise UserError(f"a {type(model).__name__} cannot be exported as ONNX: only torchvision's R-CNNs can")
    if importlib.util.find_spec("onnx") is None:
        raise UserError("exporting needs the package onnx: pip install 'tem_seg[onnx]'")
    if size is not None and min(size) < STRIDE:
        raise UserError(
            f"pictures of {size[0]} x {size[1]} px are too small for the model: {STRIDE} px a side at least"
        )
    names = output_names(model)
    free = {name: {0: f"n_{name}"} for name in names}
    if size is None:
        free[INPUT] = {1: "height", 2: "width"}
    example = torch.rand(1, *(size or EXAMPLE_PX), generator=torch.Generator().manual_seed(0))
    facts = {"categories": categories, "size": list(size) if size else None, "max_instances": model.spec.max_instances}
    with replacing(path) as temporary:
        _trace(Graph(model.cpu()).eval(), example, temporary, names, free)
        _describe(temporary, facts | CONVENTIONS, about or {})


def _trace(
    graph: Graph, example: Tensor, path: Path, names: list[str], free: dict[str, dict[int, str]]
) -> None:  # fmt: skip
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, on what stays constant, and that it is the older exporter
        torch.onnx.export(
            graph, (example,), str(path), input_names=[INPUT], output_names=names, dynamic_axes=free,
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def _describe(path: Path, facts: dict[str, Any], about: Mapping[str, Any]) -> None:
    import onnx

    content = onnx.load(str(path))
    content.doc_string = "Particles of an electron micrograph, by tem_seg (docs/export.md)"
    text = {"tem_seg": json.dumps(dict(about), sort_keys=True)}
    text |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    onnx.helper.set_model_props(content, text)
    onnx.checker.check_model(content)
    onnx.save(content, str(path))

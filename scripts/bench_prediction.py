"""Prediction and measurement: what comes on top of the bare network for a 1024² micrograph with 200 particles."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace as changed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from bench_common import config, ellipse_dataset, interleaved, over, seconds
from hydra.utils import instantiate
from torch import Tensor

from tem_seg.core.types import Prediction
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.data.results import to_results
from tem_seg.inference.predict import Predictor
from tem_seg.measurement.particles import particle_table
from tem_seg.models.contract import SegmentationModel
from tem_seg.training.fit import resolve_precision

SOFT_MASK_PX = 28


def _scene(quick: bool) -> tuple[int, int]:
    return (256, 10) if quick else (1024, 200)


def measure(quick: bool) -> Iterator[str]:
    """particles.csv of one micrograph, from masks."""
    size_px, particles = _scene(quick)
    with TemporaryDirectory() as folder:
        dataset = ellipse_dataset(Path(folder), images=1, particles=particles, size_px=size_px)
    times = [seconds(lambda: particle_table(dataset, dataset.annotations)) for _ in range(3 if quick else 30)]
    yield f"measure {particles} particles: {1000 * statistics.median(times):.2f} ms"


def predict(quick: bool) -> Iterator[str]:
    """From the file to the table of particles, over the network alone: proposals, NMS and heads, no mask pasted."""
    size_px, particles = _scene(quick)
    cfg = config("prediction.min_score=0.0", profile="smoke" if quick else "laptop")
    torch.manual_seed(0)
    model = instantiate(cfg.model, num_classes=1, max_instances=cfg.max_instances, min_score=0.0).build().eval()
    mixed = resolve_precision("auto").startswith("bf16")
    look = Predictor(min_score=0.0, precision=torch.bfloat16 if mixed else torch.float32)
    with TemporaryDirectory() as folder:
        dataset = ellipse_dataset(Path(folder), images=1, particles=particles, size_px=size_px)
        pixels = normalise(read_micrograph(dataset.images[0].path).pixels)
        _return_truth(model, look, pixels, dataset)

        @torch.inference_mode()
        def network() -> None:
            pasting = patch.object(sys.modules[type(model).__module__], "with_masks", _no_masks)
            with pasting, torch.autocast("cpu", look.precision, enabled=mixed):
                assert len(model([torch.from_numpy(pixels)[None]])[0]) == particles

        def whole() -> None:
            image = dataset.images[0]
            found = look(model, normalise(read_micrograph(image.path).pixels))
            rows = to_results(found, image.id, dataset.category_ids)
            assert len(particle_table(dataset, {image.id: rows})) == particles

        bare, ours = interleaved(network, whole, 2 if quick else 15)
    yield f"network, {size_px} x {size_px} px, {particles} particles: {1000 * bare:.1f} ms"
    yield f"prediction and measurement: {1000 * ours:.1f} ms"
    yield f"prediction and measurement over network: {over(ours, bare)}"


def _return_truth(model: SegmentationModel, look: Predictor, pixels: Any, dataset: CocoDataset) -> None:
    """Makes a network of random weights return the annotated particles, for the same work.

    Its threshold is set so that as many detections as there are particles (some more where scores tie) reach the mask
    head; what comes out is then replaced, since noise on anchors is no particle.
    """
    truths, heads = dataset.annotations[1], model.roi_heads
    scores = look(model, pixels).scores
    assert len(scores) >= len(truths), f"random weights return {len(scores)} detections, {len(truths)} are needed"
    heads.score_thresh = float(np.nextafter(scores[len(truths) - 1], np.float32(0)))
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (truth["bbox"] for truth in truths)], np.float32)
    fixed = {
        "boxes": torch.from_numpy(corners),
        "labels": torch.ones(len(truths), dtype=torch.int64),
        "scores": torch.linspace(1.0, 0.5, len(truths)),
        "masks": [(torch.arange(len(truths)), torch.from_numpy(_soft_ellipse()).expand(len(truths), -1, -1))],
    }

    def replace(module: Any, inputs: Any, output: Any) -> tuple[list[dict[str, Tensor]], Any]:
        assert sum(len(chosen) for chosen, _ in output[0][0]["masks"]) >= len(truths)
        return [fixed], output[1]

    heads.register_forward_hook(replace)


def _soft_ellipse() -> np.ndarray:
    """What a mask head says of a round particle: 1 inside, 0 outside, about two bins in between."""
    bins = (np.arange(SOFT_MASK_PX, dtype=np.float32) + 0.5) * 2 / SOFT_MASK_PX - 1
    return 1 / (1 + np.exp((np.hypot(*np.meshgrid(bins, bins)) - 0.97) * 30))


def _no_masks(prediction: Prediction, parts: Any, size: tuple[int, int]) -> Prediction:
    return changed(prediction, masks=[{"size": list(size), "counts": "0"}] * len(prediction))

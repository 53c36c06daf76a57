"""StarDist of a 2048² micrograph with 2,000 particles: network, suppression of polygons, masks."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from bench_common import ellipse_dataset, seconds
from torch import Tensor

from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.inference.predict import Predictor
from tem_seg.models.dense import star
from tem_seg.models.dense.factory import Stardist
from tem_seg.models.dense.stardist import UNIT_PX
from tem_seg.training.fit import resolve_precision


def stardist(quick: bool) -> Iterator[str]:
    """The network has random weights; what it says is then replaced by what it should, distances off by some 3 %."""
    size_px, particles = (256, 10) if quick else (2048, 2000)
    size = {"depth": 2, "width": 8, "features": 16} if quick else {"depth": 4, "width": 16, "features": 64}  # laptop's
    model = Stardist(**size, max_instances=2 * particles).build().eval()
    precision = torch.bfloat16 if resolve_precision("auto").startswith("bf16") else torch.float32
    look = Predictor(min_score=0.0, max_instances=2 * particles, precision=precision)
    with TemporaryDirectory() as folder:
        dataset = ellipse_dataset(Path(folder), images=1, particles=particles, size_px=size_px)
        pixels = normalise(read_micrograph(dataset.images[0].path).pixels)
        truth, said = _truth(dataset, model.rays, model.grid), model.said

        def network(images: list[Tensor]) -> Tensor:
            found = said(images)
            assert found.shape == truth.shape
            return truth

        with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
            bare = [seconds(lambda: said([torch.from_numpy(pixels)[None]])) for _ in range(1 if quick else 5)]
        with patch.object(model, "said", network):
            assert abs(len(look(model, pixels)) - particles) <= 0.02 * particles
            whole = [seconds(lambda: look(model, pixels)) for _ in range(1 if quick else 5)]
    claims = int((truth[0, 0].sigmoid() >= model.object_score).sum())
    yield f"stardist network, {size_px} x {size_px} px: {statistics.median(bare):.2f} s"
    yield f"stardist prediction, {particles} particles, {claims} claims: {statistics.median(whole):.2f} s"


def _truth(dataset: CocoDataset, rays: int, grid: int) -> Tensor:
    """(1, 1 + rays, h, w): logits of the object probability and distances, in UNIT_PX, of the annotated particles."""
    image = dataset.images[0]
    labels = np.zeros((image.height, image.width), np.int32)
    for index, annotation in enumerate(dataset.annotations[image.id]):
        crop, x0, y0 = rle.decode_crop(annotation["segmentation"])
        labels[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]][crop] = index + 1
    rng = np.random.default_rng(0)
    objects = torch.from_numpy(star.depths(labels[::grid, ::grid]))
    noise = rng.normal(0, 0.5, objects.shape) + 1e-3 * rng.random(objects.shape)
    reach = star.star_distances(labels, rays, grid) * (1 + 0.03 * rng.normal(size=(*objects.shape, 1)))
    logits = torch.logit(objects, 1e-4) + torch.from_numpy(noise).float()
    return torch.cat([logits[None], torch.from_numpy((reach / UNIT_PX).astype(np.float32)).permute(2, 0, 1)])[None]

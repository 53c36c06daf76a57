"""Looks and magnifications are no matter of one family: U-Nets, StarDist and the classical methods take them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from skimage.draw import disk

from tem_seg.core.types import Prediction
from tem_seg.inference.instances import turned_back
from tem_seg.inference.predict import Predictor
from tem_seg.models.classical import Classical
from tem_seg.models.contract import SegmentationModel
from tem_seg.models.dense.base import DenseModel
from tem_seg.models.dense.factory import MultiresUnet, Stardist, Unet
from tem_seg.models.dense.stardist import StarModel

SIZE = (64, 96)
DISCS = ((20, 20, 9), (40, 58, 13), (18, 82, 7))
FAMILIES: dict[str, Callable[[], Any]] = {
    "unet": lambda: Unet(backbone="resnet18", decoder_channels=(16, 16, 8, 8, 8)),
    "multires_unet": lambda: MultiresUnet(width=4),
    "stardist": lambda: Stardist(depth=1, width=4, features=8, grid=4),
    "classical": Classical,
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> SegmentationModel:
    """Untrained networks, made to answer: what they find is no matter, but that it is found alike from all sides."""
    if request.param == "unet":
        pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(1)
    built: SegmentationModel = FAMILIES[request.param]().build().eval()
    if isinstance(built, DenseModel):
        torch.nn.init.constant_(built.predictor.bias, 3.0)  # radii, of StarDist; px
        torch.nn.init.constant_(built.predictor.bias[:1], -0.5 if isinstance(built, StarModel) else 0.2)
    return built


@pytest.fixture
def image() -> np.ndarray:
    pixels = np.random.default_rng(0).normal(0.7, 0.02, SIZE).astype(np.float32)
    for row, column, radius in DISCS:
        pixels[disk((row, column), radius, shape=SIZE)] -= 0.5
    return np.clip(pixels, 0, 1)


def content(prediction: Prediction) -> dict[str, float]:
    assert prediction.masks is not None
    return {mask["counts"]: float(score) for mask, score in zip(prediction.masks, prediction.scores, strict=True)}


@pytest.mark.parametrize(("turns", "mirrored"), [(1, False), (2, True)])
def test_eight_looks_at_a_turned_micrograph_find_the_same(
    model: SegmentationModel, image: np.ndarray, turns: int, mirrored: bool
) -> None:
    look = Predictor(augment="dihedral", min_score=0.0)
    upright = look(model, image)
    shown = np.rot90(image[:, ::-1] if mirrored else image, turns)
    assert len(upright) > 0 and upright.agreement is not None
    assert content(turned_back(look(model, shown), turns, mirrored, SIZE)) == pytest.approx(content(upright))


def test_magnifications_are_put_together(model: SegmentationModel, image: np.ndarray) -> None:
    found = Predictor(scales=(0.5, 1.0), augment="flip", min_score=0.0)(model, image)
    assert found.masks is not None and all(mask["size"] == list(SIZE) for mask in found.masks)
    assert (np.diff(found.scores) <= 0).all() and len(found.masks) == len(found)


def test_classical_methods_see_the_same_from_all_sides(image: np.ndarray) -> None:
    found = Predictor(augment="dihedral")(Classical().build().eval(), image)
    assert found.agreement is not None and found.agreement.tolist() == [1.0] * len(DISCS)

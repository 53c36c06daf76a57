"""Probabilities as COCO results, of micrographs, of annotated particles, and beside what a segmentation found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.data.images import write_png
from tem_seg.inference.classify import _outlines, classify_images, probabilities, with_shapes
from tem_seg.models.classify.network import Look, ShapeClassifier, Training

PLAIN = Training(mixup=0.0, randaugment_ops=0, randaugment_magnitude=9, smoothing=0.0, particles_per_crop=8)
BOXES = [[4.0, 4.0, 16.0, 16.0], [40.0, 30.0, 10.0, 20.0]]


class Mean(nn.Module):
    def forward(self, shown: Tensor) -> Tensor:
        return shown.mean(dim=(2, 3))


def large_or_small() -> ShapeClassifier:
    """Class 0: a mask that fills much of its square. Class 1: one that does not. Grey values do not count."""
    look = Look(particles=True, shown_px=(32,), particle_px=32, context=1.0, outlines=True)
    model = ShapeClassifier(Mean(), 2, num_classes=2, look=look, training=PLAIN)
    model.predictor.weight.data = torch.tensor([[0.0, 4.0], [0.0, -4.0]])
    model.predictor.bias.data = torch.tensor([0.0, 2.0])
    return model.eval()


def bright_or_dark(*, particles: bool) -> ShapeClassifier:
    """Class 0: bright. Class 1: dark."""
    look = Look(particles=particles, shown_px=(32,), particle_px=32, context=1.0)
    model = ShapeClassifier(Mean(), 1, num_classes=2, look=look, training=PLAIN)
    model.predictor.weight.data, model.predictor.bias.data = torch.tensor([[2.0], [-2.0]]), torch.zeros(2)
    return model.eval()


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    """A micrograph with a bright and a dark particle, and a constant one without any."""
    pixels = np.full((60, 80), 110, np.uint8)
    pixels[4:20, 4:20], pixels[30:50, 40:50] = 220, 0
    write_png(tmp_path / "a.png", pixels)
    write_png(tmp_path / "b.png", np.full((60, 80), 90, np.uint8))
    annotations: list[dict[str, Any]] = [{"id": 5 + k, "bbox": box, "label": k} for k, box in enumerate(BOXES)]
    crowd = {"id": 9, "bbox": [0.0, 0.0, 80.0, 60.0], "label": 0, "iscrowd": 1}
    images = [ImageRecord(1, tmp_path / "a.png", 60, 80), ImageRecord(2, tmp_path / "b.png", 60, 80)]
    return CocoDataset(tmp_path / "d.json", images, ["bright", "dark"], [7, 3], {1: [*annotations, crowd], 2: []})


def test_a_micrograph_has_a_row_for_each_class(dataset: CocoDataset) -> None:
    found = list(classify_images(bright_or_dark(particles=False), dataset))
    assert [image.image_id for image in found] == [1, 2]
    for image in found:
        assert [row["category_id"] for row in image.rows] == [7, 3]
        assert all(row["bbox"] == [0, 0, 80, 60] for row in image.rows)
        assert sum(row["score"] for row in image.rows) == pytest.approx(1.0, abs=1e-5)


def test_each_particle_has_a_row_for_each_class_and_a_crowd_has_none(dataset: CocoDataset) -> None:
    first, second = classify_images(bright_or_dark(particles=True), dataset)
    assert [(row["annotation_id"], row["category_id"]) for row in first.rows] == [(5, 7), (5, 3), (6, 7), (6, 3)]
    scores = [row["score"] for row in first.rows]
    assert scores[0] > 0.9 and scores[3] > 0.9 and second.rows == []


def test_what_a_segmentation_found_is_named_and_kept(dataset: CocoDataset) -> None:
    rows = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.5, "segmentation": "kept"} for box in BOXES]
    model = bright_or_dark(particles=True)
    named = with_shapes(model, dataset.categories, dataset.images[0], rows)
    assert [row["shape_predicted"] for row in named] == ["bright", "dark"]
    assert all(0.9 < row["shape_probability"] <= 1 and row["segmentation"] == "kept" for row in named)
    assert with_shapes(model, dataset.categories, dataset.images[1], []) == []


def test_outlines_that_a_segmentation_found_are_shown(dataset: CocoDataset) -> None:
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 4:20, 4:20] = True
    masks[1, 30:32, 40:50], masks[1, 30:50, 40:42] = True, True  # an angle in the second box
    rows = [{"bbox": box, "segmentation": rle.encode(mask)} for box, mask in zip(BOXES, masks, strict=True)]
    named = with_shapes(large_or_small(), dataset.categories, dataset.images[0], rows)
    assert [row["shape_predicted"] for row in named] == ["bright", "dark"]
    assert with_shapes(large_or_small(), dataset.categories, dataset.images[1], []) == []
    nothing = [{"bbox": BOXES[0], "segmentation": rle.encode(np.zeros((60, 80), bool))}]
    assert with_shapes(large_or_small(), dataset.categories, dataset.images[0], nothing)[0]["shape_predicted"] == "dark"
    with pytest.raises(UserError, match=r"model.outlines=true.*boxes alone"):
        with_shapes(large_or_small(), dataset.categories, dataset.images[0], [{"bbox": BOXES[0]}])


def test_a_turned_micrograph_has_the_same_class() -> None:
    model, pixels = bright_or_dark(particles=False), np.random.default_rng(0).random((40, 60))
    turned = probabilities(model, np.rot90(pixels), None)
    np.testing.assert_allclose(probabilities(model, pixels, None), turned, atol=1e-5)


def test_a_found_outline_is_shown_as_an_annotated_one_is() -> None:
    """From a crop around the mask, and from the mask in its frame: the same square."""
    look = Look(particles=True, shown_px=(32,), particle_px=32, context=1.5, outlines=True)
    mask = np.hypot(*(np.mgrid[:60, :80] - np.array([28, 40])[:, None, None] + 0.5)) < 11.3
    x0, y0, x1, y1 = 28.0, 16.0, 52.0, 40.0
    whole = look.masks(torch.from_numpy(mask)[None], torch.tensor([[x0, y0, x1, y1]]))
    found = _outlines(look, [{"segmentation": rle.encode(mask)}], torch.tensor([[x0, y0, x1, y1]]))
    torch.testing.assert_close(found, whole)

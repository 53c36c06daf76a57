"""A stream draws what the files would hold."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data import coco
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.generation.dataset import build_dataset
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipes.gold_aunp import GoldAuNP
from tem_seg.generation.stream import RecipeStream

SIZE = (64, 96)


@pytest.fixture
def stream(small_gold: GoldAuNP, bright_field: Imaging) -> RecipeStream:
    return RecipeStream(small_gold, bright_field, SIZE, seed=5)


def test_image_k_is_what_the_files_hold(
    stream: RecipeStream, small_gold: GoldAuNP, bright_field: Imaging, tmp_path: Path
) -> None:
    build_dataset(tmp_path, small_gold, bright_field, {"train": 6}, SIZE, 5)
    dataset = coco.read(tmp_path / "train" / "dataset.json")
    assert stream.categories == dataset.categories
    differs = {"id", "image_id"}  # numbered through in a file
    for k, image in enumerate(dataset.images):
        pixels, found = stream(k)
        np.testing.assert_array_equal(pixels, normalise(read_micrograph(image.path).pixels))
        assert [{n: v for n, v in entry.items() if n not in differs} for entry in found] == [
            {n: v for n, v in entry.items() if n not in differs} for entry in dataset.annotations[image.id]
        ]
    assert dataset.count > 0


def test_there_is_no_last_image(stream: RecipeStream) -> None:
    pixels, _ = stream(1_234_567)
    assert pixels.shape == SIZE and pixels.dtype == np.float32 and 0 <= pixels.min() <= pixels.max() <= 1


def test_it_can_be_handed_to_another_process(stream: RecipeStream) -> None:
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stream))(3)[0], stream(3)[0])


def test_parts_that_do_not_fit_are_refused_at_once(gold: Callable[..., GoldAuNP], bright_field: Imaging) -> None:
    with pytest.raises(UserError, match="image_size must be"):
        RecipeStream(gold(), bright_field, (8, 8), seed=0)


def test_chosen_classes_are_what_is_left(gold: Callable[..., GoldAuNP], bright_field: Imaging, tmp_path: Path) -> None:
    """As the files of the same dataset, cut to the same classes; micrographs without one stay."""
    kinds = {"rod": {"weight": 1.0, "category": "rod"}, "cube": {"weight": 1.0, "category": "cube"}}
    mixed = gold(particles=[2, 6], diameter_px=[9, 16], shapes=dict.fromkeys(gold().shapes) | kinds)
    assert sorted(mixed.categories) == ["cube", "rod"]
    build_dataset(tmp_path, mixed, bright_field, {"train": 6}, SIZE, 5)
    whole = coco.read(tmp_path / "train" / "dataset.json")
    for classes in (("cube",), ("cube", "rod"), ("rod", "cube")):
        dataset = whole.of_classes(classes)
        stream = RecipeStream(mixed, bright_field, SIZE, 5, classes=classes)
        assert stream.categories == dataset.categories == list(classes)
        drawn = [[(a["label"], a["segmentation"]) for a in stream(k)[1]] for k in range(6)]
        assert drawn == [[(a["label"], a["segmentation"]) for a in dataset.annotations[i.id]] for i in dataset.images]
    assert 0 < whole.of_classes(["cube"]).count < whole.count
    with pytest.raises(UserError, match="dataset.classes names disc, but the recipe has the classes"):
        RecipeStream(mixed, bright_field, SIZE, 5, classes=("disc",))

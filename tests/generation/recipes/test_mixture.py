from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_scenes import Discs

from tem_seg.core.errors import UserError
from tem_seg.data import coco
from tem_seg.generation.dataset import build_dataset, dataset_identity
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.real.images import RealImages
from tem_seg.generation.recipes.gold_aunp import GoldAuNP
from tem_seg.generation.recipes.mixture import Mixture
from tem_seg.generation.render import check_pair, image_at

AS_IS = Imaging(None, None, {})


def mixture(recipe: GoldAuNP, imaging: Imaging, images: RealImages, drawn: float = 5, real: float = 1) -> Mixture:
    parts: dict[str, Any] = {"real": {"weight": real, "images": images},
                             "drawn": {"weight": drawn, "recipe": recipe, "imaging": imaging}}  # fmt: skip
    return Mixture(parts)


def test_proportions_are_exact_after_every_whole_round(
    small_gold: GoldAuNP, bright_field: Imaging, tmp_path: Path
) -> None:  # fmt: skip
    mixed = mixture(small_gold, bright_field, RealImages(Discs(tmp_path)), drawn=5, real=1)
    names = [mixed.part_at(index)[0].name for index in range(60)]
    for rounds in range(1, 11):
        assert Counter(names[: 6 * rounds]) == {"real": rounds, "drawn": 5 * rounds}
    numbers = [mixed.part_at(index)[1] for index in range(60) if names[index] == "drawn"]
    assert numbers == list(range(50))


def test_a_dataset_draws_its_part_and_leaves_real_files_where_they_are(
    small_gold: GoldAuNP, bright_field: Imaging, tmp_path: Path
) -> None:  # fmt: skip
    (tmp_path / "real").mkdir()
    mixed = mixture(small_gold, bright_field, RealImages(Discs(tmp_path / "real")), drawn=1)
    build_dataset(tmp_path / "set", mixed, AS_IS, {"train": 8}, (96, 96), seed=3, progress=False)
    read = coco.read(tmp_path / "set" / "train" / "dataset.json")
    real = [image for image in read.images if image.path.parent == tmp_path / "real"]
    assert len(real) == 4 and {image.group_id for image in real} == {f"paper-{i}" for i in range(4)}
    assert len(list((tmp_path / "set" / "train" / "images").iterdir())) == 4
    assert all((image.height, image.width) == (120, 160) for image in real)
    assert all(len(read.annotations[image.id]) == 2 for image in real)


def test_labels_are_positions_among_all_parts_classes(
    small_gold: GoldAuNP, bright_field: Imaging, tmp_path: Path
) -> None:  # fmt: skip
    reader = Discs(tmp_path)
    reader.categories = ("vesicle",)
    mixed = mixture(small_gold, bright_field, RealImages(reader), drawn=1)
    assert mixed.categories == ("vesicle", "particle")
    labels = {0: set[int](), 1: set[int]()}
    for index in range(12):
        drawn = image_at(mixed, AS_IS, (96, 96), 0, "train", index)
        labels[int(drawn.path is None)] |= set(drawn.instances.labels.tolist())
    assert labels == {0: {0}, 1: {1}}


def test_weight_zero_leaves_a_part_out_and_identity_tells(
    small_gold: GoldAuNP, bright_field: Imaging, tmp_path: Path
) -> None:  # fmt: skip
    images = RealImages(Discs(tmp_path))
    only = mixture(small_gold, bright_field, images, real=0)
    assert {only.part_at(i)[0].name for i in range(9)} == {"drawn"}
    identities = [
        dataset_identity(mixture(small_gold, bright_field, images, drawn=n), AS_IS, {"train": 1}, (96, 96), 0)
        for n in (1, 2, 1)
    ]
    assert identities[0] == identities[2] != identities[1]


def test_parts_that_do_not_fit_are_refused(small_gold: GoldAuNP, bright_field: Imaging, tmp_path: Path) -> None:
    images = RealImages(Discs(tmp_path))
    with pytest.raises(UserError, match="each part of a mixture has its own imaging"):
        check_pair(mixture(small_gold, bright_field, images), bright_field, (96, 96))
    haadf = Imaging("haadf", bright_field.contrast, {})
    with pytest.raises(UserError, match="the recipe makes bright_field scenes, the imaging is haadf"):
        check_pair(mixture(small_gold, haadf, images), AS_IS, (96, 96))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "Mixture.parts: at least one part needs a weight above 0"),
        ({"a": {"weight": -1}}, "Mixture.parts.a.weight must lie between 0"),
        ({"a": {"weight": 1}}, "Mixture.parts.a needs either recipe and imaging, or images"),
        ({"a": {"weight": 1, "imagse": 1}}, "Mixture.parts.a: no key imagse; there are weight, recipe"),
    ],
)
def test_bad_parts_are_named(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Mixture(parts)


def test_draw_says_who_draws() -> None:
    with pytest.raises(TypeError, match="render.image_at"):
        Mixture({"a": {"weight": 1, "images": object()}}).draw(np.random.default_rng(0), (96, 96))

"""Splits that are read beside splits that are drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tem_seg.config import check, schema
from tem_seg.core.errors import UserError
from tem_seg.data import atomic, coco
from tem_seg.data.rle import encode
from tem_seg.stages import generate


def composed(tmp_path: Path, *overrides: str) -> DictConfig:
    schema.register()
    given = [
        "experiment=gold_aunp", "profile=smoke", "dataset=coco", f"paths.outputs={tmp_path / 'outputs'}",
        f"dataset.reader.val={tmp_path / 'own.json'}", f"dataset.reader.test={tmp_path / 'own.json'}",
        "generation.image_size=[96,96]", "recipe.particles=[1,4]", "recipe.diameter_px=[9,16]",
        "budgets.smoke.images={train: 2, val: 1, test: 1}",
    ]  # fmt: skip
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        cfg = compose("config", [*given, *overrides])
    check.check(cfg)
    return cfg


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with one annotated micrograph of its own."""
    write(tmp_path, "particle")
    return tmp_path


def write(folder: Path, category: str) -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:20, 10:20] = True
    cv2.imwrite(str(folder / "own.png"), np.where(mask, 50, 180).astype(np.uint8))
    image = {"id": 1, "file_name": "own.png", "height": 64, "width": 64}
    coco.write(folder / "own.json", [image], [coco.annotation_of(encode(mask), 1, 1, 1)], [category])


def test_named_splits_are_read_and_the_others_drawn(own: Path) -> None:
    (own / "run").mkdir()
    noted = generate.run(composed(own, "dataset.read=[val,test]"), own / "run")
    paths = atomic.read_json(own / "run" / "datasets.json")
    assert set(paths) == {"train", "val", "test"} and noted["dataset_digest"].count("+") == 1
    assert len(coco.read(Path(paths["train"]))) == 2
    for split in ("val", "test"):
        assert [image.path.name for image in coco.read(Path(paths[split])).images] == ["own.png"]


def test_without_names_all_is_read_and_nothing_drawn(own: Path) -> None:
    (own / "run").mkdir()
    generate.run(composed(own, "stages=[generate,predict]"), own / "run")
    assert set(atomic.read_json(own / "run" / "datasets.json")) == {"val", "test"}


def test_a_split_that_the_reader_lacks(own: Path) -> None:
    with pytest.raises(UserError, match="dataset.read names val, but dataset 'coco' has test"):
        generate.run(composed(own, "dataset.read=[val,test]", "dataset.reader.val=null"), own)


def test_classes_of_drawn_and_read_splits_must_agree(own: Path) -> None:
    write(own, "vesicle")
    with pytest.raises(UserError, match="different categories .train: particle; val: vesicle; test: vesicle"):
        generate.run(composed(own, "dataset.read=[val,test]"), own)


def test_a_class_that_a_split_does_not_know_is_named_before_training(own: Path) -> None:
    (own / "run").mkdir()
    message = "dataset.classes names rod, but split test of 'coco' has the classes particle"
    with pytest.raises(UserError, match=message):
        generate.run(composed(own, "dataset.classes=[rod]", "stages=[generate,predict]"), own / "run")
    generate.run(composed(own, "dataset.classes=[particle]", "stages=[generate,predict]"), own / "run")


def test_nonsense_is_refused_before_any_work(own: Path) -> None:
    with pytest.raises(UserError, match="dataset.read names an unknown split 'vall'"):
        composed(own, "dataset.read=[vall]")
    with pytest.raises(UserError, match="it needs both dataset=… and recipe=…"):
        composed(own, "dataset.read=[val]", "dataset.reader=null")

"""The papers' own data: what a user is told who has not got them, and that they are read where they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tem_seg.config import check, schema, targets
from tem_seg.core.errors import UserError
from tem_seg.data import atomic, coco
from tem_seg.data.rle import encode
from tem_seg.stages import generate

CONF = check.config_folder()
DESCRIBED = sorted(
    file.stem for file in (CONF / "dataset").glob("*.yaml") if yaml.safe_load(file.read_text()).get("where")
)
BY_PAPER = {
    "gold_aunp": "gold_aunp_psdi", "polylatex_silica": "pat4nano", "polylatex_silica_overlay": "pat4nano",
    "vesicles_large": "vesicles_zhong", "vesicles_small": "vesicles_zhong", "vesicle_holes": "vesicles_zhong",
    "nanorods": "nanorods_zhong", "sem_agglomerates": "bam_tio2",
}  # fmt: skip


def composed(tmp_path: Path, experiment: str, dataset: str | None, *overrides: str) -> DictConfig:
    schema.register()
    given = [
        f"experiment={experiment}", "profile=smoke", f"paths.data={tmp_path / 'data'}",
        f"paths.outputs={tmp_path / 'outputs'}", *([f"dataset={dataset}"] if dataset else []), *overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", given)
    check.check(cfg)
    targets.check(cfg)
    return cfg


def test_every_dataset_of_a_paper_says_where_it_is() -> None:
    assert set(BY_PAPER.values()) == set(DESCRIBED)


@pytest.mark.parametrize("dataset", DESCRIBED)
def test_a_missing_folder_gives_that_text_before_any_work(tmp_path: Path, dataset: str) -> None:
    experiment = next(name for name, data in BY_PAPER.items() if data == dataset)
    cfg = composed(tmp_path, experiment, dataset)
    with pytest.raises(UserError) as told:
        generate.run(cfg, tmp_path)
    text = str(told.value)
    assert text.startswith(f"dataset '{dataset}' is not there (missing: {tmp_path / 'data' / dataset}")
    assert text.endswith(" ".join(cfg.dataset.where.split())) and f"{dataset}/" in cfg.dataset.where
    assert not (tmp_path / "outputs").exists(), "nothing was drawn before"


@pytest.mark.parametrize(("experiment", "dataset"), BY_PAPER.items())
def test_the_stand_in_vanishes_with_the_papers_own_data(tmp_path: Path, experiment: str, dataset: str) -> None:
    assert composed(tmp_path, experiment, None).paper.stand_in
    own = composed(tmp_path, experiment, dataset).paper.stand_in
    assert own is None or dataset == "bam_tio2"  # real, of the same authors, but not the paper's BaSO4


def disc(folder: Path, category: str) -> None:
    """One micrograph of one disc."""
    rows, columns = np.mgrid[:64, :64]
    mask = np.hypot(rows - 30, columns - 32) < 9
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.where(mask, 50, 180).astype(np.uint8))
    image = {"id": 1, "file_name": "a.png", "height": 64, "width": 64}
    coco.write(folder / "dataset.json", [image], [coco.annotation_of(encode(mask), 1, 1, 1)], [category])


def test_their_gold_is_tested_on_and_ours_trains(tmp_path: Path) -> None:
    """Whatever its classes are called; nobody here has seen the record."""
    disc(tmp_path / "data" / "gold_aunp_psdi" / "test", "AuNP")
    small = ("generation.image_size=[96,96]", "recipe.particles=[1,4]", "recipe.diameter_px=[9,16]")
    generate.run(composed(tmp_path, "gold_aunp", "gold_aunp_psdi", *small), tmp_path)
    splits = {name: coco.read(Path(path)) for name, path in atomic.read_json(tmp_path / "datasets.json").items()}
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "val": 2, "test": 1}
    assert all(split.categories == ["particle"] for split in splits.values())


def test_their_vesicles_are_cut_to_the_class_of_the_experiment(tmp_path: Path) -> None:
    for split in ("train", "test"):
        disc(tmp_path / "data" / "vesicles_zhong" / split, "large_vesicle")
    chosen = "stages=[generate,train,predict]"
    generate.run(composed(tmp_path, "vesicles_large", "vesicles_zhong", chosen), tmp_path)
    assert set(atomic.read_json(tmp_path / "datasets.json")) == {"train", "test"}
    with pytest.raises(UserError, match="dataset.classes names small_vesicle, but split test of 'vesicles_zhong'"):
        generate.run(composed(tmp_path, "vesicles_small", "vesicles_zhong", chosen), tmp_path)


def test_their_rods_are_read_from_their_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "data" / "nanorods_zhong" / split
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / "images" / "a.png"), np.full((64, 64), 90, np.uint8))
        (folder / "labels" / "a.txt").write_text("0 30 30 24 8 0.5\n")
        (folder / "labels" / "classes.txt").write_text("rod\n")
    generate.run(composed(tmp_path, "nanorods", "nanorods_zhong"), tmp_path)
    paths = atomic.read_json(tmp_path / "datasets.json")
    assert set(paths) == {"train", "test"}
    (annotation,) = coco.read(Path(paths["test"])).annotations[1]
    assert annotation["rotated_box"][:2] == pytest.approx([30, 30])


def test_bam_tio2_where_it_lies(data_dir: Path, tmp_path: Path) -> None:
    changes = (f"paths.data={data_dir}", "dataset.read=null", "stages=[generate,predict]")
    generate.run(composed(tmp_path, "sem_agglomerates", "bam_tio2", *changes), tmp_path)
    (path,) = atomic.read_json(tmp_path / "datasets.json").values()
    found = coco.read(Path(path))
    assert (len(found), found.count) == (5, 637)
    assert found.images[0].pixel_size_nm == pytest.approx(7.344, abs=1e-3)

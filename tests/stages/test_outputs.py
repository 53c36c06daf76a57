"""What generate leaves beside the datasets: contact sheet, exports, and a split that is streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tem_seg.config import check, schema
from tem_seg.core.errors import UserError
from tem_seg.data import coco
from tem_seg.generation.render import GENERATOR_VERSION
from tem_seg.stages import common, generate, outputs

Run = Callable[..., tuple[Path, dict[str, Any]]]


SMALL = ["experiment=gold_aunp", "profile=smoke", "generation.image_size=[96,96]", "recipe.diameter_px=[9,16]"]


def composed(*overrides: str) -> DictConfig:
    schema.register()
    given = [*SMALL, "recipe.particles=[2,6]"]
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", [*given, *overrides])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run(override, …) → the run directory, always the same, and what the stage noted."""

    def generated(*overrides: str) -> tuple[Path, dict[str, Any]]:
        cfg = composed(f"paths.outputs={tmp_path / 'outputs'}", *overrides)
        check.check(cfg)
        (tmp_path / "run").mkdir(exist_ok=True)
        return tmp_path / "run", generate.run(cfg, tmp_path / "run")

    return generated


def drawn(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "outputs" / "datasets").glob("*/*/images/*.png"))


# ------------------------------------------------------------------------------------------------- contact sheet


def test_a_sheet_alone_draws_no_dataset(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, notes = run("stages=[generate]", "generation.contact_sheet=true")
    assert [path.name for path in folder.iterdir()] == ["contact_sheet.png"] and not (tmp_path / "outputs").exists()
    assert notes == {"contact_sheet": "4 micrographs of split 'train'"}
    said = capsys.readouterr().out
    assert str(folder / "contact_sheet.png") in said and "no dataset is made for a contact sheet alone" in said


def test_a_sheet_shows_twelve_of_the_split(run: Run) -> None:
    _, notes = run("stages=[generate]", "generation.contact_sheet=true", "budgets.smoke.images={train: 500, test: 3}")
    assert notes == {"contact_sheet": "12 micrographs of split 'train'"}


def test_without_training_micrographs_the_next_split_is_shown(run: Run) -> None:
    _, notes = run(
        "stages=[generate]", "generation.contact_sheet=true", "budgets.smoke.images={train: 0, val: 0, test: 3}"
    )
    assert notes == {"contact_sheet": "3 micrographs of split 'test'"}


def test_drawn_alone_and_from_files_it_is_the_same(run: Run, tmp_path: Path) -> None:
    many = "budgets.smoke.images={train: 17, val: 1, test: 1}"
    folder, _ = run("stages=[generate]", "generation.contact_sheet=true", many)
    alone = (folder / "contact_sheet.png").read_bytes()
    folder, notes = run("stages=[generate,train]", "generation.contact_sheet=true", many)
    assert len(drawn(tmp_path)) == 19 and "dataset" in notes and "contact_sheet" in notes
    assert (folder / "contact_sheet.png").read_bytes() == alone


def test_of_a_run_with_datasets_the_sheet_is_of_these(run: Run) -> None:
    folder, _ = run("stages=[generate]")
    before = (folder / "datasets.json").read_text()
    _, notes = run("stages=[generate]", "generation.contact_sheet=true")
    assert set(notes) == {"dataset", "dataset_digest", "data_sha256", "contact_sheet"}
    assert (folder / "datasets.json").read_text() == before


def test_a_recipe_that_cannot_be_drawn_is_refused_at_once(run: Run) -> None:
    with pytest.raises(UserError):
        run("stages=[generate]", "generation.contact_sheet=true", "recipe.diameter_px=[40,9]")


def reading(run: Run, *overrides: str) -> list[str]:
    """A reader of what was drawn before."""
    folder, _ = run("budgets.smoke.images={train: 3, val: 2, test: 2}", "stages=[generate,train]")
    files = json.loads((folder / "datasets.json").read_text())
    (folder / "datasets.json").unlink()
    return ["dataset=coco", *(f"dataset.reader.{split}={path}" for split, path in files.items()), *overrides]


def test_a_dataset_that_is_read(run: Run) -> None:
    folder, notes = run(*reading(run, "stages=[generate]", "generation.contact_sheet=true"))
    assert notes["contact_sheet"] == "3 micrographs of split 'train'" and (folder / "contact_sheet.png").is_file()
    assert "dataset" in notes, "reading draws nothing, so it is done"


def test_of_a_drawn_first_split_beside_read_ones_the_sheet_is_drawn_alone(run: Run) -> None:
    given = reading(run, "stages=[generate]", "generation.contact_sheet=true", "dataset.read=[val,test]")
    folder, notes = run(*given)
    assert notes == {"contact_sheet": "4 micrographs of split 'train'"} and not (folder / "datasets.json").exists()


# -------------------------------------------------------------------------------------------------------- exports


def test_exports_of_every_split(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder, notes = run("generation.exports=[tiff_pairs,yolo]", "stages=[generate]")
    counts = {split: coco.read(Path(path)).subset(3).count
              for split, path in json.loads((folder / "datasets.json").read_text()).items()}  # fmt: skip
    assert notes["exports"] == {"tiff_pairs": counts, "yolo": counts}
    masks = sorted((folder / "exports" / "tiff_pairs").glob("*/masks/*.tif"))
    assert len(masks) == 3 + 2 + 2, "three of four: dataset.limit of the smoke profile"
    assert tifffile.imread(masks[0]).shape == (96, 96)
    assert (folder / "exports" / "yolo" / "data.yaml").is_file()
    assert f"exported as tiff_pairs, yolo to {folder / 'exports'}" in capsys.readouterr().out


def test_an_export_makes_the_dataset_even_with_a_sheet(run: Run, tmp_path: Path) -> None:
    _, notes = run("generation.exports=[labelme]", "stages=[generate]", "generation.contact_sheet=true")
    assert {"dataset", "contact_sheet", "exports"} <= set(notes) and drawn(tmp_path)


def test_an_unknown_export_is_refused_with_the_nearest_and_all(run: Run) -> None:
    with pytest.raises(
        UserError, match=r"no format 'yollo' \(nearest: yolo\); there are tiff_pairs, yolo, labelme, coco"
    ):
        run("generation.exports=[yollo]")


# ------------------------------------------------------------------------------------------------------ streaming


def test_a_streamed_split_has_no_files(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, notes = run("generation.stream=true")
    assert set(json.loads((folder / "datasets.json").read_text())) == {"val", "test"}
    assert {path.parents[1].name for path in drawn(tmp_path)} == {"val", "test"}
    assert notes["streamed"] == "train" and notes["generator_version"] == GENERATOR_VERSION
    assert "train is streamed: drawn while training and not written" in capsys.readouterr().out


def test_val_and_test_are_the_same_with_and_without(run: Run, tmp_path: Path) -> None:
    def pixels() -> dict[str, bytes]:
        return {
            f"{p.parents[1].name}/{p.name}": p.read_bytes() for p in drawn(tmp_path) if p.parents[1].name != "train"
        }

    run()
    first = pixels()
    run("generation.stream=true")
    assert len(drawn(tmp_path)) == 8 + 4 and pixels() == first and len(first) == 4


def test_a_stream_may_be_all_there_is(run: Run, tmp_path: Path) -> None:
    only = ("generation.stream=true", "stages=[generate,train]", "budgets.smoke.images={val: 0, test: 0}")
    folder, notes = run(*only, "generation.contact_sheet=true", "generation.exports=[yolo]")
    assert json.loads((folder / "datasets.json").read_text()) == {} and not drawn(tmp_path)
    assert notes["contact_sheet"] == "4 micrographs of split 'train'" and notes["exports"] == {"yolo": {}}


def test_what_training_draws_is_checked_before(run: Run) -> None:
    with pytest.raises(UserError, match="imaging"):
        run(
            "generation.stream=true",
            "imaging=as_is",
            "budgets.smoke.images={val: 0, test: 0}",
            "stages=[generate,train]",
        )


def test_other_stages_are_still_told_what_they_lack(run: Run) -> None:
    with pytest.raises(UserError, match="stage 'evaluate' needs a split 'test'"):
        run("generation.stream=true", "budgets.smoke.images={test: 0}")


@pytest.mark.parametrize("read", ["null", "[train]", "[train,val,test]"])
def test_a_split_that_is_read_cannot_be_streamed(read: str) -> None:
    cfg = composed("dataset=coco", "dataset.reader.train=x.json", "generation.stream=true", f"dataset.read={read}")
    with pytest.raises(
        UserError, match=r"generation.stream draws the train split from a recipe.*dataset.read=\[val,test"
    ):
        check.check(cfg)


def test_a_stream_beside_read_splits(run: Run) -> None:
    folder, notes = run(*reading(run, "generation.stream=true", "dataset.read=[val,test]"))
    assert set(json.loads((folder / "datasets.json").read_text())) == {"val", "test"} and notes["streamed"] == "train"


def test_a_stream_of_other_classes_than_the_read_splits_is_refused(run: Run) -> None:
    other = [f"recipe.shapes.{name}.category=gold" for name in composed().recipe.shapes]
    given = reading(run, "generation.stream=true", "dataset.read=[val,test]")
    with pytest.raises(UserError, match=r"recipe draws the classes \['gold'\], split '.*' has \['particle'\]"):
        run(*given, *other)


def test_the_sheet_is_spread_like_a_subset(tmp_path: Path) -> None:
    images = [coco.ImageRecord(k, tmp_path, 1, 1) for k in range(431)]
    dataset = coco.CocoDataset(tmp_path, images, ["p"], [1], {k: [] for k in range(431)})
    for wanted in (1, 12, 430, 431, 1000):
        assert outputs._spread(431, wanted) == [image.id for image in dataset.subset(wanted).images]


def test_a_stream_of_another_split_is_that_split() -> None:
    cfg = composed()
    train, test = (common.stream(cfg, split)(0)[0] for split in ("train", "test"))
    assert train.shape == test.shape == (96, 96) and (train != test).any()

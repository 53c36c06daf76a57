"""prediction.ensemble: members of several families, what cannot be put together, and what the files then say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from compare_scenes import write_dataset
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tem_seg.config import check, schema
from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.models import checkpoint, restore
from tem_seg.models.dense.base import DenseModel
from tem_seg.models.dense.factory import MultiresUnet, Stardist
from tem_seg.models.dense.stardist import StarModel
from tem_seg.models.rcnn import Rcnn
from tem_seg.stages import common, measure, members, predict

FAMILIES = {
    "multires": lambda **known: MultiresUnet(width=4, **known),
    "grid2": lambda **known: Stardist(depth=1, width=4, features=8, grid=2, **known),
    "grid4": lambda **known: Stardist(depth=1, width=4, features=8, grid=4, **known),
    "boxes": lambda **known: Rcnn(backend="torchvision", masks=False, weights="none", norm="bn", backbone="resnet18",
                                  fpn_channels=16, box_head_width=16, **known),
}  # fmt: skip


def saved(folder: Path, name: str, seed: int = 0, classes: tuple[str, ...] = ("particle",)) -> Path:
    """A checkpoint with random weights, made to answer."""
    torch.manual_seed(seed)
    factory = FAMILIES[name](num_classes=len(classes))
    model = factory.build()
    if isinstance(model, DenseModel):
        torch.nn.init.constant_(model.predictor.bias, 3.0)
        torch.nn.init.constant_(model.predictor.bias[:1], -0.5 if isinstance(model, StarModel) else 0.2)
    path = folder / f"{name}-{seed}-{'-'.join(classes)}.safetensors"
    checkpoint.write(path, model.state_dict(), factory.about() | {"categories": list(classes)})
    return path


def config(paths: list[Path] | None, *overrides: str) -> DictConfig:
    schema.register()
    named = [] if paths is None else [f"prediction.ensemble=[{','.join(map(str, paths))}]"]
    stages = "stages=[predict,evaluate,measure]"
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        given = ["experiment=emps_mask_rcnn", "profile=smoke", "dataset.limit=null", stages, *named, *overrides]
        cfg: DictConfig = compose("config", given)
        check.check(cfg)
        return cfg


def test_members_of_other_families_and_grids(tmp_path: Path) -> None:
    paths = [saved(tmp_path, name) for name in ("multires", "grid2", "grid4")]
    ready = members.together(config(paths), "32-true")
    cv2.imwrite(str(tmp_path / "one.png"), np.random.default_rng(0).integers(0, 255, (64, 96), np.uint8))
    one = CocoDataset(tmp_path, [ImageRecord(1, tmp_path / "one.png", 64, 96)], ["particle"], [1], {1: []})
    (found,) = ready.find(one)
    assert found.rows and all({"segmentation", "agreement", "agreement_iou"} <= row.keys() for row in found.rows)
    assert ready.known["ensemble"] == list(map(str, paths)) and ready.known["backend"] == "torch"
    sizes = [sum(weight.numel() for weight in model.parameters()) for model in ready.models]
    assert ready.size["parameters_m"] == round(sum(sizes) / 1e6, 2) and ready.size["weights_mb"] > 0


@pytest.mark.parametrize(("counts", "told"), [(0.0, True), (1.1, False)])
@pytest.mark.parametrize("together", [True, False])
def test_a_cap_is_a_flag_only_where_twice_as_many_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: float, told: bool, together: bool
) -> None:
    """A network with random weights sees more than three particles; from which score they count is what differs."""
    monkeypatch.setattr(members, "CONFIDENT", counts)
    paths = [saved(tmp_path, "grid2", seed) for seed in (0, 1)]
    if together:
        ready = members.together(config(paths, "max_instances=3"), "32-true")
    else:
        about = restore.about_of(paths[0])
        cfg = config(None, "max_instances=3")
        build = restore.builder(restore.factory_of(paths[0], about), torch.device("cpu"))
        ready = members.alone(build, 3, about, paths[0], common.predictor(cfg, "32-true", about))
    cv2.imwrite(str(tmp_path / "one.png"), np.random.default_rng(0).integers(0, 255, (64, 96), np.uint8))
    one = CocoDataset(tmp_path, [ImageRecord(1, tmp_path / "one.png", 64, 96)], ["particle"], [1], {1: []})
    (found,) = ready.find(one)
    assert len(found.rows) == 3 and found.capped == told


def test_a_restored_model_is_the_one_that_was_saved(tmp_path: Path) -> None:
    path = saved(tmp_path, "grid4", seed=3)
    model = restore.factory_of(path, restore.about_of(path), max_instances=7).build()
    assert model.grid == 4 and model.max_instances == 7
    state = checkpoint.model_state(checkpoint.read(path))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_family_that_is_not_known(tmp_path: Path) -> None:
    path = saved(tmp_path, "grid4")
    with pytest.raises(UserError, match="of the family 'oracle', this version knows rcnn, unet, multires_unet"):
        restore.factory_of(path, restore.about_of(path) | {"family": "oracle"})


def test_members_that_cannot_be_put_together(tmp_path: Path) -> None:
    one, other = saved(tmp_path, "grid4"), saved(tmp_path, "grid4", classes=("rod", "cube"))
    with pytest.raises(UserError, match=r"grid4-0-particle.* knows the classes \['particle'\]; .*\['rod', 'cube'\]"):
        members.members([str(one), str(other)])
    turned = saved(tmp_path, "grid2", classes=("cube", "rod"))
    with pytest.raises(UserError, match=r"\['rod', 'cube'\]; .*\['cube', 'rod'\]. Name members that agree"):
        members.members([str(other), str(turned)])
    with pytest.raises(UserError, match="finds masks; .* finds boxes"):
        members.members([str(one), str(saved(tmp_path, "boxes"))])


def test_files_that_are_missing_or_none(tmp_path: Path) -> None:
    there, gone, text = saved(tmp_path, "grid4"), tmp_path / "gone.ckpt", tmp_path / "text.ckpt"
    with pytest.raises(UserError, match=r"1 of 2 checkpoints that are not there: .*gone.ckpt. Give files"):
        members.members([str(there), str(gone)])
    text.write_text("no weights")
    with pytest.raises(UserError, match="text.ckpt is not a checkpoint"):
        members.members([str(text)])
    mute = tmp_path / "mute.safetensors"
    checkpoint.write(mute, {"weight": torch.zeros(1)}, {"family": "unet"})
    with pytest.raises(UserError, match="mute.safetensors does not say which classes"):
        members.members([str(mute)])


def test_what_a_config_may_not_ask_for() -> None:
    with pytest.raises(UserError, match=r"are trained: give stages=\[predict,evaluate\]"):
        config([Path("a.ckpt")], "stages=[train,predict,evaluate]")
    with pytest.raises(UserError, match="prediction.ensemble is empty"):
        config([])
    assert config(None).prediction.ensemble is None


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    test = write_dataset(tmp_path / "data")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "datasets.json").write_text(json.dumps({"test": str(test)}))
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_particles_carry_how_far_the_members_agree(run_dir: Path, tmp_path: Path) -> None:
    paths = [saved(tmp_path, "multires", seed) for seed in range(2)]
    cfg = config(paths, "measurement.min_score=0")
    notes = predict.run(cfg, run_dir)
    found = read(run_dir / "predictions.json")
    assert found["info"]["ensemble"] == notes["ensemble"] == list(map(str, paths))
    assert found["info"]["checkpoint"] is None and found["results"]
    assert {row["agreement"] for row in found["results"]} <= {0.5, 1.0}
    assert all((row["agreement_iou"] is None) == (row["agreement"] == 0.5) for row in found["results"])
    measure.run(cfg, run_dir)
    table = pd.read_csv(run_dir / "particles.csv")
    assert list(table.columns[4:7]) == ["score", "agreement", "agreement_iou"]
    assert set(table["agreement"]) <= {0.5, 1.0}

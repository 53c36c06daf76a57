"""Every file in conf/ composes and is checked the day it lands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from composing import composed
from omegaconf import DictConfig, OmegaConf

from tem_seg.config import check, targets
from tem_seg.core.nested import leaves
from tem_seg.models.rcnn import Rcnn

CONF = check.config_folder()


def names(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


EXPERIMENTS, PROFILES, MODELS = names("experiment"), names("profile"), names("model")


def with_model(model: str, profile: str) -> DictConfig:
    stages = "stages=[generate,train,predict,evaluate,report]"  # whoever has no masks has nothing to measure
    return composed("experiment=gold_aunp", f"profile={profile}", f"model={model}", stages)


def content(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text()) or {}


def asked(own: dict[str, Any]) -> dict[str, Any]:
    """Plain values of an experiment's file by dotted key; a model's may be changed by its profile (profile_model)."""
    part = {key: value for key, value in own.items() if key not in ("defaults", "budgets", "model", "pretrain")}
    return {key: value for key, value in leaves(part) if _plain(value)}


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(v, int | float) for v in value)
    return not isinstance(value, dict) and "${" not in str(value)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_with_every_profile(experiment: str, profile: str) -> None:
    cfg = composed(f"experiment={experiment}", f"profile={profile}")
    check.check(cfg)
    targets.check(cfg)
    assert cfg.name == experiment and cfg.profile == profile
    own = content(CONF / "experiment" / f"{experiment}.yaml")
    assert cfg.train.steps == own["budgets"][profile]["steps"]
    lost = {key: value for key, value in asked(own).items() if OmegaConf.select(cfg, key) != value}
    assert not lost or profile == "smoke", f"profile {profile} overrides what the experiment asks for"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_with_every_profile(model: str, profile: str) -> None:
    cfg = with_model(model, profile)
    check.check(cfg)
    targets.check(cfg)
    overlay = CONF / "profile_model" / f"{profile}_{model}.yaml"
    changed = content(overlay) if overlay.is_file() else {}
    if changed and "model" not in changed:
        changed = {"model": changed}
    alone = OmegaConf.create({"budgets": {}, "changed": changed})  # what a budget may replace, where none does
    said = OmegaConf.to_container(alone.changed, resolve=True)
    lost = {key: value for key, value in leaves(said) if OmegaConf.select(cfg, key) != value}  # type: ignore[arg-type]
    assert not lost, "profile_model is applied last"
    if profile != "default":
        assert cfg.model.weights in ("none", "starter", "backbone:starter"), (
            f"profile {profile} downloads nothing: give it {overlay.name}"
        )
        assert cfg.model.get("norm") != "frozen_bn"


@pytest.mark.parametrize("group", ["optimizer", "logger", "recipe", "imaging", "report", "trainer"])
def test_every_other_part(group: str) -> None:
    for name in names(group):
        key = f"{group}={name}"
        cfg = composed("experiment=gold_aunp", "profile=smoke", key)
        check.check(cfg)
        targets.check(cfg)


def test_every_dataset() -> None:
    for name in names("dataset"):
        cfg = composed("experiment=gold_aunp", "profile=smoke", f"dataset={name}")
        check.check(cfg)
        targets.check(cfg)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_says_what_it_is_and_has_a_budget_for_every_profile(experiment: str) -> None:
    file = CONF / "experiment" / f"{experiment}.yaml"
    lines = file.read_text().splitlines()
    assert lines[0] == "# @package _global_" and lines[1].startswith("# ") and len(lines[1]) > 20
    found = content(file)
    assert found["name"] == experiment
    assert set(found["budgets"]) >= set(PROFILES)


PLACES = re.compile(
    r"(segm|bbox|rotated)(_at_score)?\.(ap|ap50|ap75|ar)|(segm|bbox|rotated)\.per_class\.\w+\.ap(50|75)?"
    r"|(balanced_)?accuracy|at_iou50\.(best|fixed)\.(f1|precision|recall|accuracy)"
    r"|splits\.(train|val)\.(ap|ap50|ap75|f1)|whole_image\.(image_iou|instance_iou|youden)"
)
"""Figures of metrics.json (docs/results-format.md) that a paper's may be held against."""


@pytest.mark.parametrize(
    "name",
    ["polylatex_silica", "polylatex_silica_overlay", "gold_aunp", "vesicles_large", "vesicles_small", "vesicle_holes",
     "nanorods", "utile_generator", "utile_one_image", "utile_data_efficiency", "utile_classifier",
     "utile_classifier_full", "emps_mask_rcnn", "bam_sem", "bam_sem_leave_one_out"],
)  # fmt: skip
def test_the_papers_experiments_name_their_paper(name: str) -> None:
    assert composed(f"experiment={name}", "profile=smoke").paper.source


@pytest.mark.parametrize(
    "experiment", [name for name in EXPERIMENTS if "paper" in content(CONF / "experiment" / f"{name}.yaml")]
)
def test_a_papers_figures_can_be_held_against_ours(experiment: str) -> None:
    """In every arm: a share, with its n, against places that there are, and compared with something that there is."""
    arms = content(CONF / "experiment" / f"{experiment}.yaml").get("arms") or {None: None}
    for arm in arms:
        cfg = composed(f"experiment={experiment}", "profile=smoke", *([f"arm={arm}"] if arm else []))
        check.check(cfg)
        known = {None, *arms, *EXPERIMENTS, *(figure.what for figure in cfg.paper.reports)}
        for figure in cfg.paper.reports:
            assert arm == "real_all" if figure.value is None else 0 < figure.value <= 1
            assert figure.n and figure.of and figure.against in known - {figure.what}
            assert all(PLACES.fullmatch(place) for place in figure.of)


def test_an_arm_sets_what_the_experiment_looks_up() -> None:
    real, mixed = (
        composed("experiment=utile_data_efficiency", "profile=laptop", f"arm={a}_10") for a in ("real", "mixed")
    )
    assert (real.generation.images["train"], mixed.generation.images["train"]) == (10, 60)
    parts = [(arm.recipe.parts.real.images.images, arm.recipe.parts.pasted.weight) for arm in (real, mixed)]
    assert parts == [(10, 0), (10, 5)]
    assert [arm.paper.reports[0].value for arm in (real, mixed)] == [0.63, 0.86]  # paper 003, Table 5


def test_no_profile_names_a_key_of_a_model() -> None:
    for profile in PROFILES:
        assert "model" not in content(CONF / "profile" / f"{profile}.yaml")


def test_every_profile_model_belongs_to_a_profile_and_a_model() -> None:
    for file in (CONF / "profile_model").glob("*.yaml"):
        package, keys = file.read_text().splitlines()[0], set(content(file))
        how_it_looks = package == "# @package _global_" and keys == {"model", "prediction"}
        assert package == "# @package model" or how_it_looks, file
        assert any(file.stem == f"{profile}_{model}" for profile in PROFILES for model in MODELS), file


def test_experiment_values_survive_the_groups() -> None:
    """With ``_self_`` last, config.yaml would silently overwrite them, exit code 0."""
    emps = composed("experiment=emps_mask_rcnn", "profile=default")
    assert emps.dataset.name == "emps" and emps.recipe is None
    gold = composed("experiment=gold_aunp", "profile=default")
    assert gold.dataset.reader is None and gold.recipe is not None and gold.imaging is not None


def test_the_command_line_wins_over_everything() -> None:
    cfg = composed(
        "experiment=gold_aunp", "profile=smoke", "train.steps=77", "model.backbone=resnet34", "optimizer=sgd",
        "optimizer.lr=0.5",
    )  # fmt: skip
    assert cfg.train.steps == 77 and cfg.model.backbone == "resnet34"
    assert cfg.optimizer._target_ == "torch.optim.SGD" and cfg.optimizer.lr == 0.5


def test_a_profile_wins_over_the_experiment_where_it_speaks() -> None:
    small, full = composed("experiment=gold_aunp", "profile=smoke"), composed("experiment=gold_aunp", "profile=default")
    assert small.train.crop.crop_px < full.train.crop.crop_px
    assert small.generation.images != full.generation.images


def test_a_change_of_model_after_the_profile_keeps_the_profile() -> None:
    """``profile_model`` follows the chosen model, whoever chose it."""
    cfg = composed("experiment=gold_aunp", "profile=laptop", "model=faster_rcnn")
    assert cfg.model.masks is False and cfg.model.backbone == "resnet18" and cfg.model.weights == "none"


def test_the_default_profile_is_the_paper_s_scale() -> None:
    cfg = composed("experiment=gold_aunp")
    assert cfg.profile == "default"
    assert cfg.model.backbone == "resnet50" and cfg.model.weights == "coco"


@pytest.mark.parametrize("profile", PROFILES)
def test_an_r_cnn_can_be_specified_from_every_model_file(profile: str) -> None:
    for model in MODELS:
        node = with_model(model, profile).model
        if node._target_.endswith("rcnn.Rcnn"):
            options = {k: v for k, v in OmegaConf.to_container(node).items() if k != "_target_"}
            assert Rcnn(**options | {"backend": "torchvision"}).about()["family"] == "rcnn"

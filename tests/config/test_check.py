"""All of a config is checked before any work: what is wrong is named, with the nearest names that are right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from composing import composed, composed_in
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from tem_seg.config import check, explain, targets
from tem_seg.core.errors import UserError

CONF = check.config_folder()
GOLD = ("experiment=gold_aunp", "profile=smoke")


def explained(*overrides: str, folder: Path = CONF) -> str:
    """What the command line says where composing itself fails."""
    with pytest.raises((ConfigCompositionException, MissingConfigException, OmegaConfBaseException)) as caught:
        composed_in(folder, *overrides)
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    error = cause or caught.value
    assert isinstance(error, Exception)
    return explain.explain(error, list(overrides))


# ------------------------------------------------------------------------------- misspelt on the command line


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("train.stepz=3", "train.stepz", "steps"),
        ("traim.steps=3", "traim", "train"),
        ("train.crop.crop_size=3", "train.crop.crop_size", "crop_px"),
        ("budgets.smoke.stepz=3", "budgets.smoke.stepz", "steps"),
        ("model.bakend=auto", "model.bakend", "backend"),
        ("recipe.particls=[1,2]", "recipe.particls", "particles"),
        ("imaging.steps.jpegg.quality=[1,2]", "imaging.steps.jpegg", "jpeg"),
        ("optimizer.weightdecay=0", "optimizer.weightdecay", "weight_decay"),
        ("generation.images={trian: 3}", "generation.images.trian", "train"),
        ("experimnt=gold_aunp", "experimnt", "experiment"),
        ("optimiser=sgd", "optimiser", "optimizer"),
    ],
)
def test_misspelt_without_plus(override: str, key: str, near: str) -> None:
    text = explained(*GOLD, override)
    assert text.startswith(f"unknown key '{key}' (on the command line: {override}); nearest: ")
    assert near in text.split("nearest: ")[1].split(", ")


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("+train.step=3", "train.step", "steps"),
        ("+traim=3", "traim", "train"),
        ("+train.crop.crop_size=3", "train.crop.crop_size", "crop_px"),
        ("++budgets.smoke.stepz=3", "budgets.smoke.stepz", "steps"),
        ("+max_instance=3", "max_instance", "max_instances"),
        ("+dataset.pixel_size=0.5", "dataset.pixel_size", "pixel_size_nm"),
    ],
)
def test_misspelt_with_plus_passes_a_structured_schema_but_not_us(override: str, key: str, near: str) -> None:
    with pytest.raises(UserError, match="the configuration has faults") as error:
        check.check(composed(*GOLD, override))
    line = next(line for line in str(error.value).splitlines() if f"unknown key '{key}'" in line)
    assert near in line.split("nearest: ")[1].rstrip(")").split(", ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+model.bakend=auto", r"unknown key 'model.bakend' \(nearest: backend"),
        ("+recipe.particls=[1,2]", r"unknown key 'recipe.particls' \(nearest: particles"),
        ("+optimizer.learning_rate=1", r"unknown key 'optimizer.learning_rate' \("),
        ("+imaging.steps.jpeg.qualty=3", r"unknown key 'imaging.steps.jpeg.qualty' \(nearest: quality"),
        ("model._target_=tem_seg.models.rcnn.Rcn", "model._target_ 'tem_seg.models.rcnn.Rcn' cannot be imported"),
        ("model._target_=no_such_package.Thing", "model._target_ 'no_such_package.Thing' cannot be imported"),
    ],
)
def test_plugged_in_parts_are_held_against_their_signature(override: str, message: str) -> None:
    cfg = composed(*GOLD, override)
    check.check(cfg)
    with pytest.raises(UserError, match=message):
        targets.check(cfg)


def test_all_faults_come_in_one_message() -> None:
    with pytest.raises(UserError) as error:
        check.check(composed(*GOLD, "+train.epoch=3", "+seeed=1", "+report.overlays=2"))
    assert [key in str(error.value) for key in ("train.epoch", "seeed", "report.overlays")] == [True] * 3


def test_where_nothing_is_near_all_names_are_listed() -> None:
    assert check.nearest("xyzzy", ["steps", "seed"]) == "known: seed, steps"
    assert check.nearest("step", ["steps", "train"]) == "nearest: steps"


# ------------------------------------------------------------------------------------------- misspelt in YAML


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/ to spoil."""
    return Path(shutil.copytree(check.config_folder(), tmp_path / "conf"))


def add(conf: Path, text: str, to: str = "experiment/gold_aunp.yaml") -> Path:
    file = conf / to
    file.write_text(file.read_text() + text)
    return conf


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("trian: {steps: 3}\n", "trian", "train"),
        ("train: {stepz: 3}\n", "train.stepz", "steps"),
        ("train: {crop: {crop_pix: 3}}\n", "train.crop.crop_pix", "crop_px"),
        ("prediction: {scale: [1.0]}\n", "prediction.scale", "scales"),
    ],
)
def test_misspelt_in_an_experiment_file(conf: Path, text: str, key: str, near: str) -> None:
    said = explained(*GOLD, folder=add(conf, text))
    assert said.startswith(f"unknown key '{key}'; nearest: ")
    assert near in said.split("nearest: ")[1].split(", ")


def test_misspelt_in_a_model_file(conf: Path) -> None:
    cfg = composed_in(add(conf, "back_bone: resnet18\n", "model/mask_rcnn.yaml"), *GOLD)
    with pytest.raises(UserError, match=r"unknown key 'model.back_bone' \(nearest: backbone"):
        targets.check(cfg)


# --------------------------------------------------------------------------------------- choices that do not exist


def test_an_unknown_experiment_lists_those_that_exist() -> None:
    text = explained("experiment=gold", "profile=smoke")
    assert "Could not find 'experiment/gold'" in text
    known = [file.stem for file in (check.config_folder() / "experiment").glob("*.yaml")]
    assert all(name in text for name in known) and "Config search path" not in text


def test_no_experiment_lists_them_too() -> None:
    with pytest.raises(UserError, match=r"choose an experiment, experiment=<name>, one of .*gold_aunp"):
        check.check(composed("profile=smoke"))


def test_a_profile_without_a_budget_is_named(conf: Path) -> None:
    file = conf / "experiment" / "gold_aunp.yaml"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("  laptop:")))
    with pytest.raises(UserError, match="profile 'laptop' has no budget in this experiment; it has default, smoke"):
        check.check(composed_in(conf, "experiment=gold_aunp", "profile=laptop"))


def test_a_value_of_another_type_is_named() -> None:
    assert "Value 'many' of type 'str' could not be converted to Integer" in explained(*GOLD, "train.steps=many")
    assert "stages" in explained(*GOLD, "stages=[tarin]")
    assert "prediction.augment" in explained(*GOLD, "prediction.augment=turns")


# ---------------------------------------------------------------------------------------------------- bad numbers


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_instances=0", "max_instances must be at least 1, got 0"),
        ("train.steps=0", "train.steps must be at least 1, got 0"),
        ("train.batch_size=-2", "train.batch_size must be at least 1, got -2"),
        ("train.crop.crop_px=16", "train.crop.crop_px must be at least 32, got 16"),
        ("train.workers=-1", "train.workers must be at least 0, got -1"),
        ("dataset.limit=0", "dataset.limit must be at least 1, got 0"),
        ("train.crop.scale_range=[2,1]", r"train.crop.scale_range must be \[min, max\] with 0 < min <= max"),
        ("train.crop.particle_px_range=[1,2,3]", "train.crop.particle_px_range must be"),
        ("generation.image_size=[512]", r"generation.image_size must be \[height, width\]"),
        ("generation.image_size=[512,16]", "each at least 32 px"),
        ("prediction.scales=[]", "prediction.scales must hold positive magnifications"),
        ("prediction.scales=[1.0,-1]", "prediction.scales must hold positive magnifications"),
        ("prediction.finest=1.9", "prediction.finest=1.9: .*scales needs 2; raise it, or set prediction.finest=null"),
        ("prediction.min_score=1.5", r"prediction.min_score must lie in \[0, 1\], got 1.5"),
        ("prediction.tile_px=300", "tile_px must exceed prediction.overlap_px = 256 by at least 64, got 300"),
        ("prediction.overlap_px=-1", "prediction.overlap_px must be at least 0, got -1"),
        ("prediction.tile_instances=0", "prediction.tile_instances must be at least 1, got 0"),
        ("evaluation.score=90", r"evaluation.score must lie in \[0, 1\], got 90"),
        ("measurement.min_score=-0.1", r"measurement.min_score must lie in \[0, 1\]"),
        ("train.ema_decay=1.2", r"train.ema_decay must lie in \[0, 1\]"),
        ("stages=[]", "stages is empty: nothing to do"),
        ("~recipe", "nothing to work on: choose recipe=… .* or dataset=…"),
        ("+generation.images.tset=3", r"generation.images names an unknown split 'tset' \(nearest: test"),
        ("model=faster_rcnn", r"no sizes to measure: .* stages=\[generate,train,predict,evaluate,report\]"),
        ("paths.data=${no.such.key}", "no.such.key"),
    ],
)
def test_values_that_cannot_work_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check.check(composed(*GOLD, override))


def test_a_sound_config_passes_and_imports_no_torch() -> None:
    check.check(composed(*GOLD))
    check.check(composed(*GOLD, "dataset.limit=null", "measurement.min_score=null", "train.training_images_scored=0"))


def test_rotated_boxes_may_be_measured() -> None:
    check.check(composed(*GOLD, "model=rotated_faster_rcnn"))


# ------------------------------------------------------------------------------------------------- explaining


def test_a_part_set_to_null_says_how_it_is_left_out() -> None:
    """Hydra refuses it with a plain ValueError that names nothing."""
    with pytest.raises(ValueError, match="Config group override") as error:
        composed(*GOLD, "recipe=null")
    said = explain.explain(error.value, [*GOLD, "recipe=null"])
    assert said.startswith("'recipe=null': ") and said.endswith("left out with '~recipe'")


def test_other_complaints_are_passed_on() -> None:
    assert explain.explain(ValueError("something else"), []) == "something else"


@pytest.mark.parametrize(
    ("path", "some"),
    [
        ([], {"train", "experiment", "profile"}), (["train"], {"steps", "crop"}), (["train", "crop"], {"crop_px"}),
        (["budgets", "laptop"], {"steps", "images"}), (["budgets"], set()), (["model"], set()),
        (["train", "steps"], set()), (["nowhere", "at", "all"], set()),
    ],
)  # fmt: skip
def test_known_keys(path: list[str], some: set[str]) -> None:
    found = set(check.known_keys(path))
    assert found >= some and bool(found) == bool(some)


# --------------------------------------------------------------------------------------------- arms


def test_an_arm_that_the_experiment_has_not_got() -> None:
    text = "arm 'mixed' is not of this experiment"
    arms = "real_cubes, mixed_cubes, real_spheres, mixed_spheres, real_rods, mixed_rods"
    with pytest.raises(UserError, match=f"{text}; it has {arms}"):
        check.check(composed("experiment=utile_generator", "profile=smoke", "arm=mixed"))
    with pytest.raises(UserError, match=f"{text}; it has none: leave arm= out"):
        check.check(composed(*GOLD, "arm=mixed"))

"""Trainings that start from one another: made once, found again, resumed; what is wrong is said before any work."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tem_seg.config import check, schema
from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint
from tem_seg.stages import chain, runner

SMALL = [
    "model.backend=torchvision", "train.steps=1", "train.validate_every=1", "train.validation_images=1",
    "train.training_images_scored=0",
]  # fmt: skip


def composed(outputs: Path, *overrides: str, experiment: str = "gold_aunp") -> DictConfig:
    schema.register()
    before = "pretrain.experiment=vesicles"
    given = [f"experiment={experiment}", "profile=smoke", f"paths.outputs={outputs}", before]
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", [*given, *overrides])


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """(experiment, stage, weights) of what ran; stand-ins, of which train leaves a checkpoint."""
    done: list[tuple[str, str, str]] = []

    def stand_in(name: str) -> Any:
        def run(cfg: DictConfig, run_dir: Path) -> None:
            done.append((cfg.name, name, str(cfg.model.weights)))
            if name == "train":
                if (cfg.name, "fails") in done:
                    raise UserError("interrupted")
                (run_dir / "checkpoints").mkdir()
                (run_dir / "checkpoints" / "last.ckpt").write_text(cfg.name)

        return run

    for name in ("generate", "train"):
        monkeypatch.setitem(sys.modules, f"tem_seg.stages.{name}", SimpleNamespace(run=stand_in(name)))
    return done


def short(outputs: Path, *overrides: str) -> DictConfig:
    return composed(outputs, "stages=[generate,train]", "model.backend=torchvision", *overrides)


def only(outputs: Path, experiment: str) -> Path:
    (folder,) = (outputs / "runs" / experiment).iterdir()
    return folder


def test_the_other_experiment_trains_first_and_once(tmp_path: Path, ran: list) -> None:
    runner.run(short(tmp_path))
    first = only(tmp_path, "vesicles") / "checkpoints" / "last.ckpt"
    assert ran == [
        ("gold_aunp", "generate", "none"), ("vesicles", "generate", "none"), ("vesicles", "train", "none"),
        ("gold_aunp", "train", str(first)),
    ]  # fmt: skip
    record = json.loads((only(tmp_path, "gold_aunp") / "run.json").read_text())
    assert record["pretrained"] == {"experiment": "vesicles", "checkpoint": str(first)}
    assert record["config"]["model"]["weights"] == "none", "by what was composed runs are found"
    ran.clear()
    runner.run(short(tmp_path, "train.clip_norm=5"))  # another training after the same first one
    assert ran == [("gold_aunp", "generate", "none"), ("gold_aunp", "train", str(first))]


def test_a_run_of_all_stages_counts_and_another_seed_does_not(tmp_path: Path, ran: list) -> None:
    alone = composed(tmp_path, "pretrain.experiment=null", "stages=[generate,train]", "model.backend=torchvision",
                     "report.n_overlays=1", experiment="vesicles")  # fmt: skip
    runner.run(alone)
    (link,) = chain.links(short(tmp_path))
    assert chain.trained(link) == only(tmp_path, "vesicles") / "checkpoints" / "last.ckpt"
    for change in ("seed=3", "model.fpn_channels=64", "pretrain.overrides=['train.steps=2']"):
        (other,) = chain.links(short(tmp_path, change))
        assert chain.trained(other) is None


def test_an_interrupted_chain_goes_on_where_it_was(tmp_path: Path, ran: list) -> None:
    ran.append(("vesicles", "fails"))
    with pytest.raises(UserError, match="interrupted"):
        runner.run(short(tmp_path))
    ran.clear()
    runner.run(short(tmp_path))
    assert [entry[:2] for entry in ran] == [("vesicles", "train"), ("gold_aunp", "train")]
    assert only(tmp_path, "gold_aunp") and only(tmp_path, "vesicles")
    ran.clear()
    runner.run(short(tmp_path, f"run_dir={only(tmp_path, 'gold_aunp')}", "stages=[generate]"))
    assert [entry[:2] for entry in ran] == [("gold_aunp", "generate")], "no training asked for, none before it"


def test_a_link_has_its_own_data_and_freezing_and_this_model(tmp_path: Path) -> None:
    changes = ["model.fpn_channels=64", "model.freeze=[backbone]", "seed=9", "pretrain.overrides=['train.steps=7']"]
    cfg = short(tmp_path, *changes)
    (link,) = chain.links(cfg)
    assert (link.name, link.train.steps, link.seed) == ("vesicles", 7, 9)
    assert link.model.fpn_channels == 64 and link.model.freeze is None and cfg.model.freeze == ["backbone"]
    assert link.recipe._target_.endswith("Vesicles")
    runner._check_model(cfg)  # freezing is no fault here: the start is not random


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pretrain.experiment=nowhere", "(?s)pretrain.experiment=nowhere: .*gold_aunp"),
        ("pretrain.experiment=gold_aunp", "pretrain.experiment goes round in a circle: gold_aunp ← gold_aunp"),
        ("pretrain.overrides=['train.step=3']", "unknown key 'train.step'.*nearest: steps"),
        ("pretrain.overrides=['pretrain.experiment=gold_aunp']", "circle: gold_aunp ← vesicles ← gold_aunp"),
        ("pretrain.overrides=['train.steps=0']", "train.steps must be at least 1"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(tmp_path: Path, ran: list, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        runner.run(short(tmp_path, change))
    assert not ran and not (tmp_path / "runs").exists()


def test_weights_pass_from_one_training_to_the_next(tmp_path: Path) -> None:
    """Really trained, a step each, with nothing learned in the second: its frozen part is the first one's."""
    changes = f"pretrain.overrides=[{','.join(repr(change) for change in SMALL[1:])}]"
    own = ["stages=[generate,train]", "model.freeze=[backbone,fpn]", "max_instances=10"]
    runner.run(composed(tmp_path, *own, changes, *SMALL))
    states = [
        checkpoint.model_state(checkpoint.read(only(tmp_path, name) / "checkpoints" / "last.ckpt"))
        for name in ("vesicles", "gold_aunp")
    ]
    names = [name for name in states[0] if name.startswith("backbone.")]
    assert names and all(torch.equal(states[0][name], states[1][name]) for name in names)
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0] if "box_head" in name)
    notes = json.loads((only(tmp_path, "gold_aunp") / "run.json").read_text())["stages"]["train"]
    assert 0 < notes["trainable_m"] < notes["parameters_m"]

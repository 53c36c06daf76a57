"""From the command line's values to search spaces: bounds by hand, and every fault with its sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tem_seg.config import check, schema
from tem_seg.config.schema import Sweep, SweepKind, SweepMetric
from tem_seg.core.errors import UserError
from tem_seg.sweeps import space, study


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    schema.register()
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k=range(1,4)", IntDistribution(1, 3)),  # 4 is no part of it, as in Python
        ("k=range(0,10,3)", IntDistribution(0, 9, step=3)),
        ("k=range(4,1,-1)", IntDistribution(2, 4)),
        ("k=range(0.0,1.0,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("k=interval(1,8)", FloatDistribution(1.0, 8.0)),
        ("k=int(interval(1,8))", IntDistribution(1, 8)),
        ("k=interval(0.5,2)", FloatDistribution(0.5, 2.0)),
        ("k=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("k=tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("k=a,b,a", CategoricalDistribution(("a", "b"))),
        ("k=[rod],[cube]", CategoricalDistribution(("[rod]", "[cube]"))),
        ("k=choice(1,2.5,true)", CategoricalDistribution(("1", "2.5", "True"))),
    ],
)
def test_values_become_distributions(loader: ConfigLoader, text: str, expected: Any) -> None:
    swept = space.parse([text], loader).swept
    assert space.distributions(swept) == {"k": expected}


def test_groups_can_be_given_by_a_pattern(loader: ConfigLoader) -> None:
    swept = space.parse(["optimizer=glob(*)"], loader).swept
    assert space.grid(swept) == [{"optimizer": "adamw"}, {"optimizer": "sgd"}]


def test_the_command_line_is_parted(loader: ConfigLoader) -> None:
    line = [
        "experiment=gold_aunp,nuclei",
        "seed=1",
        "~recipe",
        "sweep=random",
        "sweep.n_trials=3",
        "train.clip_norm=5,6",
    ]
    parted = space.parse(line, loader)
    assert parted.experiments == ["gold_aunp", "nuclei"] and parted.fixed == ["seed=1", "~recipe"]
    assert parted.settings == ["sweep=random", "sweep.n_trials=3"] and list(parted.swept) == ["train.clip_norm"]


def test_a_grid_is_the_product_the_last_key_changing_fastest(loader: ConfigLoader) -> None:
    parted = space.parse(["a=1,2", "b=x,y,z"], loader)
    pairs = [(point["a"], point["b"]) for point in space.grid(parted.swept)]
    assert pairs == [("1", "x"), ("1", "y"), ("1", "z"), ("2", "x"), ("2", "y"), ("2", "z")]
    assert space.grid({}) == [{}]


@pytest.mark.parametrize(
    ("line", "kind", "settings", "said"),
    [
        (["x=interval(0.0,1.0)"], "grid", {}, "a grid needs them one by one"),
        (["x=range(3,3)"], "grid", {}, "no value in it"),
        (["sweep.n_trials=3,4"], "grid", {}, "one value each"),
        ([], "random", {}, "nothing to search"),
        (["x=range(3,3)"], "random", {}, "the range is empty"),
        (["x=interval(2,1)"], "random", {}, r"x=interval\(2,1\): .*low <= high"),
        (["x=tag(log,interval(0.0,1.0))"], "random", {}, "low > 0"),
        ([], "random", {"space": {"x": "0.5"}}, r"'x: 0.5': write interval"),
        ([], "random", {"space": {"x": "interval(1"}}, r"sweep.space, 'x: interval\(1'"),
        (["x=1,2"], "random", {"n_trials": 0}, "must be at least 1"),
        (["x=1,2"], "tpe", {"prune": True, "metric": SweepMetric.f1}, "sweep.prune=false, or sweep.metric=ap or ap50"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_refused(
    loader: ConfigLoader, line: list[str], kind: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        made(loader, line, Sweep(kind=SweepKind(kind), **settings))


def made(loader: ConfigLoader, line: list[str], wanted: Sweep) -> study.Study:
    parted = space.parse(line, loader)
    if wanted.kind is SweepKind.grid:
        return study.grid("gold", parted.fixed, wanted, parted)
    return study.search("gold", parted.fixed, wanted, parted, loader)


def test_the_command_line_wins_over_the_space_of_the_config(loader: ConfigLoader) -> None:
    named = {"a": "interval(0.0, 1.0)", "b": "interval(0.0, 1.0)", "c": "interval(0.0, 1.0)", "d": None}
    found = made(loader, ["a=0.5", "b=1,2"], Sweep(kind=SweepKind.random, space=named))
    assert found.space == {"c": FloatDistribution(0.0, 1.0), "b": CategoricalDistribution(("1", "2"))}


def test_a_path_comes_through_hydra_s_grammar(loader: ConfigLoader) -> None:
    folder = '/data/it\'s, a "folder" (1)'
    (override,) = space.parse([f"hydra.sweep.dir={space.quoted(folder)}"], loader).fixed
    assert space.fixed_keys([override], loader) == {"hydra.sweep.dir"}


@pytest.mark.parametrize(
    "optimizer", sorted(file.stem for file in (check.config_folder() / "optimizer").glob("*.yaml"))
)
@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_every_optimizer_has_a_space_whose_keys_are_there(loader: ConfigLoader, optimizer: str, kind: str) -> None:
    cfg = compose("config", ["experiment=gold_aunp", f"optimizer={optimizer}", f"sweep={kind}"])
    check.check(cfg)
    assert (
        cfg.sweep.kind is SweepKind(kind) and len(space.distributions(space.named(dict(cfg.sweep.space), loader))) > 1
    )
    assert all(OmegaConf.select(cfg, key) is not None for key in cfg.sweep.space)


def test_an_experiment_adds_to_the_space_and_takes_away(loader: ConfigLoader) -> None:
    lines = ["sweep=random", "+sweep.space={train.warmup_steps:null,train.ema_decay:'choice(0.99,0.998)'}"]
    cfg = compose("config", ["experiment=gold_aunp", "profile=study", *lines])
    found = space.named(dict(cfg.sweep.space), loader)
    assert sorted(found) == ["optimizer.lr", "optimizer.weight_decay", "train.ema_decay"]

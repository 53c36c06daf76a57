"""Which runs belong together, what they are called, and which saw the same micrographs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compare_scenes import DRAWN, run_of

from tem_seg.reporting.compared import RunFiles, comparability, differing, flattened, groups, reference


def test_seeds_alone_make_no_group_and_settings_do() -> None:
    runs = [run_of(seed=0, lr=0.1), run_of(seed=0, lr=0.2), run_of(seed=1, lr=0.1), run_of("latex", lr=0.1)]
    found = groups(runs)
    assert [(g.letter, g.name, len(g.runs)) for g in found] == [
        ("A", "gold: lr=0.1", 2), ("B", "gold: lr=0.2", 1), ("C", "latex", 1),
    ]  # fmt: skip
    assert [found[0].label(0), found[0].label(1), found[1].label(0)] == ["A1", "A2", "B"]


def test_the_order_of_seeds_does_not_matter() -> None:
    runs = [run_of(seed=seed, lr=lr) for lr in (0.1, 0.2) for seed in range(4)]
    shuffled = random.Random(3).sample(runs, len(runs))
    assert {frozenset(map(id, g.runs)) for g in groups(runs)} == {frozenset(map(id, g.runs)) for g in groups(shuffled)}


def test_seeds_below_and_what_changes_no_figure_make_no_group() -> None:
    one = run_of(recipe={"seed": 0, "size": 3}, paths={"outputs": "a"}, budgets={"smoke": {"steps": 3}}, logger={})
    other = run_of(seed=1, recipe={"seed": 1, "size": 3}, paths={"outputs": "b"}, budgets={}, logger={"project": "x"})
    assert len(groups([one, other])) == 1


def test_names_tell_groups_apart_with_few_settings() -> None:
    """Settings that go together are told once; those that tell most apart first."""
    runs = [run_of(a=0, b=str(k > 1), c=k, d=k) for k in range(4)]
    assert [g.name for g in groups(runs)] == [f"gold: c={k}, b={k > 1}" for k in range(4)]


def test_arms_name_experiments() -> None:
    runs = [run_of("utile", arm="real", arms={"real": 1}, steps=1), run_of("utile", arm="mixed", arms={}, steps=2)]
    assert [g.name for g in groups(runs)] == ["utile (real)", "utile (mixed)"]


def test_runs_without_a_config_stand_alone() -> None:
    bare = RunFiles(Path("/x"), {}, {}, pd.DataFrame(), pd.DataFrame(), None, {}, None, None)
    other = RunFiles(Path("/y"), {}, {}, pd.DataFrame(), pd.DataFrame(), None, {}, None, None)
    assert [g.name for g in groups([bare, other])] == ["x", "y"]


def test_letters_go_on_after_z() -> None:
    found = groups([run_of(lr=k) for k in range(28)])
    assert [g.letter for g in found[24:]] == ["Y", "Z", "AA", "AB"]


def test_of_another_class_only_the_class_differs() -> None:
    one = flattened({"recipe": {"_target_": "a.Gold", "size": 3, "step": {"_target_": "x"}}, "steps": 1})
    other = flattened({"recipe": {"_target_": "a.Latex", "width": 3}, "steps": 1})
    assert differing([one, other]) == ["recipe._target_"]
    assert differing([one, one]) == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([run_of(lr=1)], [run_of(lr=2)], "same"),
        ([run_of(lr=1)], [run_of(lr=2, tested=None)], "none"),
        ([run_of(lr=1)], [run_of(lr=2, tested="u")], "other"),
        ([run_of(lr=1, **DRAWN)], [run_of(lr=2, seed=1, tested="u", **DRAWN)], "redrawn"),
        ([run_of(**DRAWN), run_of(seed=1, tested="u", **DRAWN)], [run_of(lr=2, tested="v", **DRAWN)], "redrawn"),
        ([run_of(**DRAWN)], [run_of(tested="u", **DRAWN | {"generation": {"images": {"test": 9}}})], "other"),
        ([run_of(dataset={"reader": "x"}, **DRAWN)], [run_of(dataset={"reader": "x"}, tested="u", **DRAWN)], "other"),
    ],
)
def test_what_was_tested_decides_what_can_be_compared(first: list[Any], second: list[Any], expected: str) -> None:
    one, other = groups(first), groups(second)
    assert len(one) == len(other) == 1
    assert comparability(one[0], other[0]) == expected == comparability(other[0], one[0])


def test_the_reference_is_the_first_that_was_tested() -> None:
    found = groups([run_of(lr=1, tested=None), run_of(lr=2)])
    assert reference(found) is found[1]
    assert reference(found[:1]) is found[0]


def test_models_of_one_class_are_told_apart_among_themselves() -> None:
    models = [{"_target_": "tem_seg.Rcnn", "depth": 18}, {"_target_": "tem_seg.Rcnn", "depth": 16},
              {"_target_": "tem_seg.Unet", "depth": 18}]  # fmt: skip
    names = [group.name for group in groups([run_of(model=model) for model in models])]
    assert names == ["gold: model=Rcnn, depth=18", "gold: model=Rcnn, depth=16", "gold: model=Unet"]


def test_what_was_typed_names_them() -> None:
    """model=mask_rcnn, as its user knows it; where that does not tell all apart, settings do."""
    line = ["python", "-m", "tem_seg.run", "experiment=gold", "paths.outputs=x", "hydra/launcher=slurm", "seed=3"]
    models = {"mask_rcnn": {"_target_": "tem_seg.Rcnn", "masks": True}, "unet": {"_target_": "tem_seg.Unet"}}
    runs = [run_of(model=model) for model in models.values()]
    for run, name in zip(runs, models, strict=True):
        run.run["command"] = [*line, f"model={name}", f"run_dir=/{name}"]
    assert [group.name for group in groups(runs)] == ["gold: model=mask_rcnn", "gold: model=unet"]
    runs.append(run_of(model=models["unet"], lr=0.3))
    runs[-1].run["command"] = [*line, "model=unet"]
    assert [group.name.split(",")[0] for group in groups(runs)] == [
        "gold: model=Rcnn", "gold: model=Unet", "gold: model=Unet",
    ]  # fmt: skip

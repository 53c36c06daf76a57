"""A run once more: the same figures to the last digit, and what is said where they or their circumstances differ."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from tem_seg import rerun as program
from tem_seg.config import check, schema
from tem_seg.core.errors import UserError
from tem_seg.data import results
from tem_seg.rerun import Comparison, circumstances, config_of
from tem_seg.stages import runner


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke run."""
    outputs = tmp_path_factory.mktemp("rerun")
    schema.register()
    given = ["experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", "trainer.threads=1", "seed=3"]
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        cfg = compose("config", [*given, f"paths.outputs={outputs}"])
    return runner.carry_out(cfg)


def record(folder: Path, **changes: Any) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text())) | changes


@pytest.fixture(scope="module")
def repeated(made: Path) -> Comparison:
    return program.rerun(made)


def test_the_same_seed_and_threads_give_the_same_figures_to_the_last_digit(made: Path, repeated: Comparison) -> None:
    assert repeated.equal and repeated.compared > 300 and not repeated.differs
    assert not [line for line in repeated.circumstances if "uncommitted" not in line], "one process, one machine"
    assert repeated.text().splitlines()[-1] == f"all {repeated.compared} figures are equal"
    assert repeated.now != made and repeated.now.parent == made.parent
    written = json.loads((repeated.now / "rerun.json").read_text())
    assert written["of"] == str(made) and written["differs"] == {} and written["compared"] == repeated.compared
    assert results.read(made / "predictions.json")[0] == results.read(repeated.now / "predictions.json")[0]
    assert (made / "particles.csv").read_text() == (repeated.now / "particles.csv").read_text()


def test_a_figure_that_differs_is_named(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: Comparison
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"ap": 0.5, "n_images": 3, "gone": 1.0}))
    monkeypatch.setattr(runner, "carry_out", lambda cfg: repeated.now)  # what it would make again, to the last digit
    compared = program.rerun(folder)
    assert compared.differs == {"ap": (0.5, metrics["ap"]), "n_images": (3, 2), "gone": (1.0, None)}
    lines = compared.text().splitlines()
    assert {"  n_images: then 3, now 2 (-1)", "  gone: then 1.0, now None"} < set(lines)
    assert lines[-1] == f"3 of {compared.compared} figures differ"
    assert not compared.equal and not program.rerun(folder, tolerance=1.0).differs.keys() & {"ap"}


def test_figures_keep_every_digit_and_what_is_empty_is_none(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"ap": null, "bins": [{"n": 3}], "flags": [], "boundary": {}}')
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/ap\n49,0.30000000000000004,\n99,nan,1\n")
    found = list(program._figures(tmp_path))
    assert repr(found) == repr([
        ("ap", None), ("bins.0.n", 3), ("step 49 train/loss", 0.30000000000000004), ("step 99 train/loss", math.nan),
        ("step 99 val/ap", 1.0),
    ])  # fmt: skip


def test_it_takes_what_the_run_had_chosen_by_itself(made: Path) -> None:
    run = record(made)
    run["config"]["trainer"] |= {"precision": "auto", "threads": None}
    run["config"]["model"]["backend"] = "auto"
    cfg = config_of(made, run)
    assert cfg.trainer.precision == run["stages"]["train"]["precision"] != "auto"
    assert cfg.trainer.threads == 1 and cfg.model.backend == "torchvision" and cfg.run_dir is None and cfg.seed == 3


def test_run_json_holds_what_data_and_which_packages(made: Path) -> None:
    run = record(made)
    assert {len(digest) for digest in run["stages"]["generate"]["data_sha256"].values()} == {64}
    assert set(run["stages"]["generate"]["data_sha256"]) == {"train", "val", "test"}
    assert run["packages"]["torch"] == run["versions"]["torch"] and len(run["packages"]) > 50
    assert set(run["git"]) == {"commit", "diff", "untracked"} and "gpus" in run["hardware"]


def test_other_circumstances_are_listed(made: Path) -> None:
    then = record(made)
    now = json.loads(json.dumps(then))
    assert circumstances(then, now) == []
    now["packages"]["torch"] = "9.9"
    now["hardware"]["cores"] = 999
    now["git"] |= {"commit": "abc", "diff": "+ x"}
    now["stages"]["generate"]["data_sha256"]["test"] = "0"
    lines = circumstances(then, now)
    assert lines[0].endswith("then, abc now") and lines[1].startswith("uncommitted changes")
    assert lines[2:] == [
        f"torch {then['packages']['torch']} then, 9.9 now", f"cores {then['hardware']['cores']} then, 999 now",
        "data of split test",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finished": None}, "is not finished: the command that began it goes on with it, .*"),
        (
            {"config": {"trane": 1}},
            "has a config that this version of tem_seg does not know .*trane.*check out the commit",
        ),
    ],
)
def test_what_cannot_be_repeated_is_refused(made: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config_of(made, record(made, **changes))


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main([str(tmp_path)])
    assert ended.value.code == 2
    assert "has no run.json: give the folder of a run" in capsys.readouterr().err

"""scripts/study.py: which rows a study has, what they are on the command line, its table and its summary."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import study


def line(row: str, real: int, seed: int, f1: float | None) -> dict[str, Any]:
    made: dict[str, Any] = dict.fromkeys(study.FIELDS, "")
    return made | {"row": row, "real_images": real, "seed": seed, "test_f1": "" if f1 is None else f1}


@pytest.mark.parametrize("name", study.STUDIES)
def test_first_seeds_come_first_and_no_row_twice(name: str) -> None:
    rows = study.rows(name)
    assert len(set(rows)) == len(rows) and [row.seed for row in rows] == sorted(row.seed for row in rows)


def test_the_arms_of_paper_003_are_rows() -> None:
    rows = study.rows("utile_data_efficiency")
    assert len(rows) == 9 * 3 and len(study.rows("utile_one_image")) == 3 * 5
    mixed = next(row for row in rows if row.name == "mixed_10" and row.seed == 2)
    assert (mixed.real_images, mixed.paper) == (10, 0.86)
    assert mixed.overrides() == ["experiment=utile_data_efficiency", "profile=study", "seed=2", "arm=mixed_10"]


def test_a_row_of_the_spheres_asks_for_six_images_of_each_real_one() -> None:
    row = next(row for row in study.rows("emps_spheres") if (row.name, row.real_images) == ("cut_paste", 5))
    assert {"budgets.study.images.train=30", "recipe.parts.real.images.images=5"} <= set(row.overrides())


def test_the_digest_tells_arms_and_seeds_apart() -> None:
    rows = [row for row in study.rows("utile_one_image") if row.seed < 2]
    found = {study.digest(row.overrides()) for row in rows}
    assert len(found) == len(rows) and study.digest(rows[0].overrides()) in found


def test_a_key_without_a_value_changes_no_digest() -> None:
    """As prediction.finest did when it was added: rows that were there had been trained anew."""
    overrides = study.rows("utile_one_image")[0].overrides()
    known = study.digest(overrides)
    assert (
        study.digest([*overrides, "+budgets.study.finest=null", "prediction.finest=null", "model.freeze=null"]) == known
    )
    assert study.digest([*overrides, "prediction.finest=4.0"]) != known


def test_the_table_is_appended_to(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    assert study.lines(table) == []
    study.append(table, study.FIELDS, line("real_5", 5, 0, 0.5))
    study.append(table, study.FIELDS, line("real_5", 5, 1, 0.7))
    assert [one["test_f1"] for one in study.lines(table)] == ["0.5", "0.7"]
    with table.open(newline="") as file:
        assert next(csv.reader(file)) == list(study.FIELDS)


def test_a_rows_figures_are_read_where_it_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run of the same experiment that began later, by a study beside this one, is not taken for it."""
    monkeypatch.setenv("TEM_SEG_OUTPUTS", str(tmp_path))
    begun: list[Path] = []
    real_run = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        if "tem_seg.run" not in command:  # git, which the commit is asked of
            return real_run(command, **options)
        folder = Path(next(part for part in command if part.startswith("run_dir=")).removeprefix("run_dir="))
        begun.append(folder)
        for path, f1 in ((folder, 0.5), (folder.parent / "z_later", 0.9)):
            path.mkdir(parents=True, exist_ok=True)
            figures = {"ap": f1, "ap50": f1, "f1": f1}
            (path / "metrics.json").write_text(json.dumps({**figures, "splits": {"val": figures}}))
            (path / "run.json").write_text(json.dumps({"stages": {"train": {"wall_s": 90.0}}}))
        return None

    monkeypatch.setattr(study.subprocess, "run", run)
    real, mixed = [row for row in study.rows("utile_data_efficiency") if row.seed == 1][:2]
    found = study.train(real, [], explore=False)
    assert (found["test_f1"], found["val_ap"], found["minutes"]) == (0.5, 0.5, 1.5)
    study.train(mixed, [], explore=False)
    study.train(real, [], explore=False)
    assert begun[0] == begun[2] != begun[1] and begun[0].parent == tmp_path / "runs" / "utile_data_efficiency"


def test_the_summary_by_hand() -> None:
    """0.5, 0.6, 1.0: mean 0.7, standard deviation 0.2646, over √3 0.1528, median 0.6. An undefined F1 is left out."""
    found = [line("real_5", 5, seed, f1) for seed, f1 in enumerate((0.5, 0.6, 1.0, None))]
    told = [{key: str(value) for key, value in one.items()} for one in found]
    text = study.summary(study.rows("utile_data_efficiency"), told).splitlines()
    assert text[2] == "| real_5 | 5 | 3 | 0.700 | 0.153 | 0.600 | 0.36 |"
    assert text[3] == "| mixed_5 | 5 | 0 | – | – | – | 0.74 |"
    assert text[-1] == "| real_all | 102 | 0 | – | – | – | – |" and len(text) == 2 + 9


def test_rows_are_chosen() -> None:
    options = study.options_of(["utile_data_efficiency", "--rows", "real_5", "mixed_5", "--seeds", "1"])
    wanted = [row for row in study.rows(options.study) if study.chosen(row, options)]
    assert [(row.name, row.seed) for row in wanted] == [("real_5", 1), ("mixed_5", 1)]
    options = study.options_of(["--images", "5"])
    names = {(row.name, row.real_images) for row in study.rows(options.study) if study.chosen(row, options)}
    assert names == {("synthetic", 0), ("overlay", 0), ("real", 5), ("cut_paste", 5)}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--explore"], "give --into FILE"), (["utile_one_image", "--set", "train.steps=3"], "give --into FILE"),
     (["utile_one_image", "--rows", "white"], "has no row white; it has black, gray, rods"),
     (["papers"], "invalid choice: 'papers'")],
)  # fmt: skip
def test_command_lines_that_cannot_be(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        study.options_of(arguments)
    assert text in capsys.readouterr().err

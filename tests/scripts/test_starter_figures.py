"""scripts/starter_figures.py without its weights: rows counted by hand, the table, what is refused before any work."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import starter_figures
from compare_scenes import write_dataset

from tem_seg.data import coco


def test_a_row_for_each_score(tmp_path: Path) -> None:
    """Five discs: three found at 0.9, 0.6 and 0.3, and one slip at 0.5."""
    dataset = coco.read(write_dataset(tmp_path))
    truths = [entry for image in dataset.images for entry in dataset.annotations[image.id]]
    keys = ("image_id", "category_id", "bbox", "segmentation")
    scores = (0.9, 0.6, 0.3)
    found = [{key: e[key] for key in keys} | {"score": score} for e, score in zip(truths, scores, strict=False)]
    slip = {key: truths[0][key] for key in keys} | {"image_id": 3, "score": 0.5}
    made = list(starter_figures.rows("discs", (dataset, [*found, slip], 0.256), [0.3, 0.55, 0.95]))
    assert [row["predictions"] for row in made] == [4, 2, 0]
    assert [row["recall"] for row in made] == [0.6, 0.4, 0.0] and [row["precision"] for row in made[:2]] == [0.75, 1.0]
    assert [row["f1"] for row in made] == [round(6 / 9, 4), round(4 / 7, 4), 0.0]
    assert {(row["set"], row["images"], row["particles"], row["ap50"], row["s_per_image"]) for row in made} == {
        ("discs", 3, 5, made[0]["ap50"], 0.26)
    }
    table = tmp_path / "table.csv"
    for row in made:
        starter_figures.append(table, starter_figures.FIELDS, row)
    starter_figures.check(table, [0.0, 1.0])
    with table.open(newline="") as file:
        assert [float(line["score"]) for line in csv.DictReader(file)] == [0.3, 0.55, 0.95]


@pytest.mark.parametrize(
    ("content", "scores", "said"),
    [("set,images\n", ["0.5"], "has other columns than set,images,particles"), (None, ["0.5", "5"], "got 0.5, 5")],
)
def test_what_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, scores: list[str], said: str
) -> None:
    table = tmp_path / "table.csv"
    if content is not None:
        table.write_text(content)
    with pytest.raises(SystemExit) as ended:
        starter_figures.main(["--into", str(table), "--score", *scores])
    assert ended.value.code == 2 and said in capsys.readouterr().err

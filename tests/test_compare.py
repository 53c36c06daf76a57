"""``python -m tem_seg.compare``: pages of two to twenty runs, of unfinished and incomparable ones; faults."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from compare_scenes import change, write_dataset, write_predictions, write_run

from tem_seg import compare
from tem_seg.core.errors import UserError


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "discs-0123")


def test_seeds_and_settings_side_by_side(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_run(tmp_path / f"a{k}", dataset, seed=k, ap=0.60 + 0.04 * k) for k in range(3)]
    runs.append(write_run(tmp_path / "b", dataset, lr=0.2, ap=0.9, missed=1, scale=1.1))
    out = tmp_path / "new" / "page.html"
    compare.main([*map(str, runs), "-o", str(out)])
    assert capsys.readouterr().out.startswith(f"{out}: 4 runs, ")
    page = out.read_text()
    assert "All runs that were tested saw the same micrographs." in page
    assert "0.640 ± 0.040" in page and "+0.260" in page
    assert "discs: lr=0.1" in page and "discs: lr=0.2" in page and "(3 seeds)" in page
    assert "optimizer.lr" in page
    # micrograph 2 first: one of two missed (F1 2/3) differs more than one of three (F1 0.8)
    assert re.findall(r"<figcaption><b>(\d).png</b>", page) == ["2", "1", "3"]
    assert "A1 · F1 1.00: 2 correct, 0 false, 0 missed" in page and "B · F1 0.67: 1 correct, 0 false, 1 missed" in page
    assert "found by 1 of 2" in page and "found by 2 of 2" in page
    # diameters of 1.1 times the area's root: 10 % too large
    assert re.search(r"Predicted diameter too large by.*?0\.0<.*?(9|10|11)\.\d<", page, re.S)
    assert page.count("data:image/webp") == 3, "each picture once, whatever the number of models"


def test_a_page_needs_nothing_from_elsewhere(tmp_path: Path, dataset: Path) -> None:
    out = tmp_path / "page.html"
    compare.compare([write_run(tmp_path / name, dataset, lr=k) for k, name in enumerate("ab")], out)
    page = out.read_text()
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "default-src 'none'" in page and "src=" not in page.replace("default-src", "").replace("img-src", "")


def as_classifier(run: Path, accuracy: float) -> Path:
    """The run, as if its model named classes."""
    rows = {"n": 3, "recall": accuracy}
    change(run / "metrics.json", task="classification", balanced_accuracy=accuracy, accuracy=0.5, log_loss=1.0, ap=None,
           f1=None, headline=None, segm=None, bbox=None, at_iou50=None, curves=None, majority={"accuracy": 0.6},
           per_class={"square": rows, "bar": rows},
           confusion={"classes": ["square", "bar"], "counts": [[2, 1], [1, 2]],
                      "normalised": [[2 / 3, 1 / 3], [1 / 3, 2 / 3]]})  # fmt: skip
    info = json.loads((run / "predictions.json").read_text())["info"]
    said = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 128, 96], "score": 0.7}]
    change(run / "predictions.json", info=info | {"task": "classification"}, results=said)
    for name in ("particles.csv", "particles_truth.csv"):
        (run / name).unlink()
    return run


def test_classifiers_are_compared_by_what_they_say(tmp_path: Path, dataset: Path) -> None:
    out = tmp_path / "page.html"
    runs = [as_classifier(write_run(tmp_path / name, dataset, lr=k), 0.5 + k / 4) for k, name in enumerate("ab")]
    assert compare.compare(runs, out) == []
    page = out.read_text()
    assert re.search(r"Balanced accuracy</th>.*?0.500.*?0.750.*?\+0.250", page, re.S)
    assert "Recall of bar" in page and page.count("Row-normalised confusion matrix") == 2
    assert "missed" not in page and 'id="micrographs"' not in page and 'id="sizes"' not in page
    assert "cannot be shown" not in page and "<th" in page and ">balanced accuracy<" in page


def test_a_classifier_beside_a_segmentation_is_said(tmp_path: Path, dataset: Path) -> None:
    out = tmp_path / "page.html"
    runs = [as_classifier(write_run(tmp_path / "a", dataset), 0.5), write_run(tmp_path / "b", dataset, lr=0.3)]
    alarms = compare.compare(runs, out)
    assert any("classes, without outlines: A; masks: B" in alarm for alarm in alarms)
    page = out.read_text()
    assert 'id="micrographs"' in page and 'id="classes"' in page and "B · F1" in page
    assert "Not shown, for they did not see" not in page


def test_twenty_runs(tmp_path: Path, dataset: Path) -> None:
    out = tmp_path / "page.html"
    runs = [write_run(tmp_path / str(k), dataset, seed=k % 2, lr=k // 2) for k in range(20)]
    assert compare.compare(runs, out) == []
    page = out.read_text()
    assert "discs: lr=9" in page and ">J<" in page.replace("</b>", "<") and out.stat().st_size < 2e6


def test_other_micrographs_are_said_at_the_top(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path / "a", dataset), write_run(tmp_path / "c", dataset, lr=0.3),
            write_run(tmp_path / "b", write_dataset(tmp_path / "other-77", seed=1), lr=0.2, ap=0.9)]  # fmt: skip
    out = tmp_path / "page.html"
    compare.main([*map(str, runs), "-o", str(out)])
    said = capsys.readouterr().out
    assert said.startswith(
        "RED FLAG: C was tested on other micrographs (3 of other-77) than A (3 of discs-0123): the figures are "
        "not comparable"
    )
    page = out.read_text()
    assert page.index("Not comparable") < page.index("C was tested on other micrographs") < page.index("<nav")
    assert "+0.300" not in page
    assert "their predictions or micrographs are not there: C." in page


def test_each_seed_draws_its_own_test_micrographs(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    runs = [write_run(tmp_path / str(k), write_dataset(tmp_path / f"d{k}", k), seed=k, read=False) for k in range(2)]
    assert compare.compare(runs, out) == []
    assert "Each seed drew its own test micrographs from the same recipe" in out.read_text()


def test_other_kinds_and_ignored_classes_are_said(tmp_path: Path, dataset: Path) -> None:
    runs = [write_run(tmp_path / name, dataset, lr=k) for k, name in enumerate("ab")]
    change(runs[1] / "metrics.json", headline="bbox", class_agnostic=True)
    alarms = compare.compare(runs, tmp_path / "page.html")
    assert alarms == [
        "Figures are of different things (masks: A; boxes: B): compare those of the same kind, and no F1.",
        "Classes are ignored in the figures of B only: they are not comparable with the others.",
    ]


def test_unfinished_runs_missing_files_and_empty_predictions(tmp_path: Path, dataset: Path) -> None:
    runs = [write_run(tmp_path / str(k), dataset, lr=k, finished=k != 0) for k in range(4)]
    write_predictions(runs[1], dataset, keep=False)
    for name in ("metrics.json", "metrics.csv", "particles.csv", "particles_truth.csv", "datasets.json"):
        (runs[2] / name).unlink()
    change(runs[3] / "run.json", finished=None)
    out = tmp_path / "page.html"
    assert compare.compare(runs, out) == []
    page = out.read_text()
    assert "A is unfinished: training, step 50 of 100." in page and "A: nothing was predicted yet" in page
    assert "D is unfinished: measure is done." in page
    assert "the difference to B" in page, "A has nothing to be compared with"
    assert "B · F1 0.00: 0 correct, 0 false, 3 missed" in page and "C · F1 1.00" in page
    compare.compare([runs[0], write_run(tmp_path / "4", dataset, finished=False)], out)
    page = out.read_text()
    assert "Nothing was evaluated yet in any of these runs" in page and "There are no predictions" in page


def test_texts_are_no_markup(tmp_path: Path, dataset: Path) -> None:
    runs = [write_run(tmp_path / name, dataset, experiment=f"<script>{name}", lr=k) for k, name in enumerate("ab")]
    compare.compare(runs, tmp_path / "page.html")
    assert "<script>a" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "a alone: give at least two run directories"),
        (["a", "b", "-o", "page.txt"], "-o page.txt is no page"),
        (["a", "b", "--micrographs", "-1"], "--micrographs must not be negative, got -1"),
        (["a", "b"], "a is no folder: give run directories"),
    ],
)
def test_faults_end_with_a_sentence_and_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        compare.main(arguments)
    assert stopped.value.code == 2 and f"tem_seg: {said}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_replaced_micrograph_is_named(tmp_path: Path, dataset: Path) -> None:
    runs = [write_run(tmp_path / name, dataset, lr=k) for k, name in enumerate("ab")]
    (dataset.parent / "2.png").write_bytes((dataset.parent / "2.png").read_bytes()[:50])
    with pytest.raises(UserError, match=r"2\.png"):
        compare.compare(runs, tmp_path / "page.html")

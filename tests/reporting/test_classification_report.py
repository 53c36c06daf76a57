"""The report of a classifier: figures with n and the note on labels, both matrices, curves, the paper; or nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tem_seg.evaluation.classification import classification_metrics
from tem_seg.reporting.classification import build_classification_report, start

NOTE = "labels are right in 27 of 30 cases"
CURVES = pd.DataFrame(
    {"step": [1, 2, 3], "train/loss": [1.1, 0.9, 0.8], "val/balanced_accuracy": [None, 0.4, 0.6],
     "val/accuracy": [None, 0.5, 0.7], "val/log_loss": [None, 1.0, 0.9], "train/lr": [0.1, 0.1, 0.0]}
)  # fmt: skip
RUN: dict[str, Any] = {
    "experiment": "utile_classifier", "profile": "laptop", "stages": {},
    "config": {"paper": {"source": "Paper 003, Table 2", "reports": [
        {"what": "accuracy, Xception", "value": 0.75, "n": "not stated", "of": ["accuracy", "balanced_accuracy"]}]}},
}  # fmt: skip


@pytest.fixture
def metrics() -> dict[str, Any]:
    from tem_seg.data.coco import CocoDataset, ImageRecord

    truth, answers = [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]
    images = [ImageRecord(k, Path(f"{k}.png"), 10, 10) for k in range(6)]
    annotations = {k: [{"id": k, "label": label}] for k, label in enumerate(truth)}
    dataset = CocoDataset(Path("d.json"), images, ["spherical", "cu<b>ic", "rod"], [1, 2, 3], annotations)
    rows = [{"image_id": k, "category_id": c, "score": 0.8 if c == label + 1 else 0.1}
            for k, label in enumerate(answers) for c in (1, 2, 3)]  # fmt: skip
    found = classification_metrics(dataset, rows)
    return found | {"labels_note": NOTE, "start": "none", "backbone": "test_resnet", "splits": {"val": found}}


def built(folder: Path, metrics: dict[str, Any], curves: pd.DataFrame = CURVES) -> str:
    path = build_classification_report(folder, metrics=metrics, curves=curves, run=RUN)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_every_figure_has_its_n_its_interval_and_the_note_on_labels(metrics: dict[str, Any], tmp_path: Path) -> None:
    text = built(tmp_path, metrics)
    figures = dict(re.findall(r'<dt>([^<]*)</dt><dd class="value">([^<]*)</dd>', text))
    assert figures == {"Balanced accuracy": "0.625", "Accuracy": "0.667", "Always the commonest": "0.667"}
    notes = re.findall(r'<dd class="note">([^<]*)</dd>', text)
    assert "95% interval" in notes[0] and "n = 6 micrographs: 4 spherical" in notes[0]
    assert all(NOTE in note for note in notes[:2]) and text.count(NOTE[1:]) >= 5
    assert "random weights" in text and "no sample of rod" in text


def test_matrices_curves_and_the_paper(metrics: dict[str, Any], tmp_path: Path) -> None:
    text = built(tmp_path, metrics)
    assert "Row-normalised confusion matrix of 6 samples" in text and "Confusion matrix, counts of 6 samples" in text
    assert ">0.75<" in text.replace("\n", "") and "–" in text
    assert "Paper 003, Table 2" in text and "balanced accuracy" in text and "6 images in 6 micrographs" in text
    assert "val/balanced_accuracy" in text and "val/log_loss" in text
    assert "<b>ic" not in text, "class names are escaped"


def test_the_same_files_give_the_same_bytes(metrics: dict[str, Any], tmp_path: Path) -> None:
    assert built(tmp_path, metrics) == built(tmp_path, metrics)


def test_micrographs_of_particles_have_a_section(metrics: dict[str, Any], tmp_path: Path) -> None:
    assert 'id="micrographs"' not in built(tmp_path, metrics)
    whole = metrics | {"n": 3, "accuracy": 0.75, "n_nothing_found": 2}
    text = built(tmp_path, metrics | {"level": "particle", "micrographs": whole})
    assert "Of 3 micrographs, the class that most of the particles of each were given" in text
    assert "Balanced accuracy 0.625 (95% interval" in text and "Nothing was found in 2: counted as wrong." in text
    assert text.count("Confusion matrix, counts of 6 samples") == 2
    held = " ".join(re.sub("<[^>]*>", " ", text[text.index('id="paper"') : text.index('id="training"')]).split())
    assert "accuracy, Xception 0.75 not stated accuracy, of micrographs 0.750 3 micrographs" in held, (
        "as the paper's is"
    )


def test_without_curves_and_with_nothing_scored(metrics: dict[str, Any], tmp_path: Path) -> None:
    nothing = {"accuracy": None, "balanced_accuracy": None, "accuracy_interval": None, "n": 0, "n_without_class": 6,
               "balanced_accuracy_interval": None, "red_flags": ["no micrograph has a class"]}  # fmt: skip
    text = built(tmp_path, metrics | nothing, pd.DataFrame({"step": []}))
    assert "no training curves" in text and "6 micrographs hold no particle" in text


@pytest.mark.parametrize(
    ("weights", "words"),
    [("none", "random weights"), ("imagenet", "ImageNet's weights"), ("a.ckpt", "the checkpoint a.ckpt"), (None, None)],
)
def test_the_start_is_named(weights: str | None, words: str | None) -> None:
    assert start({"start": weights}) == words

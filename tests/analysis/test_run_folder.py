"""The folder of a run, given to an analysis: it sees what the run saw, and counts what its validation said to count."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tem_seg.analysis import segment
from tem_seg.analysis.run_folder import of_run
from tem_seg.analysis.segment import load
from tem_seg.core.errors import UserError
from tem_seg.data import coco
from tem_seg.data.images import read_micrograph

pytestmark = pytest.mark.timeout(600)
LOOKS = ("prediction.scales=[0.7,1.0]", "prediction.finest=2.0")
SMALL = (
    "experiment=gold_aunp", "profile=smoke", "generation.image_size=[192,192]", "prediction.train_images=1",
    "trainer.threads=1", "trainer.precision=32-true", "stages=[generate,predict,evaluate]",
    "evaluation.class_agnostic=true", "budgets.smoke.images={train: 4, val: 4, test: 2}",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the package's weights, with looks that are not theirs: the calibration is that of this run."""
    folder = tmp_path_factory.mktemp("finished")
    command = [sys.executable, "-m", "tem_seg.run", *SMALL, *LOOKS, "model=starter", f"run_dir={folder / 'run'}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TEM_SEG_OUTPUTS": str(folder / "outputs")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "run"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def changed(file: Path, **info: Any) -> None:
    content = json.loads(file.read_text())
    content["info"] |= info
    file.write_text(json.dumps(content))


def test_an_analysis_finds_what_the_run_found(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "fast_bfloat16", lambda: False)
    ready = load(str(finished))
    metrics = json.loads((finished / "metrics.json").read_text())
    assert ready.min_score == metrics["at_iou50"]["best"]["score"] and "validation" in ready.score_source
    assert ready.calibration["edge_sd_factor"] == metrics["calibration"]["edge_sd_factor"] is not None
    predicted = json.loads((finished / "predictions.json").read_text())
    dataset = coco.read(Path(predicted["info"]["dataset"]))
    total = 0
    for image in dataset.images:
        rows, capped = ready(read_micrograph(image.path).pixels)
        there = [row for row in predicted["results"] if row["image_id"] == image.id and row["score"] >= ready.min_score]
        counted = [row for row in rows if row["score"] >= ready.min_score]
        assert [row["segmentation"] for row in counted] == [row["segmentation"] for row in there]
        assert [row["score"] for row in counted] == [row["score"] for row in there] and not capped
        total += len(counted)
    assert total > 4


def test_it_looks_as_the_run_did_unless_told(finished: Path) -> None:
    look = load(str(finished)).predictor
    assert (look.scales, look.finest, look.find_scale, look.augment) == ((0.7, 1.0), 2.0, False, "none")
    given = load(str(finished), magnification=2.0).predictor
    assert (given.scales, given.finest) == ((2.0,), None)
    assert load(str(finished), 0.9).score_source == "given (--min-score)"


def test_a_run_that_was_moved_has_its_checkpoint_beside_it(copied: Path) -> None:
    named, about = of_run(copied)
    assert named.name == "starter.safetensors" and about["counting_score"] > 0
    (copied / "checkpoints").mkdir()
    shutil.copy(named, copied / "checkpoints")
    assert of_run(copied)[0] == copied / "checkpoints" / named.name


def test_views_that_are_averaged_are_seen_whole(copied: Path) -> None:
    content = json.loads((copied / "metrics.json").read_text())
    content["calibration"]["look"]["augment"] = "flip"
    (copied / "metrics.json").write_text(json.dumps(content))
    look = load(str(copied)).predictor
    assert look.augment == "flip" and look.min_score == 0.05


def test_a_run_without_validation_says_so(copied: Path) -> None:
    content = json.loads((copied / "metrics.json").read_text())
    content["at_iou50"]["best"] = None
    content["calibration"] |= {"temperature": None, "bias": None}
    (copied / "metrics.json").write_text(json.dumps(content))
    ready = load(str(copied))
    assert ready.min_score == 0.5 and "no calibration" in ready.score_source


@pytest.mark.parametrize("missing", ["predictions.json", "metrics.json"])
def test_a_folder_that_is_no_evaluated_run(copied: Path, missing: str) -> None:
    (copied / missing).unlink()
    with pytest.raises(
        UserError, match=rf"no run that was evaluated, it has no {missing}: .*stages=\[predict,evaluate"
    ):
        load(str(copied))


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"task": "classification"}, "of a classifier, which finds no particles"),
        ({"checkpoint": None, "ensemble": ["a/last.ckpt", "b/last.ckpt"]}, "of an ensemble.*a/last.ckpt"),
        ({"checkpoint": None}, "of a model without weights"),
    ],
)
def test_runs_without_one_checkpoint_that_finds_particles(copied: Path, info: dict[str, Any], said: str) -> None:
    changed(copied / "predictions.json", **info)
    with pytest.raises(UserError, match=said):
        load(str(copied))


def test_a_run_of_before_looks_were_written_down(copied: Path) -> None:
    content = json.loads((copied / "metrics.json").read_text())
    del content["calibration"]["look"]
    (copied / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="does not say how it looked"):
        load(str(copied))

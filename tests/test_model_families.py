"""Models that are no R-CNNs, through the whole program: the same stages, the same files."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.timeout(600)
SMALL = (
    "experiment=gold_aunp", "profile=smoke", "generation.image_size=[96,96]", "train.crop.crop_px=64",
    "prediction.train_images=1", "trainer.threads=1",
)  # fmt: skip
NEEDS_MORE = {"unet": "segmentation_models_pytorch"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TEM_SEG_OUTPUTS": str(folder / "outputs")}
    command = [sys.executable, "-m", "tem_seg.run", *SMALL, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.parametrize("model", ["unet", "multires_unet", "stardist"])
def test_what_learns_leaves_the_files_of_every_model(tmp_path: Path, model: str) -> None:
    if (package := NEEDS_MORE.get(model)) and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    said = run(tmp_path, f"model={model}", f"run_dir={tmp_path / 'run'}")
    assert said.returncode == 0 and not said.stderr.strip(), said.stderr
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert names == {
        ".lock", "run.json", "datasets.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.csv",
        "metrics.json", "predictions.json", "predictions_val.json", "predictions_train.json", "particles.csv",
        "particles_truth.csv", "agglomerates.csv", "measurement.json", "report.html",
    }  # fmt: skip
    stages = read(tmp_path / "run" / "run.json")["stages"]
    assert stages["train"]["backend"] == stages["predict"]["backend"] == "torch"


def test_what_learns_nothing_says_so_and_predicts(tmp_path: Path) -> None:
    said = run(tmp_path, "model=classical", f"run_dir={tmp_path / 'run'}", "generation.image_size=[256,256]")
    assert said.returncode == 0 and not said.stderr.strip(), said.stderr
    assert "classical has nothing to learn: no training" in said.stdout
    assert not (tmp_path / "run" / "checkpoints").exists()
    found = read(tmp_path / "run" / "predictions.json")
    assert found["info"]["checkpoint"] is None and found["info"]["backend"] == "opencv"
    assert (tmp_path / "run" / "particles.csv").is_file() and (tmp_path / "run" / "report.html").is_file()
    if found["results"]:
        assert {"bbox", "score", "segmentation", "image_id", "category_id"} <= set(found["results"][0])


@pytest.mark.parametrize("model", ["multires_unet", "stardist"])
def test_micrographs_smaller_than_the_networks_stride_and_without_contrast(tmp_path: Path, model: str) -> None:
    """Six of 20 × 24 px, all of one grey, a particle of one class in each: nothing can be learnt, nothing fails."""
    label = np.zeros((20, 24), np.uint8)
    label[5:15, 6:18] = 1
    for folder, values in (("images", np.full((20, 24), 128, np.uint8)), ("masks", label)):
        (tmp_path / folder).mkdir()
        for k in range(6):
            assert cv2.imwrite(str(tmp_path / folder / f"{k}.png"), values)
    said = run(
        tmp_path, f"model={model}", f"run_dir={tmp_path / 'run'}", "dataset=mask_pairs", "evaluation.whole_image=true",
        f"dataset.reader.images={tmp_path / 'images'}", f"dataset.reader.masks={tmp_path / 'masks'}",
        "dataset.reader.splits={train: 0.34, val: 0.33, test: 0.33}",
    )  # fmt: skip
    assert said.returncode == 0 and not said.stderr.strip(), said.stderr
    whole = read(tmp_path / "run" / "metrics.json")["whole_image"]
    assert whole["n_images"] == 2 and 0 <= whole["image_iou"] <= 1

"""A classifier through the whole program, on micrographs made here; then asked about what a segmentation found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tem_seg.data import coco, rle
from tem_seg.data.images import write_png

pytest.importorskip("timm")
SIDES = ((24, 24), (40, 10))
"""Height and width of a square and of a bar, px."""


def split(folder: Path, count: int) -> Path:
    """Micrographs of squares and of bars, in turn, dark on noise, with their annotations."""
    rng, images, annotations = np.random.default_rng(count), [], []
    for k in range(count):
        pixels = rng.normal(170, 6, (128, 128))
        for x, y in ((12, 14), (70, 60), (20, 74)):
            h, w = SIDES[k % 2]
            mask = np.zeros(pixels.shape, bool)
            mask[y : y + h, x : x + w] = True
            pixels[mask] -= 100
            annotations.append(coco.annotation_of(rle.encode(mask), k + 1, k % 2 + 1, len(annotations) + 1))
        write_png(folder / f"{k}.png", pixels.clip(0, 255).astype(np.uint8))
        images.append({"id": k + 1, "file_name": f"{k}.png", "height": 128, "width": 128})
    coco.write(folder / "dataset.json", images, annotations, ["square", "bar"])
    return folder / "dataset.json"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    data = [f"dataset.reader.{name}={folder / name / 'dataset.json'}" for name in ("train", "val", "test")]
    command = [sys.executable, "-m", "tem_seg.run", "experiment=emps_mask_rcnn", "dataset=coco", "profile=smoke", *data]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TEM_SEG_OUTPUTS": str(folder / "outputs")}
    return subprocess.run(
        [*command, "dataset.limit=null", "trainer.threads=1", *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.timeout(600)
def test_it_trains_scores_reports_and_names_what_a_segmentation_found(tmp_path: Path) -> None:
    for name, count in (("train", 6), ("val", 4), ("test", 4)):
        split(tmp_path / name, count)
    stages = "stages=[generate,train,predict,evaluate,report]"
    said = run(tmp_path, "model=classifier", f"run_dir={tmp_path / 'run'}", stages)
    assert said.returncode == 0 and not said.stderr.strip(), said.stderr
    assert "balanced accuracy" in said.stdout and "4 samples" in said.stdout
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert names == {
        ".lock", "run.json", "datasets.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.csv",
        "metrics.json", "predictions.json", "predictions_val.json", "predictions_train.json", "report.html",
    }  # fmt: skip
    metrics = read(tmp_path / "run" / "metrics.json")
    assert (metrics["task"], metrics["n"], metrics["start"]) == ("classification", 4, "none")
    assert [metrics["per_class"][name]["n"] for name in ("square", "bar")] == [2, 2]

    refused = run(tmp_path, "model=classifier", f"run_dir={tmp_path / 'measured'}")
    assert refused.returncode == 2 and "a classifier finds no particles to measure" in refused.stderr

    shapes = f"classifier.checkpoint={tmp_path / 'run/checkpoints/last.ckpt'}"
    stages = "stages=[generate,predict,evaluate,measure,report]"
    agnostic = "evaluation.class_agnostic=true"
    said = run(tmp_path, "model=classical", agnostic, shapes, f"run_dir={tmp_path / 'found'}", stages)
    assert said.returncode == 0, said.stderr
    table = pd.read_csv(tmp_path / "found" / "particles.csv")
    assert len(table) and set(table["shape_predicted"]) <= {"square", "bar"}
    assert table["shape_probability"].between(0.5, 1.0).all()
    assert read(tmp_path / "found" / "predictions.json")["info"]["classifier"]["categories"] == ["square", "bar"]
    shapes = read(tmp_path / "found" / "metrics.json")["shapes"]
    assert shapes["n"] == 4 and sum(map(sum, shapes["confusion"]["counts"])) == 4 - shapes["n_nothing_found"]
    page = (tmp_path / "found" / "report.html").read_text()
    assert 'id="shapes"' in page and "Of 4 micrographs, the class that most of the particles found" in page

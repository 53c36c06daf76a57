"""Datasets of boxes alone, through the stages: read, evaluated, measured, reported; masks are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tem_seg.config import check, schema
from tem_seg.core.errors import UserError
from tem_seg.core.geometry import canonical_rotated_boxes, enclosing_boxes, rotated_boxes_corners
from tem_seg.data import coco
from tem_seg.data import results as results_file
from tem_seg.data.images import write_png
from tem_seg.stages import evaluate, generate, measure, report, train

SIDE = 120
LAYOUTS = {
    "labelimg_kitti": lambda b: f"0 {b[0]} {b[1]} {b[2]} {b[3]} {-np.deg2rad(b[4])}",
    "yolo_boxes": lambda b: "0 " + " ".join(str(v / SIDE) for v in _centred(b)),
}


def _centred(box: np.ndarray) -> np.ndarray:
    x, y, right, low = enclosing_boxes(box[None])[0]
    return np.array([(x + right) / 2, (y + low) / 2, right - x, low - y])


def files(folder: Path, layout: str) -> Path:
    """Six images of three rods, the last without any."""
    rng = np.random.default_rng(0)
    for image in range(6):
        write_png(folder / f"images/{image}.png", rng.integers(0, 255, (SIDE, SIDE), dtype=np.uint8))
        places = [(30, 30), (80, 40), (60, 90)] if image < 5 else []
        rods = [np.array([x, y, 8, 24 + image, rng.uniform(-90, 90)]) for x, y in places]
        (folder / "labels").mkdir(exist_ok=True)
        (folder / f"labels/{image}.txt").write_text("\n".join(LAYOUTS[layout](rod) for rod in rods))
    (folder / "labels/classes.txt").write_text("rod\n")
    return folder


def composed(tmp_path: Path, layout: str, *overrides: str) -> DictConfig:
    schema.register()
    files(tmp_path / "data", layout)
    given = [
        "experiment=emps_mask_rcnn", "profile=smoke", f"dataset={layout}",
        f"dataset.reader.images={tmp_path}/data/images",
        f"dataset.reader.labels={tmp_path}/data/labels", "dataset.pixel_size_nm=0.5",
        "dataset.reader.splits={train: 0.34, val: 0.33, test: 0.33}", f"paths.outputs={tmp_path}/outputs", *overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        cfg = compose("config", given)
    check.check(cfg)
    return cfg


def predict(run_dir: Path, rotated: bool) -> None:
    """Perfect predictions of the test and validation splits, but for one that is invented."""
    paths = json.loads((run_dir / "datasets.json").read_text())
    for split, name in (("test", "predictions.json"), ("val", "predictions_val.json")):
        dataset = coco.read(Path(paths[split]))
        keys = ("image_id", "category_id", "bbox", *(["rotated_box"] if rotated else []))
        rows: list[dict[str, Any]] = [
            {key: entry[key] for key in keys} | {"score": 0.95}
            for found in dataset.annotations.values()
            for entry in found
        ]
        wrong = {"bbox": [100, 100, 8, 8], "rotated_box": [104, 104, 8, 8, 0]}
        rows.append({"image_id": dataset.images[0].id, "category_id": 1, "score": 0.4}
                    | {key: wrong[key] for key in keys if key in wrong})  # fmt: skip
        results_file.write(run_dir / name, rows, {"image_ids": [image.id for image in dataset.images]})


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    return tmp_path / "run"


def test_rotated_boxes_from_files_to_report(tmp_path: Path, run_dir: Path) -> None:
    cfg = composed(tmp_path, "labelimg_kitti")
    generate.run(cfg, run_dir)
    predict(run_dir, rotated=True)
    evaluate.run(cfg, run_dir)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert (metrics["headline"], metrics["ap"], metrics["rotated"]["ap50"], metrics["f1"]) == ("rotated", 1.0, 1.0, 1.0)
    assert metrics["segm"] is None and metrics["bbox"]["ap"] == 1.0
    measure.run(cfg, run_dir)
    measured, truth = (pd.read_csv(run_dir / name) for name in ("particles.csv", "particles_truth.csv"))
    assert len(measured) == len(truth) == metrics["n_truths"] > 2
    assert sorted(measured["min_feret_nm"]) == pytest.approx([4.0] * len(measured), abs=1e-3)
    assert (measured["max_feret_nm"] >= 12.0 - 1e-3).all() and measured["area_nm2"].isna().all()
    report.run(cfg, run_dir)
    page = (run_dir / "report.html").read_text()
    assert "rotated boxes, IoU 0.50:0.95" in page and "The predictions hold rotated boxes without masks" in page
    assert "Length" in page and "predicted length is off by" in page and "× 4 nm" in page


def test_upright_boxes_are_evaluated_and_reported_but_not_measured(tmp_path: Path, run_dir: Path) -> None:
    cfg = composed(tmp_path, "yolo_boxes")
    generate.run(cfg, run_dir)
    predict(run_dir, rotated=False)
    evaluate.run(cfg, run_dir)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert (metrics["headline"], metrics["ap"], metrics["f1"], "rotated" in metrics) == ("bbox", 1.0, 1.0, False)
    with pytest.raises(UserError, match="the predictions hold upright boxes: sizes are measured on masks or rotated"):
        measure.run(cfg, run_dir)
    report.run(cfg, run_dir)
    assert "boxes are drawn" in (run_dir / "report.html").read_text()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_with_masks_is_refused_before_it_is_built(layout: str, tmp_path: Path, run_dir: Path) -> None:
    cfg = composed(tmp_path, layout)
    generate.run(cfg, run_dir)
    with pytest.raises(UserError, match="training a model with masks needs masks, but .* boxes without"):
        train.run(cfg, run_dir)


def test_boxes_on_a_contact_sheet(tmp_path: Path, run_dir: Path) -> None:
    generate.run(composed(tmp_path, "labelimg_kitti", "generation.contact_sheet=true"), run_dir)
    assert (run_dir / "contact_sheet.png").is_file()


def test_what_is_written_is_what_was_annotated(tmp_path: Path, run_dir: Path) -> None:
    generate.run(composed(tmp_path, "labelimg_kitti"), run_dir)
    for path in json.loads((run_dir / "datasets.json").read_text()).values():
        dataset = coco.read(Path(path))
        for image in dataset.images:
            lines = (tmp_path / f"data/labels/{image.path.stem}.txt").read_text().split("\n")
            boxes = np.array([[float(v) for v in line.split()[1:]] for line in lines if line]).reshape(-1, 5)
            boxes[:, 4] = -np.rad2deg(boxes[:, 4])
            read = np.array([entry["rotated_box"] for entry in dataset.annotations[image.id]]).reshape(-1, 5)
            np.testing.assert_allclose(rotated_boxes_corners(read), rotated_boxes_corners(
                canonical_rotated_boxes(boxes)), atol=1e-6)  # fmt: skip

"""Calibration through the stages: fitted on validation, written by evaluate, applied by measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from scipy.special import expit, logit

from tem_seg.config import check, schema
from tem_seg.data import coco, rle
from tem_seg.data import results as results_file
from tem_seg.stages import evaluate, measure

SIZE = (64, 64)
BLACK = cv2.imencode(".png", np.zeros(SIZE, np.uint8))[1].tobytes()
TEMPERATURE, FACTOR, PIXEL_NM = 2.0, 3.0, 0.5


def disc(radius: float) -> Any:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return rle.encode((rows - 32) ** 2 + (columns - 32) ** 2 <= radius**2)


def outline(radius: float) -> list[list[float]]:
    angle = np.arange(90) / 90 * 2 * np.pi
    return np.round(32 + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1), 1).tolist()


def split_of(folder: Path, split: str, count: int, seed: int) -> list[dict[str, Any]]:
    """A disc an image. A prediction is right with the probability that the score has at TEMPERATURE; it claims an
    edge FACTOR times too sure."""
    rng = np.random.default_rng(seed)
    images, annotations, results = [], [], []
    (folder / split).mkdir()
    for image in range(1, count + 1):
        images.append(
            {"id": image, "file_name": f"{image}.png", "height": 64, "width": 64, "pixel_size_nm": PIXEL_NM,
             "pixel_size_source": "override"}
        )  # fmt: skip
        annotations.append(coco.annotation_of(disc(20), image, 1, image))
        score, sd = float(rng.beta(0.8, 0.8)), float(rng.uniform(0.2, 0.4))
        right = rng.random() < expit(logit(score) / TEMPERATURE)
        radius = 20 + rng.normal(0, FACTOR * sd) if right else 6
        results.append(
            {"image_id": image, "category_id": 1, "bbox": [12, 12, 40, 40], "score": round(score, 5),
             "segmentation": disc(20 if right else 6), "contour": outline(radius), "edge_sd_px": round(sd, 3)}
        )  # fmt: skip
        (folder / split / f"{image}.png").write_bytes(BLACK)
    coco.write(folder / split / "dataset.json", images, annotations, ["particle"])
    return results


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    schema.register()
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose(
            "config", ["experiment=emps_mask_rcnn", "profile=smoke", "dataset.limit=null", f"paths.outputs={tmp_path}"]
        )


def run_of(folder: Path, **counts: int) -> Path:
    paths = {}
    for seed, (split, count) in enumerate(counts.items()):
        results = split_of(folder, split, count, seed)
        name = "predictions.json" if split == "test" else f"predictions_{split}.json"
        results_file.write(folder / name, results, {"image_ids": list(range(1, count + 1))})
        paths[split] = str(folder / split / "dataset.json")
    (folder / "datasets.json").write_text(json.dumps(paths))
    return folder


def test_scores_and_edges_are_calibrated_and_measured(cfg: DictConfig, tmp_path: Path) -> None:
    cfg.measurement.min_score = 0.0
    run_dir = run_of(tmp_path, val=600, test=300)
    evaluate.run(cfg, run_dir)
    measure.run(cfg, run_dir)
    found = json.loads((run_dir / "metrics.json").read_text())["calibration"]
    assert found["temperature"] == pytest.approx(TEMPERATURE, rel=0.25)
    assert found["n"] == 600 and len(found["bins"]) == 10 and found["note"] is None
    assert found["ece_after"] < found["ece_before"]
    assert found["edge_sd_factor"] == pytest.approx(FACTOR, rel=0.2) and found["edge_note"] is None
    table, rows = pd.read_csv(run_dir / "particles.csv"), results_file.read(run_dir / "predictions.json")[0]
    assert len(table) == 300
    score = np.array([row["score"] for row in rows])
    wanted = expit(logit(score.clip(5e-6, 1 - 5e-6)) / found["temperature"] + found["bias"])
    np.testing.assert_allclose(table["confidence"], wanted)
    sd_nm = np.array([row["edge_sd_px"] for row in rows]) * found["edge_sd_factor"] * PIXEL_NM
    np.testing.assert_allclose(table["edge_sd_nm"], sd_nm)
    assert "edge_sd_px" not in table.columns


def test_without_validation_nothing_is_made_up(cfg: DictConfig, tmp_path: Path) -> None:
    cfg.measurement.min_score = 0.0
    run_dir = run_of(tmp_path, test=12)
    evaluate.run(cfg, run_dir)
    measure.run(cfg, run_dir)
    found = json.loads((run_dir / "metrics.json").read_text())["calibration"]
    assert found["temperature"] is found["fitted_on"] is None and found["edge_sd_factor"] is None
    assert "no validation predictions" in found["note"] and "no validation predictions" in found["edge_note"]
    table = pd.read_csv(run_dir / "particles.csv")
    assert len(table) == 12 and not {"confidence", "edge_sd_px", "edge_sd_nm"} & set(table.columns)


CARRIED = {
    "temperature": 2.0, "bias": -0.5, "n": 900, "n_true": 600, "edge_sd_factor": 1.5, "edge_n": 500, "edge_note": None,
    "fitted_on": "another split", "look": {"scales": None, "augment": "none"},
}  # fmt: skip


def with_carried(run_dir: Path) -> None:
    """As the predict stage leaves predictions of weights that carry a calibration."""
    rows, info = results_file.read(run_dir / "predictions.json")
    carried = {"look": CARRIED["look"], "counting_score": 0.625, "calibration": CARRIED}
    results_file.write(run_dir / "predictions.json", rows, info | carried)


@pytest.mark.parametrize("evaluated", [True, False])
@pytest.mark.parametrize("validation", [0, 12])
def test_what_weights_carry_holds_where_nothing_can_be_fitted(
    cfg: DictConfig, tmp_path: Path, evaluated: bool, validation: int
) -> None:
    run_dir = run_of(tmp_path, test=40, **({"val": validation} if validation else {}))
    with_carried(run_dir)
    if evaluated:
        evaluate.run(cfg, run_dir)
        found = json.loads((run_dir / "metrics.json").read_text())
        assert found["at_iou50"]["best"]["score"] == 0.625
        assert found["calibration"]["fitted_on"] == "another split" and found["calibration"]["note"] is None
        assert {key: found["calibration"][key] for key in CARRIED} == CARRIED
        assert not any("no F1-best score" in flag for flag in found["red_flags"])
    assert measure.run(cfg, run_dir)["min_score"] == measure.chosen_score(cfg, run_dir) == 0.625
    table = pd.read_csv(run_dir / "particles.csv")
    assert 5 < len(table) < 40 and (table["score"] >= 0.625).all()
    np.testing.assert_allclose(table["confidence"], expit(logit(table["score"]) / 2 - 0.5))
    assert table["edge_sd_nm"].between(0.2 * 1.5 * PIXEL_NM, 0.4 * 1.5 * PIXEL_NM).all()


def test_a_runs_own_validation_comes_first(cfg: DictConfig, tmp_path: Path) -> None:
    run_dir = run_of(tmp_path, val=300, test=40)
    with_carried(run_dir)
    evaluate.run(cfg, run_dir)
    found = json.loads((run_dir / "metrics.json").read_text())
    assert found["calibration"]["fitted_on"] == "validation" and found["calibration"]["n"] == 300
    assert found["calibration"]["edge_n"] != 500 and found["at_iou50"]["best"]["score"] != 0.625

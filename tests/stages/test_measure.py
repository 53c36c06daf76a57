"""The measure stage: its tables, measurement.json and what it prints, by the counting rules of the config."""

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

from tem_seg.config import check, schema
from tem_seg.core.errors import UserError
from tem_seg.data import coco, rle
from tem_seg.data import results as results_file
from tem_seg.stages import measure

SIZE, PIXEL_NM = (200, 240), 0.5
PLACES = ((30, 30), (120, 60), (132, 60), (200, 150), (236, 100), (60, 140))
"""Discs of 12 px: the second and third touch, the fifth is cut by the border."""


def config(tmp_path: Path, *overrides: str) -> DictConfig:
    schema.register()
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        given = ["experiment=emps_mask_rcnn", "profile=smoke", "dataset.limit=null", f"paths.outputs={tmp_path}"]
        cfg = compose("config", [*given, "measurement.min_score=0.5", *overrides])
    check.check(cfg)
    return cfg


def run_of(folder: Path, calibrated: bool = True) -> Path:
    """A run with one test micrograph of bright discs on grey, and predictions a pixel smaller."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    masks = [(columns - x) ** 2 + (rows - y) ** 2 <= 36 for x, y in PLACES]
    smaller = [(columns - x) ** 2 + (rows - y) ** 2 <= 30.25 for x, y in PLACES]
    pixels = np.where(np.any(masks, axis=0), 200, 50).astype(np.uint8)
    (folder / "test").mkdir()
    cv2.imwrite(str(folder / "test" / "a.png"), pixels)
    image: dict[str, Any] = {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}
    image |= {"pixel_size_nm": PIXEL_NM, "pixel_size_source": "override"} if calibrated else {}
    annotations = [coco.annotation_of(rle.encode(mask), 1, 1, k + 1) for k, mask in enumerate(masks)]
    coco.write(folder / "test" / "dataset.json", [image], annotations, ["particle"])
    results = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.9 - 0.01 * k,
                "segmentation": rle.encode(mask)} for k, mask in enumerate(smaller)]  # fmt: skip
    results_file.write(folder / "predictions.json", results, {"image_ids": [1]})
    (folder / "datasets.json").write_text(json.dumps({"test": str(folder / "test" / "dataset.json")}))
    return folder


def test_tables_and_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = run_of(tmp_path)
    assert measure.run(config(tmp_path), run_dir) == {"min_score": 0.5, "particles": 6}
    table, truth = (pd.read_csv(run_dir / f"{name}.csv") for name in ("particles", "particles_truth"))
    assert list(table.columns) == list(truth.columns) and set(table["weight"]) == {1}
    assert truth["equivalent_diameter_nm"][0] == pytest.approx(6.0, rel=0.02)
    assert table["grey_mean"].tolist() == [200] * 6 and table["grey_background"].tolist() == [50] * 6
    assert truth["touches_particle"].tolist() == [False, True, True, False, False, False]
    assert set(truth["shape_class"].dropna()) <= {"round"} and set(truth["outline"]) == {"mask"}
    notes = json.loads((run_dir / "measurement.json").read_text())
    assert notes["rules"] == {"border": "keep", "touching": "count", "overlapping": "count", "aggregated": "count",
                              "neck": 0.7, "min_size_px": 0.0}  # fmt: skip
    assert notes["particles"]["effects"] == [] and notes["particles"]["counted"] == notes["particles"]["measured"] == 6
    lies = notes["particles_truth"]["arrangement"]["nm"]
    assert lies["agglomerates"]["by_particles"] == {"2": 1} and lies["ripley"] is None
    assert len(pd.read_csv(run_dir / "agglomerates.csv")) == 6
    feret = notes["against_truth"]["nm"]["min_feret"]  # one of six is cut by the border
    assert (feret["annotated"]["n"], feret["predicted"]["n"]) == (5, 5)
    medians = [frame.loc[~frame["touches_border"], "min_feret_nm"].median() for frame in (table, truth)]
    assert feret["median_relative"] == pytest.approx(medians[0] / medians[1] - 1)
    assert feret["difference"]["median"]["reason"].startswith("1 images")
    assert capsys.readouterr().out == ""


def test_rules_are_applied_written_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = run_of(tmp_path)
    cfg = config(tmp_path, "measurement.border=weight", "measurement.touching=exclude", "measurement.min_size_px=5",
                 "measurement.grey_levels=false")  # fmt: skip
    assert measure.run(cfg, run_dir)["particles"] == 5  # predictions are smaller and do not touch
    table, truth = (pd.read_csv(run_dir / f"{name}.csv") for name in ("particles", "particles_truth"))
    assert table["particle"].tolist() == [1, 2, 3, 4, 6] and truth["particle"].tolist() == [1, 4, 6]
    assert (table["weight"] > 1).all() and "grey_mean" not in table
    notes = json.loads((run_dir / "measurement.json").read_text())
    effects = [(e["rule"], e["setting"], e["removed"]) for e in notes["particles_truth"]["effects"]]
    assert effects == [
        ("min_size_px", "5", 0), ("touching", "exclude", 2), ("border", "exclude", 1), ("border", "weight", 0),
    ]  # fmt: skip
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].startswith("  border exclude: 6 → 5 (1 removed); median equivalent diameter 5.")
    assert len(printed) == 4


def test_the_same_run_measured_twice_is_the_same(tmp_path: Path) -> None:
    run_dir, found = run_of(tmp_path), []
    for _ in range(2):
        measure.run(config(tmp_path), run_dir)
        names = ("particles.csv", "particles_truth.csv", "measurement.json", "agglomerates.csv")
        found.append([(run_dir / name).read_bytes() for name in names])
    assert found[0] == found[1]


def test_without_a_calibration_everything_is_in_px(tmp_path: Path) -> None:
    run_dir = run_of(tmp_path, calibrated=False)
    measure.run(config(tmp_path, "measurement.border=exclude"), run_dir)
    assert not [name for name in pd.read_csv(run_dir / "particles.csv") if "_nm" in name and "pixel_size" not in name]
    notes = json.loads((run_dir / "measurement.json").read_text())
    assert list(notes["particles"]["arrangement"]) == ["px"]
    assert list(notes["particles"]["effects"][0]["median_after"]) == ["equivalent_diameter_px"]


def test_no_predictions_are_an_empty_table(tmp_path: Path) -> None:
    run_dir = run_of(tmp_path)
    results_file.write(run_dir / "predictions.json", [], {"image_ids": [1]})
    assert measure.run(config(tmp_path, "measurement.border=weight"), run_dir)["particles"] == 0
    assert len(pd.read_csv(run_dir / "particles.csv")) == 0 and len(pd.read_csv(run_dir / "agglomerates.csv")) == 0
    effect = json.loads((run_dir / "measurement.json").read_text())["particles"]["effects"][0]
    assert effect["median_after"] == {"equivalent_diameter_nm": None}


@pytest.mark.parametrize(
    ("override", "message"),
    [("measurement.neck=1.0", "measurement.neck must lie between 0 and 1"),
     ("measurement.min_size_px=-1", "measurement.min_size_px must be at least 0, got -1.0")],
)  # fmt: skip
def test_bad_rules_stop_before_any_work(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        config(tmp_path, override)

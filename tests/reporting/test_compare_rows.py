"""What a comparison of models shows, from runs whose figures are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest
from compare_scenes import run_of

from tem_seg.reporting.compare_figures import figure_tables
from tem_seg.reporting.compared import RunFiles, groups


def rows(*runs: RunFiles) -> dict[str, list[str]]:
    tables = figure_tables(groups(list(runs)))
    return {label: [cell.text for cell in cells] for table in tables for label, cells in table.rows}


def scored(fixed: float, reaching: int, **more: Any) -> RunFiles:
    at = {"best": {"f1": 0.8, "score": 0.4}, "fixed": {"f1": fixed, "score": 0.9}}
    boundary = {"iou": 0.7, "f1": 0.85, "bias_px": -0.5}
    figures = {"headline": "segm", "at_iou50": at, "segm_at_score": {"n_predictions": reaching}, "boundary": boundary}
    return run_of(metrics=figures | more, lr=fixed)


def test_each_model_counts_at_its_own_score() -> None:
    """What no prediction reaches says nothing: a dash, not an F1 of 0."""
    found = rows(scored(0.75, 12), scored(0.0, 0))
    assert found["F1, score chosen on validation"] == ["0.800", "0.800"]
    assert found["F1, the papers' score, where any reaches it"] == ["0.750", "–"]
    assert found["Boundary F1 of particles found"] == ["0.850", "0.850"]


def test_counts() -> None:
    found = rows(scored(0.7, 1, counts={"error_percent": -12.34, "image_error_percent": 20.0}), scored(0.6, 1))
    assert found["Count of particles off by, %"] == ["−12.3", "–"]
    assert found["Count of a micrograph's particles off by, % (mean)"] == ["20.0", "–"]


def sizes(*samples: list[float], border: int = 0) -> pd.DataFrame:
    """One micrograph a sample; its first ``border`` particles touch the border."""
    parts = [(image, size, place < border) for image, some in enumerate(samples) for place, size in enumerate(some)]
    return pd.DataFrame(parts, columns=["image_id", "equivalent_diameter_px", "touches_border"])


def measured(found: pd.DataFrame, true: pd.DataFrame | None, lr: float) -> RunFiles:
    return dataclasses.replace(run_of(lr=lr), particles=found, truth_particles=true)


def test_d50_is_of_whole_particles_by_number() -> None:
    """Pooled: of 10 × 10 and 9 × 30 px the median is 10. Of two micrographs with 10 (and 11, to the border) whole ones
    D50 is 10 and 30; the one with three particles has none."""
    true = sizes([99.0, *[10.0] * 10], [99.0, *[30.0] * 10], [99.0, 10.0, 10.0, 10.0], border=1)
    first = measured(sizes([11.0] * 3), true, 1)  # 11 for 10; nothing for 30
    second = measured(sizes([10.0] * 3, [33.0] * 9), true, 2)  # 33 for 10; 10 for 10 and 33 for 30
    found = rows(first, second)
    assert found["D50 error, % (diameter, by number, px)"] == ["10.0", "230.0"]
    assert found["D50 error of a micrograph, % (median, px)"] == ["55.0", "5.0"]


def test_what_models_cost() -> None:
    trained = {"train": {"wall_s": 90.0, "parameters_m": 1.5, "peak_memory_gb": 2.0},
               "predict": {"parameters_m": 1.5, "weights_mb": 6.04, "peak_memory_gb": 1.0}}  # fmt: skip
    classical = {"train": {"wall_s": 0.0}, "predict": {"parameters_m": 0.0, "weights_mb": 0.0, "peak_memory_gb": 0.5}}
    runs = [run_of(lr=k) for k in range(2)]
    for run, stages in zip(runs, (trained, classical), strict=True):
        run.run["stages"] = stages
    found = rows(*runs)
    assert found["Training, minutes"] == ["1.5", "0.0"] and found["Parameters, millions"] == ["1.50", "0.00"]
    assert found["Weights on disk, MB"] == ["6.0", "0.0"]
    assert found["Peak memory of prediction, GB"] == ["1.00", "0.50"]


@pytest.mark.parametrize("table", [None, sizes()], ids=["none", "empty"])
def test_without_annotation_there_is_no_error_of_d50(table: pd.DataFrame | None) -> None:
    found = rows(measured(sizes([11.0] * 3), table, 1), measured(sizes([11.0] * 3), table, 2))
    assert not [label for label in found if label.startswith("D50")] and found["Particles measured"] == ["3", "3"]

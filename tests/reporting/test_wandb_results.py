"""What goes into the W&B run at a job's end: masks and boxes by hand, and the lineage of a run that is online."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from compare_scenes import PLACES, SIZE, write_dataset, write_predictions, write_run
from wandb_offline import isolate

from tem_seg.reporting import wandb_results
from tem_seg.reporting.compared import RunFiles
from tem_seg.stages.compared import read_runs


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFiles:
    isolate(tmp_path / "home", monkeypatch)
    return read_runs([write_run(tmp_path / "run", write_dataset(tmp_path / "discs-0123"), missed=1)])[0]


class OnlineRun:
    """Stands in for a run that is connected, and remembers what it is given."""

    def __init__(self, offline: bool) -> None:
        self.offline, self.id = offline, "abcd1234"
        self.row: dict[str, Any] = {}
        self.used: list[Any] = []
        self.logged: list[Any] = []

    def log(self, row: dict[str, Any]) -> None:
        self.row |= row

    def use_artifact(self, artifact: Any) -> None:
        assert not self.offline, "W&B raises TypeError"
        self.used.append(artifact)

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self.logged.append((artifact, aliases))


def _with_dataset(files: RunFiles) -> RunFiles:
    folder = Path(files.info["dataset"]).parent.parent
    notes = {"dataset": str(folder), "dataset_digest": "0123", "data_sha256": {"test": "ff"}}
    return replace(files, run=files.run | {"stages": {"generate": notes}})


@pytest.mark.parametrize("offline", [False, True])
def test_lineage_where_it_is_to_be_had_and_the_digest_everywhere(
    files: RunFiles, tmp_path: Path, offline: bool
) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    run, files = OnlineRun(offline), _with_dataset(files)
    wandb_results.log_results(run, files, overlays=0, model=checkpoint)  # type: ignore[arg-type]
    ((model, aliases),) = run.logged
    assert (model.name, model.type, aliases) == ("model-discs", "model", ["abcd1234"])
    assert model.metadata["dataset_digest"] == "0123" and model.metadata["data_sha256"] == {"test": "ff"}
    assert [a.name for a in run.used] == ([] if offline else ["dataset-discs"])
    for artifact in run.used:
        assert artifact.type == "dataset" and artifact.metadata["data_sha256"] == {"test": "ff"}
        assert list(artifact.manifest.entries) == ["discs-0123/test/dataset.json"]


def test_without_a_training_there_is_no_model(files: RunFiles) -> None:
    run = OnlineRun(offline=False)
    wandb_results.log_results(run, files, overlays=1, model=None)  # type: ignore[arg-type]
    assert not run.logged and not run.used
    assert run.row["test/ap"] == 0.6 and run.row["trainer/global_step"] == 99 and len(run.row["test/overlays"]) == 1


def test_a_class_map_holds_the_class_where_a_particle_is(files: RunFiles) -> None:
    assert files.material is not None
    test = files.material.test
    drawn = wandb_results.class_map(test.annotations[2], test.images[1], test.category_ids)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = np.any([np.hypot(columns - x, rows - y) <= r for x, y, r in PLACES[2]], axis=0)
    assert drawn.dtype == np.uint8 and np.array_equal(drawn, inside)
    assert not wandb_results.class_map([], test.images[1], test.category_ids).any()


def test_of_rows_that_overlap_the_first_lies_on_top(files: RunFiles) -> None:
    assert files.material is not None
    image = files.material.test.images[0]
    large, small = ({"bbox": box, "category_id": c} for box, c in (([0, 0, 20, 20], 7), ([5, 5, 4, 4], 3)))
    assert wandb_results.class_map([small, large], image, [3, 7])[6, 6] == 1
    assert wandb_results.class_map([large, small], image, [3, 7])[6, 6] == 2


def test_large_micrographs_are_shrunk_with_their_masks(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.material is not None
    monkeypatch.setattr(wandb_results, "OVERLAY_PX", 64)
    test = files.material.test
    drawn = wandb_results.class_map(test.annotations[2], test.images[1], test.category_ids)
    assert drawn.shape == (48, 64) and set(np.unique(drawn)) == {0, 1}
    assert wandb_results._shrunk(np.zeros(SIZE, np.float32)).shape == (48, 64)


def test_boxes_are_shares_of_the_picture(files: RunFiles) -> None:
    assert files.material is not None
    row = {"bbox": [32, 24, 64, 48], "category_id": 1, "score": 0.876}
    (box,) = wandb_results.boxes([row], files.material.test.images[0], files.material)
    assert box == {"position": {"minX": 0.25, "maxX": 0.75, "minY": 0.25, "maxY": 0.75}, "class_id": 1,
                   "box_caption": "particle 0.88", "scores": {"score": 0.876}}  # fmt: skip


def test_sizes_leave_out_what_the_border_cuts(files: RunFiles) -> None:
    cut = files.particles.assign(touches_border=[True, False, False])
    found = wandb_results.sizes(replace(files, particles=cut))
    assert found["sizes/median_equivalent_diameter_nm"] == cut["equivalent_diameter_nm"][1:].median()
    assert sum(found["sizes/equivalent_diameter_nm"].histogram) == 2


def test_nothing_found_and_nothing_scored(files: RunFiles, tmp_path: Path) -> None:
    write_predictions(files.folder, Path(files.info["dataset"]), keep=False)
    (empty,) = read_runs([files.folder])
    run = OnlineRun(offline=True)
    bare = replace(empty, metrics={}, particles=pd.DataFrame(), curves=pd.DataFrame({"step": []}))
    wandb_results.log_results(run, bare, overlays=3, model=None)  # type: ignore[arg-type]
    assert "test/particles" not in run.row and "test/precision_recall" not in run.row
    assert run.row["trainer/global_step"] == 0 and len(run.row["test/overlays"]) == 3


def test_undefined_figures_are_left_out(files: RunFiles) -> None:
    metrics = {"ap": None, "ap50": float("nan"), "f1": 0.5, "flag": True, "curves": {"pr": {"score": [0.9]}}}
    figures = wandb_results.figures(replace(files, metrics=metrics))
    assert {key for key in figures if key.startswith("test/")} == {"test/f1"}
    assert figures["cost/train/wall_s"] == 60.0

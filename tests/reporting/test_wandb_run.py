"""``logger=wandb``: real, tiny jobs whose W&B runs are read back from disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from wandb_offline import OfflineRun, isolate, read_all_runs, read_only_run

from tem_seg.config import check, schema, targets
from tem_seg.core.errors import UserError
from tem_seg.stages import rundir, runner, tracking, train


def _config(folder: Path, *overrides: str) -> DictConfig:
    schema.register()
    chosen = ["experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", f"paths.outputs={folder / 'out'}"]
    tiny = ["budgets.smoke.images={train: 2, val: 3, test: 2}", "generation.image_size=[128, 128]", "trainer.threads=1",
            "measurement.min_score=0.05", "max_instances=20"]  # fmt: skip
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", [*chosen, *tiny, *overrides])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DictConfig, Path, OfflineRun]]:
    """One whole job, its run directory and what W&B holds of it."""
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(folder / "home", monkeypatch)
        cfg = _config(folder, "logger=wandb", "logger.panels=2", "dataset.limit=null")
        run_dir = runner.carry_out(cfg)
        yield cfg, run_dir, read_only_run(run_dir)


Job = tuple[DictConfig, Path, OfflineRun]


def test_a_job_is_one_run_grouped_and_tagged(job: Job) -> None:
    cfg, run_dir, run = job
    assert (run.project, run.group, run.exit_code) == ("tem_seg", "gold_aunp", 0)
    assert run.tags == ["smoke", "torchvision", "mask_rcnn"]
    plain = rundir.plain(cfg)
    assert {key: run.config[key] for key in plain} == plain
    noted = json.loads((run_dir / "run.json").read_text())
    assert noted["wandb"] == {"id": run.id, "project": "tem_seg", "url": None, "offline": True} and noted["finished"]


def test_losses_and_validation_figures_are_those_of_metrics_csv(job: Job) -> None:
    _, run_dir, run = job
    curves = pd.read_csv(run_dir / "metrics.csv").set_index("step")
    assert {"train/loss", "train/lr", "train/mask", "val/ap", "val/ap50", "train/ap"} <= set(curves.columns)
    for name in curves.columns:
        assert run.series(name) == pytest.approx(curves[name].dropna().to_dict()), name
    assert len(run.series("val/ap")) == 2, "one validation every 2 of 4 steps"
    assert run.series("val/panels.count") == dict.fromkeys(run.series("val/ap"), 2)
    for names in run.series("val/panels.filenames").values():
        assert all(cv2.imread(str(run.folder / "files" / name)).size for name in names)


def test_the_results_stand_in_one_row_at_the_last_step(job: Job) -> None:
    _, run_dir, run = job
    metrics, row = json.loads((run_dir / "metrics.json").read_text()), run.rows[-1]
    assert row["trainer/global_step"] == pd.read_csv(run_dir / "metrics.csv")["step"].max()
    figures = {"test/ap": metrics["ap"], "test/segm/ap50": metrics["segm"]["ap50"], "test/f1": metrics["f1"],
               "test/n_truths": metrics["n_truths"], "splits/val/ap": metrics["splits"]["val"]["ap"]}  # fmt: skip
    assert {name: row[name] for name in figures} == pytest.approx(figures)
    stages = json.loads((run_dir / "run.json").read_text())["stages"]
    assert {f"cost/{stage}/wall_s" for stage in stages if stage != "report"} <= set(row)
    assert row["cost/train/wall_s"] == stages["train"]["wall_s"]


def _table(run: OfflineRun, path: str) -> dict[str, Any]:
    return dict(json.loads((run.folder / "files" / path).read_text()))


def test_curves_are_tables_with_their_charts(job: Job) -> None:
    _, run_dir, run = job
    curves = json.loads((run_dir / "metrics.json").read_text())["curves"]
    for name, key in (("precision_recall", "pr"), ("f1_over_score", "f1")):
        table = _table(run, run.rows[-1][f"test/{name}_table.path"])
        columns = ["score", "precision", "recall", "f1"]
        assert table["columns"] == columns
        assert table["data"] == [list(row) for row in zip(*(curves[key][c] for c in columns), strict=True)]
        assert run.config[f"_wandb.visualize.test/{name}"]["panel_config"]["panelDefId"] == "wandb/line/v0"


def test_overlays_hold_masks_and_boxes_with_class_labels(job: Job) -> None:
    _, run_dir, run = job
    row = run.rows[-1]
    assert row["test/overlays.count"] == 2
    results = json.loads((run_dir / "predictions.json").read_text())["results"]
    shown = dict(zip(row["test/overlays.captions"], row["test/overlays.all_masks"], strict=True))
    for place, (caption, masks) in enumerate(shown.items()):
        image_id = int(caption.split(".png")[0]) + 1
        assert set(masks) == {"predicted", "annotated"}
        truth = cv2.imread(str(run.folder / "files" / masks["annotated"]["path"]), cv2.IMREAD_UNCHANGED)
        assert truth.shape == (128, 128) and set(np.unique(truth)) == {0, 1}, "class 1 where a particle is"
        boxes = _table(run, row["test/overlays.all_boxes"][place]["predicted"]["path"])["box_data"]
        assert len(boxes) == sum(r["image_id"] == image_id and r["score"] >= 0.05 for r in results)
        assert all(set(box["position"]) == {"minX", "maxX", "minY", "maxY"} for box in boxes)
        assert all(box["box_caption"] == f"particle {box['scores']['score']:.2f}" for box in boxes)
    for kind in ("mask/class_labels", "bounding_box/class_labels"):
        layers = run.config["_wandb"][kind]
        assert len(layers) == 2 and all(layer["value"] == {"1": "particle"} for layer in layers.values())


def test_sizes_are_histograms_and_all_particles_a_table(job: Job) -> None:
    _, run_dir, run = job
    particles = pd.read_csv(run_dir / "particles.csv")
    whole = particles[~particles["touches_border"]]["equivalent_diameter_nm"].dropna()
    row = run.rows[-1]
    assert sum(row["sizes/equivalent_diameter_nm.values"]) == len(whole) > 0
    assert row["sizes/equivalent_diameter_nm.bins"][0] == pytest.approx(whole.min())
    assert row["sizes/median_equivalent_diameter_nm"] == pytest.approx(whole.median())
    assert row["sizes/equivalent_diameter_nm_annotated.values"]
    table = _table(run, row["test/particles.path"])
    assert table["columns"] == list(particles.columns) and len(table["data"]) == len(particles)


def test_the_model_is_an_artifact_that_names_its_dataset(job: Job) -> None:
    _, run_dir, run = job
    artifact = run.artifacts["model"]
    assert artifact.name == "model-gold_aunp" and run.id in artifact.aliases
    metadata = json.loads(artifact.metadata)
    noted = json.loads((run_dir / "run.json").read_text())["stages"]["generate"]
    assert metadata["data_sha256"] == noted["data_sha256"] and set(metadata["data_sha256"]) == {"train", "val", "test"}
    assert metadata["dataset_digest"] == noted["dataset_digest"]
    assert (metadata["backend"], metadata["seed"], metadata["categories"]) == ("torchvision", 0, ["particle"])
    (file,) = artifact.manifest.contents
    assert file.path == "last.ckpt" and Path(file.local_path) == run_dir / "checkpoints" / "last.ckpt", "not copied"


def test_later_stages_go_on_with_the_run(job: Job) -> None:
    """The same id in a second part, which `wandb sync` sends after the first; curves are not logged twice."""
    cfg, run_dir, run = job
    again = _config(Path(cfg.paths.outputs).parent, "logger=wandb", "stages=[evaluate,report]", f"run_dir={run_dir}")
    runner.carry_out(again)
    parts = read_all_runs(run_dir)
    assert [part.id for part in parts] == [run.id] * 2 and parts[1].exit_code == 0
    assert parts[1].series("test/ap") == run.series("test/ap") and "train/loss" not in parts[1].rows[-1]


def test_jobs_in_one_process_do_not_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first fails in mid-training; the second is a run of its own, and has nothing of the first."""
    isolate(tmp_path / "home", monkeypatch)
    fast = ("logger=wandb", "logger.panels=0", "stages=[generate]")

    def fails(cfg: DictConfig, run_dir: Path) -> None:
        tracked = tracking.current()
        assert tracked is not None
        tracked.run.log({"train/loss": 7.0, "trainer/global_step": 1})
        raise UserError("diverged")

    with monkeypatch.context() as patch:
        patch.setattr("tem_seg.stages.generate.run", fails)
        with pytest.raises(UserError, match="diverged"):
            runner.carry_out(_config(tmp_path, *fast, "seed=1"))
    assert tracking.current() is None
    second = runner.carry_out(_config(tmp_path, *fast, "seed=2"))
    (first,) = [path.parent for path in second.parent.glob("*/run.json") if path.parent != second]
    one, other = read_only_run(first), read_only_run(second)
    assert (one.exit_code, other.exit_code) == (1, 0) and one.id != other.id
    assert one.series("train/loss") == {1: 7.0} and not other.artifacts
    assert one.config["seed"] == 1 and other.config["seed"] == 2
    assert not any("train/loss" in row for row in other.rows)


def test_the_csv_logger_adds_nothing(tmp_path: Path) -> None:
    cfg = _config(tmp_path)
    targets.check(cfg)
    assert train._logging(cfg) == (None, None)
    with tracking.session(cfg, tmp_path, record := {}):
        assert tracking.current() is None
    assert not record and not list(tmp_path.iterdir())


def test_a_process_started_beside_logs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path / "home", monkeypatch)
    cfg = _config(tmp_path, "logger=wandb")
    with tracking.session(cfg, tmp_path, {}):
        assert train._logging(cfg)[0] is not None
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert train._logging(cfg) == (None, None)
        monkeypatch.undo()

"""``logger=wandb``: a real, tiny training whose W&B run is read back from disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from wandb_offline import isolate, read_only_run

from tem_seg.config import check, schema
from tem_seg.stages import generate, rundir, train


def _config(folder: Path, *overrides: str) -> DictConfig:
    schema.register()
    chosen = ["experiment=gold_aunp", "profile=smoke", "model.backend=torchvision", f"paths.outputs={folder / 'out'}"]
    tiny = ["budgets.smoke.images={train: 2, val: 3, test: 1}", "generation.image_size=[128, 128]", "trainer.threads=1"]
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", [*chosen, *tiny, *overrides])


def test_a_training_logs_its_config_curves_and_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path / "home", monkeypatch)
    cfg = _config(tmp_path, "logger=wandb", "logger.panels=2", "dataset.limit=null")
    check.check(cfg)
    check.check_targets(cfg)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    generate.run(cfg, run_dir)
    train.run(cfg, run_dir)
    run = read_only_run(run_dir)
    assert (run.project, run.group, run.exit_code) == ("tem_seg", "gold_aunp", 0)
    plain = rundir.plain(cfg)
    assert {key: run.config[key] for key in plain} == plain
    curves = pd.read_csv(run_dir / "metrics.csv").set_index("step")
    assert {"train/loss", "train/lr", "train/mask", "val/ap", "val/ap50", "train/ap"} <= set(curves.columns)
    for name in curves.columns:
        assert run.series(name) == pytest.approx(curves[name].dropna().to_dict()), name
    assert len(run.series("val/ap")) == 2, "one validation every 2 of 4 steps"
    assert run.series("val/panels.count") == dict.fromkeys(run.series("val/ap"), 2)
    for names in run.series("val/panels.filenames").values():
        assert all(cv2.imread(str(run.folder / "files" / name)).size for name in names)


def test_the_csv_logger_adds_nothing(tmp_path: Path) -> None:
    cfg = _config(tmp_path)
    check.check_targets(cfg)
    with train._logging(cfg, tmp_path) as (logger, show):
        assert logger is None and show is None

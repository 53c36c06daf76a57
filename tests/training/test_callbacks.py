"""Curves that survive a resume, checkpoints that appear whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch.utils.data import DataLoader

from tem_seg.training.callbacks import AtomicCheckpointIO, AveragedWeights, CurveLogger, EndEarly, Progress


def test_curves_are_written_as_a_table(tmp_path: Path) -> None:
    curves = CurveLogger(tmp_path / "metrics.csv")
    curves.log_metrics({"train/loss": 2.5, "epoch": 0}, step=10)
    curves.log_metrics({"val/ap": 0.25, "epoch": 0}, step=20)
    curves.log_metrics({"train/loss": 1.5}, step=20)
    curves.finalize("success")
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert list(table.columns) == ["step", "train/loss", "val/ap"]
    assert table["step"].tolist() == [10, 20] and table["train/loss"].tolist() == [2.5, 1.5]
    assert pd.isna(table["val/ap"][0]) and table["val/ap"][1] == 0.25


def test_a_resumed_run_keeps_its_rows_and_writes_the_later_ones_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    first = CurveLogger(path)
    for step in (10, 20, 30):
        first.log_metrics({"train/loss": 100.0 - step}, step=step)
    first.save()
    again = CurveLogger(path)
    again.forget_after(20)
    again.log_metrics({"train/loss": 1.0, "val/ap": 0.5}, step=30)
    again.log_metrics({"train/loss": 0.5}, step=40)
    again.save()
    table = pd.read_csv(path)
    assert table["step"].tolist() == [10, 20, 30, 40]
    assert table["train/loss"].tolist() == [90.0, 80.0, 1.0, 0.5]


def test_reading_and_writing_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    curves = CurveLogger(path)
    curves.log_metrics({"a": 1 / 3, "b": float("nan"), "c": 1e-12}, step=1)
    curves.log_metrics({"a": 2.0}, step=2)
    curves.save()
    text = path.read_text()
    CurveLogger(path).save()
    assert path.read_text() == text
    assert pd.read_csv(path)["a"][0] == 1 / 3


def test_a_run_without_figures_leaves_an_empty_table(tmp_path: Path) -> None:
    CurveLogger(tmp_path / "metrics.csv").save()
    assert list(pd.read_csv(tmp_path / "metrics.csv").columns) == ["step"]


def test_a_checkpoint_replaces_the_old_one(tmp_path: Path) -> None:
    path, disk = tmp_path / "last.ckpt", AtomicCheckpointIO()
    disk.save_checkpoint({"state_dict": {"w": torch.zeros(3)}}, path)
    disk.save_checkpoint({"state_dict": {"w": torch.ones(3)}}, path)
    assert torch.load(path)["state_dict"]["w"].eq(1).all()
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, disk = tmp_path / "last.ckpt", AtomicCheckpointIO()
    disk.save_checkpoint({"state_dict": {"w": torch.zeros(3)}}, path)

    def disk_full(self: Any, checkpoint: Any, target: Any, storage_options: Any = None) -> None:
        Path(target).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", disk_full)
    with pytest.raises(OSError, match="No space left"):
        disk.save_checkpoint({"state_dict": {"w": torch.ones(3)}}, path)
    assert torch.load(path)["state_dict"]["w"].eq(0).all()
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def trainer_at(step: int, **figures: float) -> Any:
    metrics = {name: torch.tensor(value) for name, value in figures.items()}
    return SimpleNamespace(global_step=step, max_steps=100, is_global_zero=True, callback_metrics=metrics)


def test_progress_says_pace_and_time_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Progress(CurveLogger(tmp_path / "metrics.csv"), every_s=0.0)
    said.on_train_start(trainer_at(40), None)  # type: ignore[arg-type]
    said._start -= 40.0  # as if 40 s had passed
    said.on_train_batch_end(trainer_at(50, **{"train/loss": 1.25}), None)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "  step 50/100  loss 1.250  4.00 s a step  3 min left\n"


def test_progress_waits_for_the_first_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Progress(CurveLogger(tmp_path / "metrics.csv"), every_s=0.0)
    said.on_train_start(trainer_at(40), None)  # type: ignore[arg-type]
    said.on_train_batch_end(trainer_at(41), None)  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""


def test_progress_keeps_quiet_between(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Progress(CurveLogger(tmp_path / "metrics.csv"), every_s=60.0)
    said.on_train_start(trainer_at(0), None)  # type: ignore[arg-type]
    said.on_train_batch_end(trainer_at(1), None)  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""


def test_validation_figures_are_said_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curves = CurveLogger(tmp_path / "metrics.csv")
    figures = {"val/ap": 0.5, "train/ap": 0.75, "train/loss": 1.0}
    Progress(curves).on_validation_end(trainer_at(60, **figures), None)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "  step 60/100  train/ap 0.750  val/ap 0.500\n"
    assert curves.path.is_file()


class Counter(L.LightningModule):
    """One weight, which every step raises by 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=1.0)

    def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
        return -self.weight.sum()


def test_weights_are_averaged_every_few_steps(tmp_path: Path) -> None:
    module = Counter()
    averaged = AveragedWeights(decay=0.9, every=4)
    trainer = L.Trainer(max_steps=10, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[averaged],
                        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path)  # fmt: skip
    trainer.fit(module, DataLoader(range(20)))  # type: ignore[arg-type]
    # after steps 1, 5 and 9 the weight is 1, 5 and 9: the first is taken as it is, then the window grows: 2/11, 3/12
    assert 3 / 12 < 0.9**4
    expected = 3 / 12 * (2 / 11 * 1 + 9 / 11 * 5) + 9 / 12 * 9
    assert module.weight.item() == pytest.approx(expected)


class Validated(Counter):
    """Its figure is the number of steps."""

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self.log("val/ap", float(self.weight))


@pytest.mark.parametrize(("end_at", "steps"), [(4, 4), (8, 8), (99, 8)])
def test_a_training_ends_after_the_validation_that_says_so(tmp_path: Path, end_at: int, steps: int) -> None:
    asked: list[tuple[int, float, bool]] = []

    def falls_behind(step: int, figures: dict[str, float], last: bool) -> bool:
        asked.append((step, figures["val/ap"], last))
        return step >= end_at

    trainer = L.Trainer(max_steps=8, accelerator="cpu", logger=False, enable_checkpointing=False, val_check_interval=2,
                        callbacks=[EndEarly(falls_behind)], enable_progress_bar=False, enable_model_summary=False,
                        num_sanity_val_steps=0, default_root_dir=tmp_path)  # fmt: skip
    trainer.fit(Validated(), DataLoader(range(20)), DataLoader(range(1)))  # type: ignore[arg-type]
    assert trainer.global_step == steps
    assert asked == [(step, float(step), step == 8) for step in (2, 4, 6, 8) if step <= end_at]


def test_nobody_asks_outside_a_sweep() -> None:
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)
    trainer = SimpleNamespace(should_stop=False, strategy=strategy)
    EndEarly(None).on_validation_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop is False


def test_the_window_stops_growing_at_the_decay() -> None:
    averaged = AveragedWeights(decay=0.998, every=4)
    for updates, decay in ((1, 2 / 11), (90, 91 / 100), (10_000, 0.998**4)):
        held = [torch.zeros(1, dtype=torch.float64)]
        averaged._average(held, [torch.ones(1, dtype=torch.float64)], updates)
        assert held[0].item() == pytest.approx(1 - decay)

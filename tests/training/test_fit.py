"""The loop as a whole: what is resumed ends like what was never disturbed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch
from training_scenes import KillAt, Killed, TinyModel, equal_states

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset
from tem_seg.models import checkpoint
from tem_seg.models.contract import SegmentationModel
from tem_seg.training.augment import Tone
from tem_seg.training.datamodule import TrainingData
from tem_seg.training.dataset import CropPolicy, TrainingSet
from tem_seg.training.fit import FitOptions, fit, last_checkpoint, resolve_precision
from tem_seg.training.module import TrainingModule

ABOUT = {"family": "tiny", "backend": "torchvision", "categories": ["rod", "cube"]}


class Fit:
    """A training of four intervals of five steps, to be begun as often as one likes."""

    def __init__(self, discs: CocoDataset, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.options = {
            "steps": 20,
            "interval": 5,
            "workers": 0,
            "accumulate": 1,
            "ema_decay": 0.9,
            "val": True,
        } | changes
        self.discs, self.scored = discs, []

    def run(self, *callbacks: L.Callback) -> dict[str, Any]:
        """Trains with a model of the same start, and returns the last checkpoint."""
        o = self.options
        samples = TrainingSet(
            self.discs, samples=o["steps"] * 2 * o["accumulate"], seed=1, crop=CropPolicy(32, (0.5, 1.5)), tone=Tone()
        )
        data = TrainingData(samples, batch_size=2, interval_steps=o["interval"] * o["accumulate"], workers=o["workers"])
        module = TrainingModule(
            TinyModel(seed=0), optimizer=partial(torch.optim.AdamW, lr=0.05), steps=o["steps"], warmup_steps=2,
            clip_norm=1.0, seed=1, scorers={"val": self.score} if o["val"] else {}, about=ABOUT,
        )  # fmt: skip
        options = FitOptions(o["steps"], accelerator="cpu", precision="32-true", accumulate=o["accumulate"],
                             ema_decay=o["ema_decay"])  # fmt: skip
        path = fit(module, data, options, self.folder, callbacks=list(callbacks))
        return checkpoint.read(path)

    def score(self, model: SegmentationModel) -> dict[str, float]:
        """A figure that depends on the weights that are scored."""
        self.scored.append(float(sum(p.detach().abs().sum() for p in model.parameters())))
        return {"ap": 1 / (1 + self.scored[-1]), "ap50": 0.5}

    def curves(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "metrics.csv")


@pytest.fixture
def undisturbed(discs: CocoDataset, tmp_path: Path) -> tuple[Fit, dict[str, Any]]:
    whole = Fit(discs, tmp_path / "whole")
    return whole, whole.run()


@pytest.mark.parametrize("at", [3, 10, 12, 19])
def test_a_killed_training_ends_with_the_same_weights(
    discs: CocoDataset, tmp_path: Path, undisturbed: tuple[Fit, dict[str, Any]], at: int
) -> None:
    """Killed before the first of four validations, on the last batch before the second, after it, before the end."""
    whole, expected = undisturbed
    broken = Fit(discs, tmp_path / "broken")
    with pytest.raises(Killed):
        broken.run(KillAt(at))
    assert (last_checkpoint(tmp_path / "broken" / "checkpoints") is not None) == (at > 5)
    found = broken.run()
    assert found["global_step"] == expected["global_step"] == 20
    assert equal_states(found["state_dict"], expected["state_dict"]), "averaged weights differ"
    assert equal_states(found["current_model_state"], expected["current_model_state"]), "current weights differ"
    pd.testing.assert_frame_equal(broken.curves(), whole.curves())


def test_killed_twice_with_a_loader_process(discs: CocoDataset, tmp_path: Path) -> None:
    whole = Fit(discs, tmp_path / "whole").run()
    broken = Fit(discs, tmp_path / "broken", workers=1)
    for at in (7, 14):
        with pytest.raises(Killed):
            broken.run(KillAt(at))
    assert equal_states(broken.run()["state_dict"], whole["state_dict"])


def test_a_finished_training_is_left_as_it_is(undisturbed: tuple[Fit, dict[str, Any]]) -> None:
    whole, expected = undisturbed
    count = len(whole.scored)
    assert equal_states(whole.run()["state_dict"], expected["state_dict"])
    assert len(whole.scored) == count


def test_what_is_scored_is_the_average_and_what_is_kept(undisturbed: tuple[Fit, dict[str, Any]]) -> None:
    whole, last = undisturbed
    parameters = dict(TinyModel().named_parameters())
    kept = sum(float(v.abs().sum()) for n, v in checkpoint.model_state(last).items() if n in parameters)
    assert whole.scored[-1] == pytest.approx(kept, rel=1e-6)
    assert not equal_states(last["state_dict"], last["current_model_state"])
    assert last["tem_seg"] == ABOUT
    model = TinyModel(seed=9)
    checkpoint.load(model, whole.folder / "checkpoints" / "last.ckpt", categories=["rod", "cube"])
    assert equal_states(model.state_dict(), checkpoint.model_state(last))


def test_best_is_the_one_with_the_highest_ap(undisturbed: tuple[Fit, dict[str, Any]]) -> None:
    whole, _ = undisturbed
    best = checkpoint.read(whole.folder / "checkpoints" / "best.ckpt")
    assert best["global_step"] == 5 * (1 + whole.scored.index(min(whole.scored)))


def test_curves_hold_loss_rate_and_figures(undisturbed: tuple[Fit, dict[str, Any]]) -> None:
    table = undisturbed[0].curves()
    assert {"step", "train/loss", "train/lr", "train/count", "val/ap", "val/ap50"} <= set(table.columns)
    assert table["val/ap"].notna().sum() == 4
    assert table["train/lr"].max() <= 0.05


def test_the_average_is_the_exponential_one(discs: CocoDataset, tmp_path: Path) -> None:
    """Updated every fourth step with decay ** 4, or the window that n updates allow; begun with the first weights."""
    seen: list[torch.Tensor] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
            seen.append(pl_module.model.guess.weight.detach().clone())  # type: ignore[union-attr]

    last = Fit(discs, tmp_path).run(Watch())
    average = seen[0]
    for updates, step in enumerate(range(4, 20, 4), 1):
        decay = min(0.9**4, (1 + updates) / (10 + updates))
        average = decay * average + (1 - decay) * seen[step]
    torch.testing.assert_close(last["state_dict"]["model.guess.weight"], average)


def test_without_averaging_the_weights_are_the_last_ones(discs: CocoDataset, tmp_path: Path) -> None:
    last = Fit(discs, tmp_path, ema_decay=0.0).run()
    assert "current_model_state" not in last and last["global_step"] == 20


@pytest.mark.parametrize(("steps", "interval"), [(7, 3), (2, 5), (6, 3)])
def test_the_last_steps_are_validated_and_kept_whatever_the_interval(
    discs: CocoDataset, tmp_path: Path, steps: int, interval: int
) -> None:
    training = Fit(discs, tmp_path, steps=steps, interval=interval)
    assert training.run()["global_step"] == steps
    assert len(training.scored) == -(-steps // interval)


def test_a_dataset_without_a_validation_split(discs: CocoDataset, tmp_path: Path) -> None:
    assert Fit(discs, tmp_path, steps=4, interval=2, val=False).run()["global_step"] == 4


def test_accumulated_batches_count_as_one_step(discs: CocoDataset, tmp_path: Path) -> None:
    training = Fit(discs, tmp_path, steps=4, interval=2, accumulate=3)
    assert training.run()["global_step"] == 4 and len(training.scored) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_micrograph_is_named_in_one_line(discs: CocoDataset, tmp_path: Path, workers: int) -> None:
    """Also where a loader process met it: torch would hand on its traceback as the message."""
    path = discs.images[3].path
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="3.png is truncated") as error:
        Fit(discs, tmp_path, workers=workers).run()
    assert "Traceback" not in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("asked", "taken"), [("32-true", "32-true"), ("bf16-mixed", "bf16-mixed")])
def test_a_named_precision_is_taken(asked: str, taken: str) -> None:
    assert resolve_precision(asked) == taken


@pytest.mark.parametrize(("gpu", "gpu_bf16", "amx", "avx", "taken"), [
    (False, False, True, True, "bf16-mixed"), (False, False, False, True, "bf16-mixed"),
    (False, True, False, False, "32-true"),
    (True, True, False, False, "bf16-mixed"), (True, False, True, True, "32-true"),
])  # fmt: skip
def test_automatic_precision(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, gpu_bf16: bool, amx: bool, avx: bool, taken: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: gpu_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    assert resolve_precision("auto") == taken


def test_no_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None

"""What several processes train together is what one trains alone."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from training_ranks import CalmModel, samples_of, train_as
from training_scenes import equal_states, write_discs

from tem_seg.models import checkpoint
from tem_seg.training.fit import FitOptions, _shared

TOLERANCE = 1e-5
"""Sums of float32 in another order."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_discs(tmp_path_factory.mktemp("discs"), [6, 0, 1, 25, 3]).path


@pytest.fixture(scope="module")
def alone(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(dataset, tmp_path_factory.mktemp("alone"))


def trained(dataset: Path, folder: Path, **changes: Any) -> Path:
    train_as(0, 1, 0, dataset, folder, **changes)
    return folder


@pytest.fixture(scope="module")
def together(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """This process and another one, over gloo."""
    folder, before = tmp_path_factory.mktemp("together"), dict(os.environ)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    other = multiprocessing.get_context("spawn").Process(target=train_as, args=(1, 2, port, dataset, folder))
    other.start()
    rescue = threading.Timer(300, other.kill)  # processes that wait for each other would do so for ever
    rescue.start()
    try:
        train_as(0, 2, port, dataset, folder)
        other.join(timeout=60)
        assert other.exitcode == 0
        yield folder
    finally:
        rescue.cancel()
        other.kill()
        torch.distributed.destroy_process_group()
        for name in set(os.environ) - set(before):
            del os.environ[name]


def curves(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv")


def test_losses_and_validation_are_those_of_one_process(alone: Path, together: Path) -> None:
    assert len(curves(alone)) == 8 and curves(alone)["val/ap"].notna().sum() == 3
    pd.testing.assert_frame_equal(curves(together), curves(alone), rtol=TOLERANCE, atol=TOLERANCE)


def test_weights_are_those_of_one_process_and_the_same_in_both(alone: Path, together: Path) -> None:
    paths = (together / "weights_0.pt", together / "weights_1.pt", alone / "weights_0.pt")
    first, second, single = map(torch.load, paths)
    assert equal_states(first, second)
    start = CalmModel().state_dict()
    for name, value in single.items():
        torch.testing.assert_close(first[name], value, rtol=TOLERANCE, atol=TOLERANCE)
        assert not torch.equal(value, start[name])


def test_the_average_of_the_weights_and_the_checkpoints_too(alone: Path, together: Path) -> None:
    for name in ("last", "best"):
        one, two = (checkpoint.read(folder / "checkpoints" / f"{name}.ckpt") for folder in (alone, together))
        assert one["global_step"] == two["global_step"]
        for key, value in one["state_dict"].items():
            torch.testing.assert_close(two["state_dict"][key], value, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_process_without_particles_was_among_them(dataset: Path) -> None:
    """Half a batch with nothing in it: what it does not train there gets its gradient from the other half."""
    samples = samples_of(dataset, 4)
    halves = [samples[k][1]["boxes"].shape[0] + samples[k + 1][1]["boxes"].shape[0] for k in range(0, len(samples), 2)]
    assert 0 in halves and max(halves) > 0


def test_only_the_first_process_scores(together: Path) -> None:
    assert (together / "scored_0").read_text() == "000" and (together / "scored_1").read_text() == ""


def test_accumulated_half_batches_are_whole_ones(dataset: Path, alone: Path, tmp_path: Path) -> None:
    """Two batches of two give the gradients of one of four."""
    halves = trained(dataset, tmp_path, batch_size=2, accumulate=2)
    one, two = torch.load(alone / "weights_0.pt"), torch.load(halves / "weights_0.pt")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=TOLERANCE, atol=TOLERANCE)


def test_in_bfloat16_it_trains_to_nearly_the_same(dataset: Path, alone: Path, tmp_path: Path) -> None:
    mixed = trained(dataset, tmp_path, precision="bf16-mixed")
    one, two = torch.load(alone / "weights_0.pt"), torch.load(mixed / "weights_0.pt")
    assert all(value.dtype == torch.float32 for value in two.values())
    assert not equal_states(one, two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0.05, atol=0.01)


@pytest.mark.parametrize(("devices", "nodes", "cuda", "accelerator", "synced"), [
    (1, 1, True, "auto", None), (2, 1, True, "auto", True), (1, 2, True, "gpu", True), (2, 1, True, "cpu", False),
    (2, 1, False, "auto", False),
])  # fmt: skip
def test_batch_norm_is_over_the_whole_batch_where_torch_can(
    monkeypatch: pytest.MonkeyPatch, devices: int, nodes: int, cuda: bool, accelerator: str, synced: bool | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    found = _shared(FitOptions(1, accelerator=accelerator, devices=devices, nodes=nodes))
    assert found.get("sync_batchnorm") is synced

"""W&B sessions read back from disk; what happens without a key, without a server, and when the training fails."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from reporting_scenes import FakeRun
from wandb_offline import isolate, read_all_runs, read_only_run

from tem_seg.core.errors import UserError
from tem_seg.reporting import wandb_log
from tem_seg.reporting.figures import ANNOTATED, PREDICTED
from tem_seg.reporting.wandb_log import STEP, Wandb, draw_panels, log_panels

KEY = "a" * 40


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's W&B account."""
    isolate(tmp_path_factory.mktemp("home"), monkeypatch)


def test_a_session_without_a_key_is_offline_and_holds_all(
    fake_run: FakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"seed": 3, "train": {"steps": 40}}
    with Wandb(project="particles", panels=2).session(tmp_path, "gold", config) as run:
        assert run is not None
        run.log({"train/loss": 0.5, STEP: 10})
        log_panels(run, fake_run.test, fake_run.results, count=2)
        run.log({"val/ap": float("nan"), STEP: 20})
    found = read_only_run(tmp_path)
    assert (found.project, found.group, found.exit_code) == ("particles", "gold", 0)
    assert {key: found.config[key] for key in config} == config
    assert found.series("train/loss") == {10: 0.5}
    assert np.isnan(found.series("val/ap")[20])
    assert found.series("val/panels.count") == {20: 2}, "panels stand in the row of the figures that follow"
    for name in found.series("val/panels.filenames")[20]:
        picture = cv2.imread(str(found.folder / "files" / name))
        assert picture.shape[1] > 2 * picture.shape[0]
    assert "W&B: offline; to send the run: wandb sync " in capsys.readouterr().out


def test_a_training_that_fails_leaves_a_finished_run(tmp_path: Path) -> None:
    def train() -> None:
        with Wandb().session(tmp_path, "gold", {}) as run:
            assert run is not None
            run.log({"train/loss": 7.0, STEP: 1})
            raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        train()
    found = read_only_run(tmp_path)
    assert found.exit_code == 1 and found.series("train/loss") == {1: 7.0}


def test_a_run_that_is_resumed_keeps_its_id(tmp_path: Path) -> None:
    with Wandb().session(tmp_path, "gold", {}, tags=["smoke"]) as first:
        assert first is not None
        first.log({"train/loss": 2.0, STEP: 1})
    with Wandb().session(tmp_path, "gold", {}, run_id=first.id) as again:
        assert again is not None
        again.log({"train/loss": 1.0, STEP: 2})
    parts = read_all_runs(tmp_path)
    assert [(part.id, part.exit_code) for part in parts] == [(first.id, 0)] * 2
    assert [part.series("train/loss") for part in parts] == [{1: 2.0}, {2: 1.0}] and parts[0].tags == ["smoke"]


def test_a_run_within_a_run_is_another_one(tmp_path: Path) -> None:
    """As where a job's chain trains on something else first."""
    with Wandb().session(tmp_path / "a", "gold", {}) as outer, Wandb().session(tmp_path / "b", "emps", {}) as inner:
        assert outer is not None and inner is not None
        inner.log({"x": 2.0, STEP: 1})
        outer.log({"x": 1.0, STEP: 1})
    assert read_only_run(tmp_path / "a").series("x") == {1: 1.0}
    assert read_only_run(tmp_path / "b").series("x") == {1: 2.0}


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """A server that accepts connections and never answers; the connections it got."""
    monkeypatch.setattr(wandb_log, "INIT_TIMEOUT_S", 2.0)
    monkeypatch.setattr(wandb_log, "_SILENT", set())
    got: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    got.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield got
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=10)
    for connection in got:
        connection.close()


def test_a_server_that_does_not_answer_turns_online_into_offline(
    tmp_path: Path, silent: list[socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    """After the stated time, aloud, with the same id; the next job of this process does not wait again."""
    start = time.monotonic()
    with Wandb(mode="online").session(tmp_path / "a", "gold", {}, run_id="abcd1234") as run:
        assert run is not None and run.offline and run.id == "abcd1234"
        assert time.monotonic() - start < 20
        run.log({"x": 1.0, STEP: 1})
    said = capsys.readouterr().out
    assert "no connection to http://127.0.0.1:" in said and "within 2 s" in said
    assert f"offline; to send the run: wandb sync {tmp_path}/a/wandb/offline-run-*-abcd1234" in said
    assert read_only_run(tmp_path / "a").series("x") == {1: 1.0}
    asked = len(silent)
    assert asked
    with Wandb(mode="online").session(tmp_path / "b", "gold", {}) as run:
        assert run is not None and run.offline
    assert len(silent) == asked and "did not answer before: offline" in capsys.readouterr().out


def test_a_lost_server_does_not_end_the_run_around(tmp_path: Path, silent: list[socket.socket]) -> None:
    with Wandb(mode="offline").session(tmp_path / "a", "gold", {}) as outer:
        with Wandb(mode="online").session(tmp_path / "b", "emps", {}) as inner:
            assert outer is not None and inner is not None and inner.offline
        outer.log({"x": 1.0, STEP: 1})
    assert read_only_run(tmp_path / "a").series("x") == {1: 1.0}


def test_a_server_that_refuses_turns_online_into_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wandb_log, "_SILENT", set())
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setattr(wandb_log, "INIT_TIMEOUT_S", 1.0)
        with Wandb(mode="auto").session(tmp_path, "gold", {}) as run:
            assert run is not None and run.offline
    said = capsys.readouterr().out
    assert "within 1 s" in said and "offline; to send the run" in said


def test_online_without_a_key_is_refused_with_the_cure(tmp_path: Path) -> None:
    wanted = r"no API key is known: set WANDB_API_KEY .* logger.mode=offline"
    with pytest.raises(UserError, match=wanted), Wandb(mode="online").session(tmp_path, "gold", {}):
        pass


def test_a_key_that_cannot_be_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match=r"API key must have 40\+ characters"), Wandb().session(tmp_path, "gold", {}):
        pass


def test_disabled_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Wandb(mode="disabled").session(tmp_path, "gold", {}) as run:
        assert run is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with Wandb(mode="auto").session(tmp_path, "gold", {}) as run:
        assert run is None
    assert not list(tmp_path.iterdir())


def test_a_mode_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="logger.mode must be one of auto, online, offline, disabled, got 'onlin'"):
        Wandb(mode="onlin")
    with pytest.raises(UserError, match="logger.panels must not be negative, got -1"):
        Wandb(panels=-1)
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    with pytest.raises(UserError, match="WANDB_MODE must be one of"), Wandb().session(tmp_path, "gold", {}):
        pass


def test_panels_show_predictions_left_and_truth_right(fake_run: FakeRun) -> None:
    picture, caption = draw_panels(fake_run.test, fake_run.results, 4)[0]
    half = picture.shape[1] // 2
    assert _holds(picture[:, :half], PREDICTED) and not _holds(picture[:, half:], PREDICTED)
    assert _holds(picture[:, half:], ANNOTATED) and not _holds(picture[:, :half], ANNOTATED)
    assert "predicted at score ≥ 0.5" in caption and "annotated" in caption


def test_panels_of_a_model_without_masks_show_its_boxes(fake_run: FakeRun) -> None:
    boxes = [{key: value for key, value in row.items() if key != "segmentation"} for row in fake_run.results]
    picture = draw_panels(fake_run.test, boxes, 4)[0][0]
    assert _holds(picture[:, : picture.shape[1] // 2], PREDICTED)


def test_no_panels_and_panels_without_predictions(fake_run: FakeRun) -> None:
    assert draw_panels(fake_run.test, fake_run.results, 0) == []
    empty = draw_panels(fake_run.test, [], 100)
    assert len(empty) == len(fake_run.test)
    assert all(caption.split(": ")[1].startswith("0 predicted") for _, caption in empty)


def test_wide_panels_are_narrowed(fake_run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_log, "PANEL_WIDTH_PX", 300)
    picture = draw_panels(fake_run.test, fake_run.results, 4)[0][0]
    assert picture.shape[1] == 300 and picture.dtype == np.uint8


def _holds(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - colour).max(axis=2) < 30).any())

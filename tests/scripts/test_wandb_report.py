"""scripts/wandb_report.py: the specification of both kinds, built offline; what is said where it cannot be saved."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb_workspaces", reason="the extra 'reports' is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))

import wandb_report
from compare_scenes import write_dataset, write_run
from wandb_offline import isolate

from tem_seg.core.errors import UserError
from tem_seg.reporting import wandb_results
from tem_seg.stages.compared import read_runs

KEY = "a" * 40


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path / "home", monkeypatch)


def spec_of(kind: str, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    wandb_report.main(["--entity", "team", "--kind", kind, "--dry-run", *more])
    return dict(json.loads(capsys.readouterr().out))


def found(content: Any, key: str) -> list[Any]:
    """Every value of a key, at any depth."""
    if isinstance(content, dict):
        return [v for k, v in content.items() if k == key] + [x for v in content.values() for x in found(v, key)]
    return [x for item in content for x in found(item, key)] if isinstance(content, list) else []


@pytest.mark.parametrize("kind", wandb_report.KINDS)
def test_the_specification_holds_every_part(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    spec = spec_of(kind, capsys, "--project", "particles", "--title", "gold against latex")
    assert spec["displayName"] == "gold against latex" and "particles" in json.dumps(spec)
    assert {"Bar Chart", "Vega2", "Media Browser", "Weave", "Run History Line Plot", "Run Comparer"} == set(
        found(spec, "viewType")
    )
    told = json.dumps(spec)
    assert all(name in told for name in wandb_report.panels())
    assert all("trainer/global_step" in str(config) for config in found(spec, "xAxis") if "/" in str(config))


@pytest.mark.parametrize("kind", wandb_report.KINDS)
def test_experiments_are_groups(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """wandb-workspaces takes Config("name") for the run's id: experiments are filtered by their group."""
    spec = spec_of(kind, capsys, "--experiment", "gold_aunp", "latex")
    filters = [one for one in found(spec, "filters") if isinstance(one, list) and one]
    assert filters and all(
        (one["key"], one["op"], one["value"]) == ({"section": "run", "name": "group"}, "IN", ["gold_aunp", "latex"])
        for some in filters for one in some
    )  # fmt: skip
    assert all(one == [{"section": "run", "name": "group"}] for one in found(spec, "grouping"))
    assert not [one for one in found(spec_of(kind, capsys), "filters") if isinstance(one, list) and one]


def test_what_is_shown_is_what_runs_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files,) = read_runs([write_run(tmp_path / "run", write_dataset(tmp_path / "discs-0123"))])
    logged: dict[str, Any] = {}

    class Run:
        id, offline = "abcd1234", True
        log = staticmethod(logged.update)

    wandb_results.log_results(Run(), files, overlays=1, model=None)  # type: ignore[arg-type]
    spec = spec_of("workspace", capsys)
    metrics = {name.removeprefix("summary_metrics.") for some in found(spec, "metrics") for name in some}
    curves = {name for name in metrics if name.startswith(("val/", "train/"))}
    assert curves == {"val/ap", "train/ap", "train/loss"}, "those of training, which test_wandb_run reads back"
    assert metrics - curves <= set(logged), "figures"
    media = {key for keys in found(spec, "mediaKeys") for key in keys}
    assert media == {"test/overlays", "val/panels"} and "test/overlays" in logged and "test/particles" in logged
    charts = {value for value in found(spec, "value") if isinstance(value, str) and value.endswith("_table")}
    assert charts == {"test/precision_recall_table", "test/f1_over_score_table"}
    assert {name.removesuffix("_table") for name in charts} <= set(logged)
    assert set(wandb_report.COLUMNS) <= set(logged)


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        wandb_report.main(["--entity", "team"])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_without_a_key_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "wandb_report: no API key is known: set WANDB_API_KEY" in refused(capsys)


def test_a_server_that_does_not_answer_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_report, "INIT_TIMEOUT_S", 1.0)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and never answers
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        said = refused(capsys)
    assert "does not answer within 1 s (timed out): run this where the network reaches W&B" in said


class Refuses(BaseHTTPRequestHandler):
    """W&B's answer to a key that it does not know."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b'{"errors": [{"message": "user is not logged in"}]}')

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def refusing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("kind", wandb_report.KINDS)
def test_a_refusal_is_passed_on(kind: str, refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", refusing)
    built = wandb_report.build(kind, "team", "tem_seg", "title", [])
    with pytest.raises(UserError, match=r"W&B did not take it for project team/tem_seg \(.+\): check --entity"):
        wandb_report.save(built)

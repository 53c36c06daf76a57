"""Run directories: made exclusively, locked while in use, found again after a kill."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.stages import rundir
from tem_seg.stages.rundir import Claim, claim, digest, plain


def config(outputs: Path, **changes: Any) -> DictConfig:
    return OmegaConf.create({"name": "gold", "seed": 0, "run_dir": None, "paths": {"outputs": str(outputs)}} | changes)


def begin(cfg: DictConfig, finished: str | None = None, **extra: Any) -> Path:
    """A run that was claimed, recorded and left."""
    taken = claim(cfg)
    record = {"config_digest": digest(plain(cfg)), "finished": finished} | extra
    rundir.write(taken.path, record)
    taken.release()
    return taken.path


def test_a_first_run_gets_a_directory_below_its_experiment(tmp_path: Path) -> None:
    taken = claim(config(tmp_path))
    assert taken.path.parent == tmp_path / "runs" / "gold" and not taken.resumed and taken.lock.is_locked


def test_what_a_paper_says_makes_no_other_run() -> None:
    same = {"seed": 1, "dataset": {"name": "emps", "classes": None}}
    told = same | {"paper": {"source": "one"}, "arm": "real", "dataset": same["dataset"] | {"stand_in": "text"}}
    assert digest(same) == digest(told) != digest(told | {"dataset": {"name": "emps", "classes": ["rod"]}})
    assert told["dataset"]["stand_in"] == "text", "what is digested stays as it was"


def test_an_unfinished_run_of_the_same_config_is_resumed(tmp_path: Path) -> None:
    path = begin(config(tmp_path))
    taken = claim(config(tmp_path))
    assert taken.path == path and taken.resumed


def test_the_newest_of_several_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    for second in ("10", "30", "20"):
        monkeypatch.setattr(time, "strftime", lambda pattern, s=second: f"2026-01-01_00-00-{s}")
        paths.append(begin(config(tmp_path), finished="today"))
    for path in paths:
        rundir.write(path, {"config_digest": digest(plain(config(tmp_path))), "finished": None})
    assert claim(config(tmp_path)).path == paths[1]


def test_a_finished_run_is_not_touched(tmp_path: Path) -> None:
    path = begin(config(tmp_path), finished="2026-01-01")
    before = (path / "run.json").read_bytes()
    taken = claim(config(tmp_path))
    assert taken.path != path and not taken.resumed
    assert (path / "run.json").read_bytes() == before


def test_another_config_gets_another_directory(tmp_path: Path) -> None:
    path = begin(config(tmp_path))
    assert claim(config(tmp_path, seed=1)).path != path


def test_a_run_in_use_is_left_alone(tmp_path: Path) -> None:
    first = claim(config(tmp_path))
    rundir.write(first.path, {"config_digest": digest(plain(config(tmp_path))), "finished": None})
    second = claim(config(tmp_path))
    assert second.path != first.path and not second.resumed


def test_a_run_that_finishes_between_look_and_lock_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begin(config(tmp_path))
    lock = rundir._try_lock

    def finish_then_lock(candidate: Path) -> Any:
        if candidate == path:
            rundir.write(path, {"config_digest": digest(plain(config(tmp_path))), "finished": "just now"})
        return lock(candidate)

    monkeypatch.setattr(rundir, "_try_lock", finish_then_lock)
    assert claim(config(tmp_path)).path != path


def test_a_run_killed_before_it_wrote_anything_is_passed_over(tmp_path: Path) -> None:
    taken = claim(config(tmp_path))
    taken.lock.release()  # as the system does after kill -9
    assert claim(config(tmp_path)).path != taken.path and taken.path.is_dir()


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    """kill -9: nothing tidies up, and yet the directory is free again."""
    path = begin(config(tmp_path))
    code = (
        "import os, signal, sys; from pathlib import Path; from tem_seg.stages.rundir import _try_lock\n"
        "held = _try_lock(Path(sys.argv[1])); print(held is not None, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert killed.stdout == "True\n" and killed.returncode == -9
    assert claim(config(tmp_path)).path == path


# --------------------------------------------------------------------------------------------- the same second


def test_two_runs_of_the_same_second_get_two_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda pattern: "2026-01-01_00-00-00")
    first, second = claim(config(tmp_path)), claim(config(tmp_path))
    assert first.path != second.path and first.path.parent == second.path.parent


def test_even_with_the_same_random_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr(time, "strftime", lambda pattern: "2026-01-01_00-00-00")
    monkeypatch.setattr(secrets, "token_hex", lambda count: next(names))
    assert [claim(config(tmp_path)).path.name[-4:] for _ in range(2)] == ["aaaa", "bbbb"]


def test_twenty_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(20) as pool:
        taken = list(pool.map(lambda _: claim(config(tmp_path)), range(20)))
    assert len({one.path for one in taken}) == 20


# ----------------------------------------------------------------------------------------------------- run_dir=


def test_run_dir_is_made_where_it_is_not_there(tmp_path: Path) -> None:
    taken = claim(config(tmp_path, run_dir=str(tmp_path / "here" / "mine")))
    assert taken.path == tmp_path / "here" / "mine" and not taken.resumed


def test_run_dir_continues_the_same_config_and_repeats_another_or_a_finished_one(tmp_path: Path) -> None:
    cfg = config(tmp_path, run_dir=str(tmp_path / "mine"))
    begin(cfg)
    taken = claim(cfg)
    assert taken.resumed
    taken.release()
    assert not claim_and_release(config(tmp_path, run_dir=str(tmp_path / "mine"), seed=1)).resumed
    begin(cfg, finished="2026-01-01")
    assert not claim_and_release(cfg).resumed


def claim_and_release(cfg: DictConfig) -> Claim:
    taken = claim(cfg)
    taken.release()
    return taken


def test_run_dir_in_use_is_refused(tmp_path: Path) -> None:
    cfg = config(tmp_path, run_dir=str(tmp_path / "mine"))
    held = claim(cfg)
    with pytest.raises(UserError, match="mine is in use by another run: wait for it, or choose another run_dir"):
        claim(cfg)
    assert held.lock.is_locked


def test_run_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="run_dir=.*file cannot be used .*: give a folder to write in"):
        claim(config(tmp_path, run_dir=str(tmp_path / "file")))


def test_outputs_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write below .*file.* set paths.outputs=<folder>"):
        claim(config(tmp_path / "file"))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[1, 2]", b""])
def test_a_damaged_run_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = begin(config(tmp_path))
    (path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match="run.json is damaged .*remove it, or choose another run_dir"):
        claim(config(tmp_path))


# ----------------------------------------------------------------------------------------------------- release


def test_a_run_in_which_nothing_was_begun_leaves_nothing(tmp_path: Path) -> None:
    taken = claim(config(tmp_path))
    taken.release()
    assert not taken.path.exists()


def test_a_run_that_left_something_stays(tmp_path: Path) -> None:
    path = begin(config(tmp_path))
    assert (path / "run.json").is_file()


# ------------------------------------------------------------------------------------------------------ digest


def test_the_place_of_a_run_is_no_part_of_its_config(tmp_path: Path) -> None:
    here, there = config(tmp_path, run_dir="/a"), config(tmp_path, run_dir="/b")
    assert digest(plain(here)) == digest(plain(there)) == digest(plain(config(tmp_path)))


def test_everything_else_is() -> None:
    one = {"a": 1, "b": {"c": [1, 2]}}
    assert digest(one) == digest({"b": {"c": [1, 2]}, "a": 1})
    assert len({digest(one), digest({"a": 1, "b": {"c": [2, 1]}}), digest({"a": 2, "b": {"c": [1, 2]}})}) == 3


def test_what_is_recorded_is_plain_and_resolved(tmp_path: Path) -> None:
    cfg = OmegaConf.create({"a": 3, "b": "${a}", "run_dir": None})
    assert plain(cfg) == {"a": 3, "b": 3, "run_dir": None}
    assert json.loads(json.dumps(plain(cfg))) == plain(cfg)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("by_torch", [False, True])
def test_a_full_disk_under_a_run_is_explained(small_disk: Path, by_torch: bool) -> None:
    import torch

    taken = claim(config(small_disk))
    try:
        if by_torch:
            torch.save(torch.zeros(1_000_000), taken.path / "last.ckpt")  # in C++: a RuntimeError that names no disk
        else:
            (taken.path / "metrics.csv").write_bytes(bytes(2_000_000))
    except (OSError, RuntimeError) as error:
        said = str(rundir.explained(error, taken.path))
    taken.release()
    assert f"no space left while writing in {taken.path} (disk mounted at {small_disk}: 0." in said
    assert "paths.outputs=<folder>; the same command goes on from the last checkpoint" in said

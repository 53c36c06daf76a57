from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tem_seg.core.errors import UserError
from tem_seg.data.store import canonical, ensure, mount_point

RACE = """
import sys, time
from pathlib import Path
from tem_seg.data.store import ensure
root = Path(sys.argv[1])
def build(folder):
    with (root / "builds.txt").open("a") as log:
        log.write("x")
    time.sleep(0.7)
    (folder / "made").write_text("whole")
print(ensure(root, "gold", {"seed": 1}, build))
"""
FILL = """
import resource, signal, sys
from pathlib import Path
from tem_seg.core.errors import UserError
from tem_seg.data.store import ensure
if sys.argv[2] != "0":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
def build(folder):
    (folder / "small").write_bytes(b"0" * 1000)
    (folder / "big").write_bytes(b"0" * 4_000_000)
try:
    ensure(Path(sys.argv[1]), "gold", {"seed": 1}, build)
except UserError as error:
    print(error)
"""


def put_file(folder: Path) -> None:
    (folder / "made").write_text("whole")


def never(folder: Path) -> None:
    raise AssertionError("built again")


def test_is_built_once_and_found_again(tmp_path: Path) -> None:
    made = ensure(tmp_path / "deep" / "root", "gold", {"seed": 1, "size": (2, 3)}, put_file)
    assert made.parent == tmp_path / "deep" / "root"
    assert made.name.startswith("gold-") and len(made.name) == len("gold-") + 12
    assert (made / "made").read_text() == "whole"
    assert json.loads((made / "identity.json").read_text()) == {"seed": 1, "size": [2, 3]}
    assert ensure(tmp_path / "deep" / "root", "gold", {"size": [2, 3], "seed": 1}, never) == made
    assert not list(made.parent.glob(".*partial"))


def test_another_identity_is_another_folder(tmp_path: Path) -> None:
    first = ensure(tmp_path, "gold", {"seed": 1}, put_file)
    assert ensure(tmp_path, "gold", {"seed": 2}, put_file) != first


def test_canonical_text_knows_no_order_and_no_nan() -> None:
    assert canonical({"b": (1, 2), "a": {"d": 1, "c": None}}) == '{"a":{"c":null,"d":1},"b":[1,2]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})


def test_interrupted_build_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "first").write_text("1")
        raise KeyboardInterrupt

    def resumed(folder: Path) -> None:
        assert (folder / "first").read_text() == "1"

    with pytest.raises(KeyboardInterrupt):
        ensure(tmp_path, "gold", {}, interrupted)
    assert not list(tmp_path.glob("gold-*"))
    assert (ensure(tmp_path, "gold", {}, resumed) / "first").is_file()


def test_two_processes_at_once_make_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {job.communicate(timeout=60)[0] for job in jobs}
    assert [job.returncode for job in jobs] == [0, 0]
    assert len(answers) == 1
    assert (tmp_path / "builds.txt").read_text() == "x"


@pytest.mark.parametrize("identity", [None, '{"seed":99}\n'])
def test_folder_that_is_not_what_its_name_says_is_refused(tmp_path: Path, identity: str | None) -> None:
    made = ensure(tmp_path, "gold", {"seed": 1}, put_file)
    (made / "identity.json").unlink() if identity is None else (made / "identity.json").write_text(identity)
    with pytest.raises(UserError, match="missing or was changed: delete or rename"):
        ensure(tmp_path, "gold", {"seed": 1}, never)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; only root can mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_is_explained_and_can_be_resumed(small_disk: Path) -> None:
    root = small_disk / "datasets"
    command = [sys.executable, "-c", FILL, str(root), "0"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"disk mounted at {small_disk}" in said and "MB free of 0.00 GB" in said
    assert "no space left" in said and "same command again" in said
    assert not list(root.glob("gold-*")), "nothing half-written counts as done"
    assert (next(root.glob(".gold-*.partial")) / "small").stat().st_size == 1000
    (next(root.glob(".gold-*.partial")) / "big").unlink()
    assert ensure(root, "gold", {"seed": 1}, put_file).is_dir()


def test_file_size_limit_is_explained(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path), "100000"]
    assert (
        "file size limit reached while making the dataset gold-"
        in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_errors_of_a_full_disk(tmp_path: Path, number: int) -> None:
    def fail(folder: Path) -> None:
        raise OSError(number, "as the system says it")

    with pytest.raises(UserError, match=r"gold-[0-9a-f]{12}.*Free some space"):
        ensure(tmp_path, "gold", {}, fail)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_not_be_written(tmp_path: Path, number: int) -> None:
    def fail(folder: Path) -> None:
        raise OSError(number, "as the system says it", str(folder / "x.png"))

    with pytest.raises(UserError, match=r"cannot write the dataset gold-[0-9a-f]{12} below .*set paths.outputs"):
        ensure(tmp_path, "gold", {}, fail)


def test_other_errors_are_not_relabelled(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        ensure(tmp_path, "gold", {}, fail)


def test_mount_point_of_a_folder_to_be(tmp_path: Path) -> None:
    assert mount_point(tmp_path / "not" / "there").is_mount()

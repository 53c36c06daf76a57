"""Brings EMPS (465 micrographs with instance masks, 120 MB) from its public repository, by commit and hash.

    python scripts/fetch_data.py [--into ../shared/data/emps] [--verify-only]

Needs the standard library only, and git or plain https. The folder appears whole or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

REPOSITORY = "https://github.com/by256/emps"
COMMIT = "dd8f86d714894fd08f3db80041893982ce058dd6"
ARCHIVE = f"https://codeload.github.com/by256/emps/zip/{COMMIT}"
FOLDERS = ("images", "segmaps")
TABLES = ("metadata.csv", "test.csv", "train.csv")
EXTRAS = ("LICENSE", "README.md")
SHA256 = "26e88bc7e31b3be51cb08e91b08d32b1eec56b6a0cfd40714d193c1421ae89a2"
SECONDS = 1800


class FetchError(RuntimeError):
    """What went wrong and what to do; printed without a traceback."""


def content_hash(folder: Path) -> str:
    """SHA-256 over names, lengths and bytes of images/, segmaps/ and the three tables, in the order of the names."""
    names = [f"{sub}/{path.name}" for sub in FOLDERS for path in folder.joinpath(sub).glob("*") if path.is_file()]
    digest = hashlib.sha256()
    for name in sorted([*names, *(table for table in TABLES if (folder / table).is_file())]):
        content = (folder / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def verify(folder: Path) -> None:
    """Raises FetchError unless ``folder`` holds the EMPS of the pinned commit; other files may lie beside it."""
    missing = [name for name in (*FOLDERS, *TABLES) if not (folder / name).exists()]
    if missing:
        raise FetchError(f"{folder} is not EMPS: {', '.join(missing)} missing")
    found = content_hash(folder)
    if found != SHA256:
        raise FetchError(
            f"{folder} differs from EMPS at commit {COMMIT[:10]} (sha256 {found[:16]}…, expected {SHA256[:16]}…)"
        )


def by_git(folder: Path) -> None:
    """Only the pinned commit, without history; bytes as committed on every system."""
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    for command in (
        ["init", "--quiet", "."],
        ["-c", "core.autocrlf=false", "fetch", "--quiet", "--depth", "1", REPOSITORY, COMMIT],
        ["-c", "core.autocrlf=false", "checkout", "--quiet", "FETCH_HEAD"],
    ):
        done = subprocess.run(
            ["git", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
        if done.returncode:
            raise FetchError(f"git {command[-1]}: {done.stderr.strip()[-300:]}")


def by_archive(folder: Path) -> None:
    """The zip of the commit, its files moved out of its top folder."""
    archive = folder / "emps.zip"
    with urllib.request.urlopen(ARCHIVE, timeout=60) as response, archive.open("wb") as file:
        shutil.copyfileobj(response, file)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    archive.unlink()
    top = folder / f"emps-{COMMIT}"
    for entry in top.iterdir():
        entry.rename(folder / entry.name)


def fetch(into: Path, ways: tuple[Callable[[Path], None], ...] = (by_git, by_archive)) -> None:
    """Fills ``into`` by the first way that works, verified before it appears. Raises FetchError; leaves no rubbish."""
    into.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    for way in ways:
        with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent) as scratch:
            raw, clean = Path(scratch, "raw"), Path(scratch, "clean")
            raw.mkdir()
            try:
                way(raw)
                verify(raw)
            except (FetchError, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
                failures.append(f"{way.__name__}: {error}")
                continue
            clean.mkdir()
            for name in (*FOLDERS, *TABLES, *EXTRAS):
                if (raw / name).exists():
                    (raw / name).rename(clean / name)
            clean.rename(into)
            return
    raise FetchError(
        "EMPS could not be fetched:\n  "
        + "\n  ".join(failures)
        + f"\nWithout a network: on a machine that has one, run "
        f"`git clone {REPOSITORY}`, check out {COMMIT} and copy images/ segmaps/ *.csv to {into}; or point the runs "
        "at a folder that holds emps/: paths.data=<folder>"
    )


def default_target() -> Path:
    """$TEM_SEG_DATA/emps, else shared/data/emps beside the checkout (the place conf/paths points to)."""
    data = os.environ.get("TEM_SEG_DATA")
    return (Path(data) if data else Path(__file__).resolve().parents[1].parent / "shared" / "data") / "emps"


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the folder is there and sound, else 1."""
    parser = argparse.ArgumentParser(description="Brings the EMPS dataset, by commit and hash.")
    parser.add_argument("--into", type=Path, default=default_target(), help="target folder (default: %(default)s)")
    parser.add_argument("--verify-only", action="store_true", help="check the folder, fetch nothing")
    options = parser.parse_args(arguments)
    try:
        if options.into.exists() or options.verify_only:
            verify(options.into)
        else:
            print(f"fetching {REPOSITORY} at {COMMIT[:10]} (about 120 MB) …", flush=True)
            fetch(options.into)
    except (FetchError, OSError) as error:
        print(f"fetch_data: {error}", file=sys.stderr)
        return 1
    print(f"EMPS is in {options.into}, every byte as at commit {COMMIT[:10]}")
    if not (options.into / "shapes.csv").is_file():
        print(
            "shapes.csv (shape and contrast of each image, made from the masks) is not part of that repository: "
            "everything works without it, except choosing images by dataset.reader.shape or dataset.reader.modality"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

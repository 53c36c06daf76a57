"""scripts/bench.py: its arguments, the form of its lines, its file. No time is asserted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bench import FIGURES, _figure

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"[^:]+: -?\d+(\.\d+)? \S+")
"""<name>: <value> <unit>"""


def bench(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs the script as a user does."""
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder, check=False)


def test_the_figures_are_listed() -> None:
    said = bench("--help").stdout
    assert all(name in said for name in ("startup", "generate", "measure", "predict", "loop", "loader", "--save"))


def test_every_figure_is_a_function_of_its_script() -> None:
    assert all(callable(_figure(name)) for name in FIGURES)


def test_an_unknown_figure_is_refused() -> None:
    done = bench("lop", "startup")
    assert done.returncode == 2 and "unknown figure lop: choose from startup, generate" in done.stderr


def test_one_figure_is_printed_and_saved(tmp_path: Path) -> None:
    done = bench("measure", "--quick", "--save", str(tmp_path / "new" / "bench.md"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    about, *figures = done.stdout.splitlines()
    assert re.match(r"commit: \S+.* · \d+ cores · [\d.]+ GB · OMP_NUM_THREADS \S+ · \d{4}-\d\d-\d\d", about)
    assert figures and all(LINE.fullmatch(line) for line in figures), figures
    written = (tmp_path / "new" / "bench.md").read_text(encoding="utf-8")
    assert all(f"- {line}\n" in written for line in (about, *figures))
    assert "`python scripts/bench.py measure --quick`" in written


def test_nothing_is_written_unasked(tmp_path: Path) -> None:
    assert bench("measure", "--quick", "--clock", "cpu", folder=tmp_path).returncode == 0
    assert not list(tmp_path.iterdir())

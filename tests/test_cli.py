"""``tem-seg`` as a process: starts at once, and a user's fault is one sentence and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "pandas", "scipy", "matplotlib", "hydra", "lightning", "wandb", "numpy", "cv2")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom tem_seg.cli import app\n"
        "for words in (['--help'], ['measure', '--help'], ['convert', '--help']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_faults_of_the_user(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tem_seg.cli", "measure", str(tmp_path / "no.tif"), "-o", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("tem-seg: ") and "cannot be read (No such file or directory)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    (tmp_path / "a.csv").write_text("filename,region_shape_attributes\na.png,{}\n")
    done = subprocess.run(
        [sys.executable, "-m", "tem_seg.cli", "convert", "a.csv", "out", "--to", "qupath", "--size", "9x9"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "out" in done.stderr and "Traceback" not in done.stderr


def test_measuring_imports_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys, numpy, tifffile\nfrom typer.testing import CliRunner\nfrom tem_seg.cli import app\n"
        "tifffile.imwrite('a.tif', numpy.pad(numpy.ones((9, 9), 'u2'), 9))\n"
        "assert CliRunner().invoke(app, ['measure', 'a.tif', '-o', 'out']).exit_code == 0\n"
        "print([name for name in ('torch', 'hydra', 'lightning', 'wandb', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"

"""``tem-seg analyze``, ``info`` and ``run`` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from analysis_scenes import micrograph
from typer.testing import CliRunner

from tem_seg.cli import app
from tem_seg.core.errors import UserError

UNWANTED = ("lightning", "wandb", "albumentations", "hydra", "omegaconf", "tem_seg.training", "tem_seg.config",
            "tem_seg.generation", "tem_seg.stages")  # fmt: skip
DISCS = (16.0, 18.0, 20.0, 22.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the starter's architecture, untrained."""
    import torch

    from tem_seg.models import checkpoint
    from tem_seg.models.rcnn import Rcnn

    torch.manual_seed(0)
    spec = Rcnn(backend="torchvision", weights="none", backbone="resnet16", norm="bn", fpn_channels=64,
                box_head_width=256, mask_head_channels=64, num_classes=1)  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    checkpoint.write(path, spec.build().state_dict(), spec.about() | {"categories": ["particle"]})
    return path


def test_a_process_from_micrographs_to_a_report(tmp_path: Path, checkpoint: Path) -> None:
    """No training code on the way; a second call finds everything done."""
    micrograph(tmp_path / "in" / "a.tif", DISCS, size=96, pixel_size_nm=0.5)
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom tem_seg.cli import app\n"
        f"words = ['analyze', 'in/*.tif', '-o', 'out', '--checkpoint', {str(checkpoint)!r}]\n"
        "for _ in range(2):\n"
        "    done = CliRunner().invoke(app, words, catch_exceptions=False)\n"
        "    assert done.exit_code in (0, 3), done.output\n"
        f"print(done.output); print([name for name in {UNWANTED!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("[]") and "1 of them were done already" in done.stdout
    assert "score ≥ 0.5 (score 0.5: no calibration is known; the folder of a run has its validation's)" in done.stdout
    record = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert record["model"]["sha256"] and record["versions"]["torch"] and record["finished"]
    pd.read_csv(tmp_path / "out" / "particles.csv")
    assert (tmp_path / "out" / "report.html").is_file() and (tmp_path / "out" / "report.pdf").is_file()


def test_what_a_start_waits_for() -> None:
    """Seconds of imports: no compiler, no fits, no plots before the first micrograph is looked at."""
    later = (*UNWANTED, "torch._dynamo", "sympy", "scipy.optimize", "scipy.stats", "matplotlib", "jinja2")
    program = (
        "import sys\nimport tem_seg.cli, tem_seg.analysis.analyse as analysis\nanalysis.load('starter')\n"
        f"print([name for name in {later!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--pixel-size", "0.5"], "expected a length with its unit"),
        (["--pixel-size", "-1nm"], "expected a length with its unit"),
        (["--pixel-size", "0nm"], "a pixel size of 0.0 nm is impossible"),
        (["--pixel-size", "nan nm"], "expected a length with its unit"),
        (["--border", "cut"], "'cut' is none of keep, exclude, weight"),
        (["--checkpoint", "nothing.ckpt"], "no checkpoint at nothing.ckpt"),
    ],
)
def test_faults_of_the_user(tmp_path: Path, words: list[str], text: str) -> None:
    path = micrograph(tmp_path / "a.tif", DISCS)
    with pytest.raises(UserError, match=text):
        CliRunner().invoke(
            app, ["analyze", str(path), "-o", str(tmp_path / "out"), *words], catch_exceptions=False
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_info_says_what_a_file_is(tmp_path: Path) -> None:
    path = micrograph(tmp_path / "a.tif", DISCS, pixel_size_nm=0.5, frames=2)
    done = CliRunner().invoke(app, ["info", str(path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "a.tif, frame 2" in done.output and "200 × 200 px, 16-bit unsigned" in done.output
    assert "pixel size 0.5 nm (" in done.output and "field of view 100 × 100 nm" in done.output
    flagged = CliRunner().invoke(app, ["info", str(path), "--pixel-size", "1nm"], catch_exceptions=False)
    assert flagged.exit_code == 3 and "RED FLAG" in flagged.output
    unknown = CliRunner().invoke(app, ["info", str(micrograph(tmp_path / "b.tif", DISCS))], catch_exceptions=False)
    assert unknown.exit_code == 0 and "pixel size unknown (no metadata" in unknown.output


def test_run_hands_everything_on() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tem_seg.cli", "run", "train.epoch=3"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and "epoch" in done.stderr

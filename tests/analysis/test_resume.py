"""What is done is not done again; memory does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analysis_scenes import DIAMETERS, Bright, five, micrograph, segmenter

from tem_seg.analysis import one
from tem_seg.analysis.analyse import analyse
from tem_seg.analysis.settings import Settings


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    five(tmp_path / "in")
    model = Bright()
    seen = segmenter(model)
    first = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=seen)
    again = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=seen)
    assert model.looked == 5 and all(each.again for each in again.done)
    pd.testing.assert_frame_equal(first.particles, again.particles, check_dtype=False)
    other = analyse([tmp_path / "in"], tmp_path / "out", Settings(pixel_size_nm=1.0), segmenter=seen)
    assert model.looked == 5  # measured anew, not looked at anew
    np.testing.assert_allclose(other.particles["min_feret_nm"], 2 * first.particles["min_feret_nm"])
    assert any("two pixel sizes differ" in flag for flag in other.record["red_flags"])
    micrograph(tmp_path / "in" / "2.tif", DIAMETERS[:5], pixel_size_nm=0.5)
    changed = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=seen)
    assert model.looked == 6 and len(changed.particles) == 69


def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import weakref

    alive: list[weakref.ref] = []
    most = 0
    real = one.read_with_pixel_size

    def counted(*arguments, **named):  # type: ignore[no-untyped-def]
        nonlocal most
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        found = real(*arguments, **named)
        alive.append(weakref.ref(found[0].pixels))
        return found

    monkeypatch.setattr(one, "read_with_pixel_size", counted)
    for k in range(12):
        micrograph(tmp_path / "in" / f"{k}.tif", DIAMETERS[: 4 + k], size=200)
    analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter())
    assert len(alive) == 12 and most <= 4


def test_killed_in_the_middle_only_the_rest_is_done(tmp_path: Path) -> None:
    """A process that ends after two of five, without a word; what follows is as if it had never happened."""
    five(tmp_path / "in")
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from analysis_scenes import segmenter\n"
        "from tem_seg.analysis.analyse import analyse\nfrom tem_seg.analysis.settings import Settings\n"
        "end = lambda done, total, name: os._exit(9) if done == 4 else None\n"
        "analyse([Path(sys.argv[1])], Path(sys.argv[2]), Settings(), segmenter=segmenter(), progress=end)\n"
    )
    places = os.pathsep.join([str(Path(__file__).resolve().parents[1]), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "in"), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": places}, timeout=300, check=False,
    )  # fmt: skip
    assert killed.returncode == 9
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["finished"] is None
    model = Bright()
    again = analyse([tmp_path / "in"], tmp_path / "out", Settings(), segmenter=segmenter(model))
    assert 1 <= model.looked <= 3 and sum(each.again for each in again.done) == 5 - model.looked
    whole = analyse([tmp_path / "in"], tmp_path / "whole", Settings(), segmenter=segmenter())
    assert whole.record["finished"] is not None
    for name in ("particles.csv", "images.csv", "distribution.json", "arrangement.json", "agglomerates.csv",
                 "pictures/0.png", "pictures/4.svg"):  # fmt: skip
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name

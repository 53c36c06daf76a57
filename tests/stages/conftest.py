"""Fixtures of the stages' tests, and their folder on the path: with pytest's importlib mode it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from sweep_jobs import job

from tem_seg.stages import sweep_job


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of job 3, which this process runs."""
    place = tmp_path / "3"
    sweep_job.write(place, job(3))
    monkeypatch.setattr(sweep_job, "_folder", lambda: place)
    return place

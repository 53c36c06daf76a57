"""Fixtures of the report's tests, and their folder on the path: with pytest's importlib mode it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reporting_scenes import FakeRun, make_run


@pytest.fixture
def fake_run(tmp_path: Path) -> FakeRun:
    """A run to be changed and reported."""
    return make_run(tmp_path)

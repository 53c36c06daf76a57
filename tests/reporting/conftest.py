"""Fixtures of the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from reporting_scenes import FakeRun, make_run


@pytest.fixture
def fake_run(tmp_path: Path) -> FakeRun:
    """A run to be changed and reported."""
    return make_run(tmp_path)

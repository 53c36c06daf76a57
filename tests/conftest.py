"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # with pytest's importlib mode it is not there: compare_scenes


def find_data() -> Path:
    """The folder of real micrographs: $TEM_SEG_DATA, else shared/data beside the checkout (conf/paths/default.yaml)."""
    return Path(os.environ.get("TEM_SEG_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real micrographs; skips, with the reason, where they are absent."""
    folder = find_data()
    if not folder.is_dir():
        pytest.skip(f"real micrographs not found at {folder} (set TEM_SEG_DATA, or run scripts/fetch_data.py)")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """A test on real data may not skip while the data is there: such a skip is a failure."""
    report = yield
    if report.skipped and "data_dir" in getattr(item, "fixturenames", ()) and find_data().is_dir():
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped although {find_data()} exists: {report.longrepr}"
    return report

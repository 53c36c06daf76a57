"""Lets the tests here import their shared helpers: with pytest's importlib mode a test's folder is not on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from training_scenes import write_discs

from tem_seg.data.coco import CocoDataset


@pytest.fixture
def discs(tmp_path: Path) -> CocoDataset:
    """Five micrographs of 90 × 120 px with 6, 0, 1, 25 and 3 discs."""
    return write_discs(tmp_path / "discs", [6, 0, 1, 25, 3])

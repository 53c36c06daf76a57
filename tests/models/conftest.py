"""Lets the tests here import their shared helpers: with pytest's importlib mode a test's folder is not on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("rcnn_laws")

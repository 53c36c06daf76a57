"""Whether Detectron2 is here, said without importing it."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

from tem_seg.models import detectron2 as backend


@pytest.fixture(autouse=True)
def fresh() -> None:
    backend.why_unavailable.cache_clear()


def test_importing_the_package_imports_neither_detectron2_nor_torch() -> None:
    code = "import sys, tem_seg.models.detectron2; sys.exit(bool({'detectron2', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not backend.is_available()
    assert backend.why_unavailable() == "detectron2 is not installed"


def test_installed_but_broken_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError("No module named 'pkg_resources'")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", fail)
    assert not backend.is_available()
    assert backend.why_unavailable() == "detectron2 is installed but does not import: No module named 'pkg_resources'"


def test_present() -> None:
    pytest.importorskip("detectron2", reason=f"detectron2 is not installed ({backend.INSTALL_HINT})")
    assert backend.is_available() and backend.why_unavailable() is None


def test_hint_pins_the_commit() -> None:
    assert f"detectron2@{backend.COMMIT}'" in backend.INSTALL_HINT
    assert "--no-build-isolation" in backend.INSTALL_HINT

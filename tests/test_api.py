"""The functions for notebooks, and the example notebook itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_scenes import micrograph, segmenter
from matplotlib.figure import Figure

from tem_seg.analysis import analyse
from tem_seg.api import Analysis, analyze
from tem_seg.core.errors import UserError

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "example.ipynb"


@pytest.fixture
def _bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any checkpoint is one that finds what is bright."""
    monkeypatch.setattr(analyse, "load", lambda name, min_score, magnification: segmenter())


@pytest.mark.usefixtures("_bright")
def test_tables_and_a_figure(tmp_path: Path) -> None:
    path = micrograph(tmp_path / "a.tif", [20.0, 22.0, 24.0])
    found = analyze(path, "0.5nm", out=tmp_path / "out", pixel_size_error=0.01)
    assert found.folder == tmp_path / "out" and (found.folder / "report.html").is_file()
    by = found.distribution().set_index(["measurand", "weighted_by"])
    assert by.loc[("equivalent_diameter", "number"), "d50"] == pytest.approx(11, rel=0.02)
    assert set(found.uncertainty()["name"]) == {"pixel size", "edge, common", "edge, widening", "counting"}
    assert isinstance(found.figure(), Figure) and found.red_flags == []


@pytest.mark.usefixtures("_bright")
def test_without_a_folder_files_last_as_long_as_the_result(tmp_path: Path) -> None:
    found = analyze([micrograph(tmp_path / "a.tif", [20.0])], 0.5)
    folder = found.folder
    assert (folder / "particles.csv").is_file()
    found._temporary.cleanup()  # type: ignore[union-attr]  # what the interpreter does when the result is dropped
    assert not folder.exists()


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give files or folders"):
        analyze([])
    with pytest.raises(UserError, match="impossible"):
        analyze(tmp_path, -1.0)


def test_the_example_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the starter weights, as a reader runs it: discs of 24 px, 12 nm."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # as nbclient would, which is not installed
    found = names["found"]
    assert isinstance(found, Analysis) and found.images["counted"].between(14, 16).all() and found.red_flags == []
    by = found.distribution().set_index(["measurand", "weighted_by"])
    assert by.loc[("equivalent_diameter", "number"), "d50"] == pytest.approx(12, rel=0.05)
    found._temporary.cleanup()  # type: ignore[union-attr]

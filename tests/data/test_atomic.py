from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tem_seg.core.types import Modality
from tem_seg.data.atomic import replacing, write_json, write_text


def test_a_failure_keeps_the_old_file_and_leaves_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="boom"), replacing(target) as temporary:  # noqa: PT012 - the file is half written
        temporary.write_text("half")
        raise RuntimeError("boom")
    assert target.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_parents_are_made_and_the_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.txt"
    write_text(target, "µm")
    write_text(target, "Å")
    assert target.read_bytes() == "Å".encode()


def test_json_holds_plain_values_only(tmp_path: Path) -> None:
    content = {"nan": float("nan"), "inf": np.float32("inf"), "array": np.arange(3), "n": np.int64(4), 5: (1, 2),
               "flag": np.bool_(True), "path": Path("a/b"), "modality": Modality.SEM,
               "deep": [{"x": np.float64(0.5)}]}  # fmt: skip
    write_json(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "nan": None, "inf": None, "array": [0, 1, 2], "n": 4, "5": [1, 2], "flag": True, "path": "a/b",
        "modality": "sem", "deep": [{"x": 0.5}],
    }  # fmt: skip


def test_what_json_cannot_hold_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"x": object()})
    assert not list(tmp_path.iterdir())

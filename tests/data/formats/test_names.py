"""Names from foreign files lead nowhere, and names for new files never collide."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from tem_seg.data.formats.names import LONGEST, base_name, stems


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.tif", "a.tif"), ("../../etc/passwd", "passwd"), ("..\\raw\\é 1.tif", "é 1.tif"), ("C:\\x\\a.png", "a.png"),
        ("..", ""), ("", ""), ("a/..", ""), ("a\0b?.tif", "a_b_.tif"), ("粒子.tif", "粒子.tif"), (None, "None"),
    ],
)  # fmt: skip
def test_base_name(text: object, name: str) -> None:
    assert base_name(text) == name


def test_twenty_files_of_one_name() -> None:
    found = stems([Path(f"/data/day{k}/image.tif") for k in range(20)])
    assert found == [f"day{k}_image" for k in range(20)]


def test_names_that_folders_do_not_tell_apart() -> None:
    assert stems([Path("a.tif"), Path("a.png"), Path("b.tif")]) == ["a", "a_2", "b"]
    assert stems([Path("A.tif"), Path("a.tif")]) == ["A", "a_2"]
    composed = "é"
    assert len(set(stems([Path(composed), Path(unicodedata.normalize("NFD", composed))]))) == 2
    assert stems([Path("x/a.tif"), Path("y/a.tif"), Path("x_a.tif")]) == ["x_a", "y_a", "x_a_2"]


def test_names_that_are_too_long() -> None:
    found = stems([Path("粒" * 80 + "1.tif"), Path("粒" * 80 + "2.tif")])
    assert found[0] != found[1]
    assert all(len(name.encode()) <= LONGEST for name in found)

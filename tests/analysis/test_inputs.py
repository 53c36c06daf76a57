"""Which micrographs a user means."""

from __future__ import annotations

from pathlib import Path

import pytest
from analysis_scenes import micrograph

from tem_seg.analysis.inputs import find
from tem_seg.core.errors import UserError


def test_files_folders_and_patterns_each_once(tmp_path: Path) -> None:
    a, b = (micrograph(tmp_path / "in" / name, [20.0], size=40) for name in ("a.tif", "sub/b.tif"))
    found = find([tmp_path / "in", a, tmp_path / "in" / "**" / "*.tif"])
    assert [item.path for item in found.items] == [a, b] and [item.name for item in found.items] == ["a.tif", "b.tif"]
    assert [item.path for item in find([tmp_path / "in"], outside=tmp_path / "in" / "sub").items] == [a]


def test_names_never_collide(tmp_path: Path) -> None:
    places = ["x/a.tif", "y/a.tif", "x/A.TIF", "x/a.png"]
    for place in places[:3]:
        micrograph(tmp_path / place, [20.0], size=40)
    (tmp_path / "x" / "a.png").write_bytes((tmp_path / "x" / "a.tif").read_bytes())  # a TIFF by its bytes
    found = find([tmp_path])
    assert len({item.stem.casefold() for item in found.items}) == 4


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match=r"no micrograph in .* \(1 other files\)"):
        find([tmp_path])
    with pytest.raises(UserError, match="no micrograph at .*none.tif: check the name"):
        find([tmp_path / "none.tif"])
    with pytest.raises(UserError, match=r"is no name of a file|no micrograph at"):
        find([Path("n" * 5000)])

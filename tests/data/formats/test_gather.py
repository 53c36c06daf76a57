"""What of a folder is read, what is a micrograph, what is foreign."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data.formats.gather import gather
from tem_seg.data.formats.micrographs import Micrographs
from tem_seg.data.formats.model import Annotated
from tem_seg.data.formats.table import write
from tem_seg.data.images import write_png


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.zeros((9, 9), np.uint8))
    return path


def test_a_folder_with_foreign_files(tmp_path: Path, apart: Annotated) -> None:
    write("labelme", [apart], tmp_path / "a.json")
    micrograph, mask = picture(tmp_path / "a.png"), picture(tmp_path / "masks" / "b.png")
    for name, content in {"notes.txt": b"x", "empty.json": b"", "other.json": b"{}", ".hidden": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    found = gather([tmp_path])
    assert found.files == [tmp_path / "a.json", mask]
    assert found.pictures == [micrograph]
    assert len(found.skipped) == 3 and all(line.startswith("skipped ") for line in found.skipped)


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="no outlines in .* \\(1 other files\\)"):
        gather([tmp_path])


def test_micrographs_are_found_by_name(tmp_path: Path) -> None:
    for folder in ("images/s1", "images/s2"):
        picture(tmp_path / folder / "Probe é.png")
    found = Micrographs([tmp_path / "images"], stated=True)
    for name in ("Probe é.png", "probe é.tif", "PROBE É_mask.png", "Probe é_cp_masks.tif"):
        assert found.of(name, tmp_path / "masks/s2/x.png") == tmp_path / "images/s2/Probe é.png"
    with pytest.raises(UserError, match="may both be the micrograph"):
        found.of("Probe é.png", tmp_path / "elsewhere/x.png")
    with pytest.raises(UserError, match="no micrograph for b.png"):
        found.of("b.png", tmp_path / "masks/s2/x.png")


def test_one_micrograph_needs_no_name(tmp_path: Path) -> None:
    only = picture(tmp_path / "a.png")
    assert Micrographs([only], stated=True).of("z.roi", tmp_path / "z.roi") == only


def test_micrographs_beside_the_outlines(tmp_path: Path) -> None:
    beside = picture(tmp_path / "a.png")
    none = Micrographs([], stated=False)
    assert none.of("a.png", tmp_path / "a.json") == beside
    assert none.of("a.png", beside) is None  # a mask is not its own micrograph
    assert none.of("b" * 300 + ".png", beside) is None
    with pytest.raises(UserError, match="no micrograph at"):
        Micrographs([tmp_path / "no.png"], stated=True)

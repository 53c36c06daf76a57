"""Written and read again, every format holds the same particles; files are told by their content."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.formats.model import Annotated, Source
from tem_seg.data.formats.table import FORMATS, WRITABLE, format_of, read, write

SHAPES = [name for name in WRITABLE if name not in ("labels", "binary")]


def back(name: str, found: list[Annotated], folder: Path) -> list[Annotated]:
    path = folder / f"file{FORMATS[name].suffix}"
    write(name, found, path)
    assert format_of(Source(path)) == (name if name != "binary" else "labels")
    return read(Source(path)).images


@pytest.mark.parametrize("name", SHAPES)
def test_particles_come_back_pixel_for_pixel(name: str, apart: Annotated, tmp_path: Path) -> None:
    (found,) = back(name, [apart], tmp_path)
    assert found.masks == apart.masks
    assert (found.categories, found.scores) == (apart.categories, apart.scores)
    assert (found.size, found.pixel_size_nm) == (apart.size, apart.pixel_size_nm)


@pytest.mark.parametrize("name", SHAPES)
def test_overlap_is_kept(name: str, overlapping: Annotated, tmp_path: Path) -> None:
    (found,) = back(name, [overlapping], tmp_path)
    assert found.masks == overlapping.masks


@pytest.mark.parametrize("name", SHAPES)
def test_a_micrograph_without_particles(name: str, tmp_path: Path) -> None:
    empty = Annotated("empty.tif", (20, 30), [], [], [])
    path = tmp_path / f"file{FORMATS[name].suffix}"
    write(name, [empty], path)
    (found,) = read(Source(path, size_of=lambda _: (20, 30))).images
    assert (found.size, len(found)) == ((20, 30), 0)


@pytest.mark.parametrize("name", [n for n, f in FORMATS.items() if f.holds_many and f.write])
def test_several_micrographs_in_one_file(name: str, apart: Annotated, overlapping: Annotated, tmp_path: Path) -> None:
    found = back(name, [apart, overlapping], tmp_path)
    assert [one.name for one in found] == [apart.name, overlapping.name]
    assert [one.masks for one in found] == [apart.masks, overlapping.masks]


def test_every_format_to_every_other(apart: Annotated, tmp_path: Path) -> None:
    """A chain through all of them ends with the masks that it began with."""
    found = [apart]
    for number, (first, second) in enumerate(itertools.permutations(SHAPES, 2)):
        if number % 3 == 0:
            found = back(second, back(first, found, tmp_path), tmp_path)
    assert found[0].masks == apart.masks
    assert (found[0].categories, found[0].scores) == (apart.categories, apart.scores)


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask(name: str, tmp_path: Path, mask: np.ndarray) -> None:
    if not mask.any():
        return
    one = Annotated("a", (mask.shape[0], mask.shape[1]), [rle.encode(mask)], ["particle"], [None])
    (found,) = back(name, [one], tmp_path)
    assert coco_mask.iou(found.masks, one.masks, [0])[0, 0] == 1.0  # type: ignore[arg-type]


def test_label_pictures_keep_what_does_not_overlap(apart: Annotated, tmp_path: Path) -> None:
    (found,) = back("labels", [apart], tmp_path)
    assert found.masks == apart.masks
    assert found.pixel_size_nm == pytest.approx(apart.pixel_size_nm)


def test_format_of_foreign_files(tmp_path: Path) -> None:
    for name, content in {"a.txt": "hello", "b.json": '{"a": 1}', "c.json": "[]", "d.csv": "x,y\n1,2\n"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert format_of(Source(tmp_path / name)) is None
        with pytest.raises(UserError, match="holds no outlines that can be read"):
            read(Source(tmp_path / name))


def test_a_list_of_results_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps([{"image_id": 1, "score": 1.0}]), encoding="utf-8")
    with pytest.raises(UserError, match="list of COCO results"):
        read(Source(tmp_path / "r.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'{"shapes": ', "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "no text in UTF-8"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    ],
)
def test_damaged_text(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(Source(tmp_path / "a.json"))


def test_a_file_of_a_billion_coordinates_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.write(b'{"shapes": [')
        file.truncate(3 * 10**9)  # a sparse file: takes no room
    with pytest.raises(UserError, match="3,000,000,000 bytes"):
        read(Source(path))


def test_missing_file_and_unknown_format(tmp_path: Path, apart: Annotated) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read(Source(tmp_path / "no.json"))
    with pytest.raises(UserError, match="cannot be read"):
        read(Source(tmp_path / ("x" * 300)))
    with pytest.raises(UserError, match="no format 'nonsense'"):
        write("nonsense", [apart], tmp_path / "a")
    with pytest.raises(UserError, match="1,000,000 × 1,000,000"):
        write("labels", [replace(apart, size=(10**6, 10**6), masks=[], categories=[], scores=[])], tmp_path / "a")


def test_sizes_that_are_not_stated_are_asked_for(apart: Annotated, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write("qupath", [apart], path)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["tem_seg"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="does not say how large its micrograph a.geojson is: give .* --image"):
        read(Source(path))
    (found,) = read(Source(path, size_of=lambda _: apart.size)).images
    assert found.masks == apart.masks

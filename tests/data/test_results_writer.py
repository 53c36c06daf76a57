"""predictions.json image by image: the same file as written at once, interrupted or not."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tem_seg.data import results
from tem_seg.data.results_writer import ResultsWriter

KEY = {"checkpoint": "last.ckpt", "modified": 17}


def rows(image_id: int, count: int = 3) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": 1, "bbox": [0.5, 0, 2, k], "score": 0.5,
         "segmentation": {"size": [4, 4], "counts": 'a"\\b'}} for k in range(count)
    ]  # fmt: skip


def part(folder: Path) -> Path:
    return folder / ".p.json.part"


def test_it_is_the_file_that_is_written_at_once(tmp_path: Path) -> None:
    info = {"max_instances": 5, "dataset": "Öl", "best": None}
    with ResultsWriter(tmp_path / "p.json", KEY) as writer:
        for image_id in (3, 1, 2):
            writer.add(image_id, rows(image_id, image_id - 1), {"capped": False})
        assert writer.done == {k: {"capped": False} for k in (3, 1, 2)}
        assert not (tmp_path / "p.json").exists(), "whole or not at all"
        writer.finish(info)
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"], "nothing else is left"
    results.write(tmp_path / "q.json", [*rows(3, 2), *rows(1, 0), *rows(2, 1)], info)
    assert results.read(tmp_path / "p.json") == results.read(tmp_path / "q.json")
    assert (tmp_path / "p.json").read_text() == (tmp_path / "q.json").read_text()


def test_no_images_at_all(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "new" / "p.json", KEY) as writer:
        writer.finish({})
    assert results.read(tmp_path / "new" / "p.json") == ([], {})


@pytest.mark.parametrize("broken", [b"", b'{"image_id":2,"not', b'{"image_id":2}'], ids=["between", "in", "no end"])
def test_an_interrupted_one_goes_on(tmp_path: Path, broken: bytes) -> None:
    """What a killed process was writing is lost, what it had written is not."""
    with suppress(KeyboardInterrupt), ResultsWriter(tmp_path / "p.json", KEY) as writer:
        writer.add(1, rows(1), {"seconds": 2.5})
        raise KeyboardInterrupt
    with part(tmp_path).open("ab") as file:
        file.write(broken)
    with ResultsWriter(tmp_path / "p.json", KEY) as writer:
        assert writer.done == {1: {"seconds": 2.5}}
        writer.add(2, rows(2), {"seconds": 1.0})
        writer.finish({})
    assert results.read(tmp_path / "p.json")[0] == rows(1) + rows(2)


@pytest.mark.parametrize("other", [KEY | {"modified": 18}, {}], ids=["newer checkpoint", "nothing known"])
def test_predictions_of_something_else_are_begun_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    with ResultsWriter(tmp_path / "p.json", other) as writer:
        writer.add(1, rows(1), {})
    with ResultsWriter(tmp_path / "p.json", KEY) as writer:
        assert writer.done == {}
        writer.add(2, rows(2), {})
        writer.finish({})
    assert results.read(tmp_path / "p.json")[0] == rows(2)


def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    results.write(tmp_path / "p.json", rows(9), {})
    with ResultsWriter(tmp_path / "p.json", KEY) as writer:
        writer.add(1, rows(1), {})
        assert results.read(tmp_path / "p.json")[0] == rows(9)
        with pytest.raises(ValueError, match="JSON"):
            writer.finish({"not": float("nan")})
    assert results.read(tmp_path / "p.json")[0] == rows(9) and part(tmp_path).exists()
    assert json.loads(part(tmp_path).read_text().splitlines()[1])["image_id"] == 1

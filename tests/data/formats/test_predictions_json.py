"""A run's predictions.json is outlines too: drafts that a person corrects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.formats import coco_json
from tem_seg.data.formats.model import Source

MASK = np.zeros((20, 30), bool)
MASK[5:12, 8:20] = True


def run_of(folder: Path, *, rows: list[Any] | None = None, shown: tuple[int, ...] = (1,)) -> dict[str, Any]:
    images = [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in (1, 2)]
    dataset = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "gold"}]}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    row = {"image_id": 1, "category_id": 1, "bbox": [8, 5, 12, 7], "score": 0.8, "segmentation": rle.encode(MASK)}
    info = {"dataset": str(folder / "dataset.json"), "image_ids": list(shown)}
    return {"info": info, "results": [row] if rows is None else rows}


def source(folder: Path, content: Any) -> Source:
    path = folder / "predictions.json"
    path.write_text(json.dumps(content))
    return Source(path)


def test_predictions_are_read_with_their_scores_and_classes(tmp_path: Path) -> None:
    given = source(tmp_path, run_of(tmp_path))
    assert coco_json.recognises(given)
    (one,) = coco_json.read(given).images
    assert one.name == "1.png" and one.categories == ["gold"] and one.scores == [0.8]
    np.testing.assert_array_equal(rle.decode(one.masks[0]), MASK)
    assert one.image == tmp_path / "1.png"


def test_a_micrograph_without_a_prediction_stays(tmp_path: Path) -> None:
    found = coco_json.read(source(tmp_path, run_of(tmp_path, rows=[], shown=(1, 2))))
    assert [len(one.masks) for one in found.images] == [0, 0]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    content = run_of(tmp_path)
    with pytest.raises(UserError, match="holds boxes alone"):
        coco_json.read(source(tmp_path, content | {"results": [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]}))
    with pytest.raises(UserError, match="it has no info.dataset"):
        coco_json.read(source(tmp_path, content | {"info": {}}))
    with pytest.raises(UserError, match=r"gone.json, which is not there: put the dataset back"):
        coco_json.read(source(tmp_path, content | {"info": {"dataset": str(tmp_path / "gone.json")}}))
    broken = content["results"][0] | {"segmentation": "none"}
    with pytest.raises(UserError, match="dataset.json"):
        coco_json.read(source(tmp_path, content | {"results": [broken]}))

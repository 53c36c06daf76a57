from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction
from tem_seg.data import results, rle

ROW = {"image_id": 3, "category_id": 1, "bbox": [0, 0, 2, 2], "score": 0.5}


def prediction() -> Prediction:
    mask = rle.encode(np.eye(4, dtype=bool))
    return Prediction(
        boxes=np.array([[1, 2, 4, 8], [0, 0, 1, 1]], np.float32),
        labels=np.array([1, 0]),
        scores=np.array([0.9, 0.25], np.float32),
        masks=[mask, mask],
        rotated_boxes=np.array([[2, 3, 1, 4, -30], [0, 0, 1, 1, 0]], np.float32),
    )


def test_to_results() -> None:
    rows = results.to_results(prediction(), image_id=7, category_ids=[10, 20])
    assert rows[0] == {
        "image_id": 7, "category_id": 20, "bbox": [1, 2, 3, 6], "score": 0.9,
        "segmentation": rle.encode(np.eye(4, dtype=bool)), "rotated_box": [2, 3, 1, 4, -30],
    }  # fmt: skip
    assert rows[1]["category_id"] == 10


def test_outlines_are_rounded_and_an_unknown_edge_is_null() -> None:
    contours = [np.array([[1.04, 2.06], [3.0, 2.0], [3.0, 4.55]], np.float32), np.zeros((0, 2), np.float32)]
    known = replace(prediction(), contours=contours, edge_sd_px=np.array([0.12345, np.nan], np.float32))
    first, second = results.to_results(known, image_id=7, category_ids=[10, 20])
    assert first["contour"] == [[1.0, 2.1], [3.0, 2.0], [3.0, 4.6]] and first["edge_sd_px"] == 0.123
    assert second["contour"] == [] and second["edge_sd_px"] is None


def test_agreement_of_looks_and_members() -> None:
    """One alone agrees with nobody: null."""
    known = replace(
        prediction(), agreement=np.array([1, 1 / 3], np.float32), agreement_iou=np.array([0.87654, np.nan], np.float32)
    )
    first, second = results.to_results(known, image_id=7, category_ids=[10, 20])
    assert (first["agreement"], first["agreement_iou"]) == (1.0, 0.877)
    assert (second["agreement"], second["agreement_iou"]) == (0.333, None)


def test_boxes_only_and_nothing_at_all() -> None:
    full = prediction()
    assert set(results.to_results(Prediction(full.boxes, full.labels, full.scores), 1, [1, 2])[0]) == {
        "image_id", "category_id", "bbox", "score",
    }  # fmt: skip
    none = Prediction(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
    assert results.to_results(none, 1, [1]) == []


def test_write_then_read(tmp_path: Path) -> None:
    rows = results.to_results(prediction(), 7, [10, 20])
    results.write(tmp_path / "p.json", rows, {"max_instances": 1000})
    assert results.read(tmp_path / "p.json") == (rows, {"max_instances": 1000})
    results.write(tmp_path / "p.json", [], {})
    assert results.read(tmp_path / "p.json") == ([], {})


def test_a_bare_coco_list_is_taken(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps([ROW]))
    assert results.read(tmp_path / "p.json") == ([ROW], {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not valid JSON .* run the 'predict' stage again"),
        ("[{", "is not valid JSON"),
        ("3", "holds no predictions"),
        ('{"info": {}}', "holds no predictions"),
        (json.dumps([ROW | {"score": None}]), "image 3 has a score that is not finite"),
        ('[{"image_id": 3, "category_id": 1, "score": NaN}]', "result 0: image 3 has a score that is not finite"),
        (json.dumps([ROW, {"image_id": 3}]), "result 1: category_id and score missing"),
        ("[5]", "result 0: not a JSON object"),
    ],
)
def test_damaged_predictions(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(UserError, match=message):
        results.read(tmp_path / "p.json")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not valid JSON"):
        results.read(tmp_path / "p.json")


def test_no_predictions_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the 'predict' stage first"):
        results.read(tmp_path / "p.json")


def test_by_image_is_sorted_stable_and_complete() -> None:
    rows: list[dict[str, Any]] = [ROW | {"score": s, "tag": t} for s, t in ((0.2, "a"), (0.9, "b"), (0.9, "c"))]
    grouped = results.by_image(rows, [3, 4])
    assert [row["tag"] for row in grouped[3]] == ["b", "c", "a"] and grouped[4] == []
    with pytest.raises(UserError, match="image 3, which the dataset does not hold"):
        results.by_image(rows, [4])


def test_reaching_a_cap_is_a_red_flag() -> None:
    assert results.capped_flags([], 1000) == []
    (flag,) = results.capped_flags(list(range(1, 13)), 1000)
    assert "(max_instances = 1000) in 12 images (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …): some may be missing" in flag


def test_how_many_looks_agree_is_written() -> None:
    rows = results.to_results(replace(prediction(), agreement=np.array([1, 0.125], np.float32)), 7, [10, 20])
    assert [row["agreement"] for row in rows] == [1.0, 0.125]

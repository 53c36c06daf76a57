"""Crowded images taken apart: the same figures as all against all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tem_seg.data import coco, rle
from tem_seg.data.images import write_png
from tem_seg.evaluation import regions
from tem_seg.evaluation.coco_ap import average_precision
from tem_seg.evaluation.matching import match_image
from tem_seg.evaluation.regions import capped, parts

SIZE = (200, 300)


def entries(count: int, seed: int, category: int = 1, wider: int = 0) -> list[dict[str, Any]]:
    """Rectangles of a class; with ``wider`` the same ones, some so many px wider, with other scores."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, SIZE[1] - 15, count), rng.integers(0, SIZE[0] - 12, count)
    w, h = rng.integers(1, 12, count), rng.integers(1, 12, count)
    w = w + wider * rng.integers(0, 2, count)
    scores = np.random.default_rng(seed + wider).permutation(count) / count
    masks = rle.encode_crops([np.ones((b, a), bool) for a, b in zip(w, h, strict=True)], x, y, SIZE)
    return [
        {
            "image_id": 1, "category_id": category, "bbox": box, "segmentation": mask, "score": score, "iscrowd": 0,
            "rotated_box": [box[0] + box[2] / 2, box[1] + box[3] / 2, *sorted(box[2:]), -90.0 * (box[2] > box[3])],
        }
        for box, mask, score in zip(np.stack([x, y, w, h], 1).tolist(), masks, scores.tolist(), strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["segm", "bbox", "rotated"])
def test_nothing_that_overlaps_is_separated(kind: Any) -> None:
    truths, found = entries(150, 0), entries(120, 1)
    made = parts(truths, found, kind, size=40)
    assert len(made) > 3
    assert sorted(np.concatenate([wanted for wanted, _ in made]).tolist()) == list(range(150))
    assert sorted(np.concatenate([mine for _, mine in made]).tolist()) == list(range(120))
    part_of_truth, part_of_found = np.zeros(150, int), np.zeros(120, int)
    for number, (wanted, mine) in enumerate(made):
        part_of_truth[wanted], part_of_found[mine] = number, number
        assert (np.diff(wanted) > 0).all() and (np.diff(mine) > 0).all(), "in the order given"
    for i, row in enumerate(found):
        for j, truth in enumerate(truths):
            (a, b, c, d), (e, f, g, h) = row["bbox"], truth["bbox"]
            if max(a, e) < min(a + c, e + g) and max(b, f) < min(b + d, f + h):
                assert part_of_found[i] == part_of_truth[j]


def test_few_are_left_as_they_are() -> None:
    ((wanted, mine),) = parts(entries(5, 0), entries(4, 1), "segm")
    assert wanted.tolist() == [0, 1, 2, 3, 4] and mine.tolist() == [0, 1, 2, 3]
    ((wanted, mine),) = parts([], [], "bbox")
    assert len(wanted) == len(mine) == 0


@pytest.mark.parametrize("nothing", ["truths", "predictions"])
def test_one_side_without_anything(nothing: str) -> None:
    given = entries(90, 0)
    made = parts([] if nothing == "truths" else given, [] if nothing == "predictions" else given, "segm", size=40)
    assert sum(len(wanted) + len(mine) for wanted, mine in made) == 90


@pytest.mark.parametrize("kind", ["segm", "bbox", "rotated"])
@pytest.mark.parametrize("crowd", [False, True])
def test_the_same_pairs_match(kind: Any, crowd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    truths, found = entries(150, 0) + entries(30, 5, 2), entries(150, 0, 1, 2)[:120] + entries(30, 5, 2, 1)
    if crowd:
        truths[3] |= {"bbox": [20, 20, 90, 70], "segmentation": rle.encode_crop(np.ones((70, 90), bool), 20, 20, SIZE),
                      "rotated_box": [65, 55, 70, 90, -90], "iscrowd": 1}  # fmt: skip
    whole = match_image(truths, found, iou_type=kind)
    monkeypatch.setattr(regions.parts, "__defaults__", (30,))
    taken_apart = match_image(truths, found, iou_type=kind)
    assert (whole.matched >= 0).sum() > 50 and whole.n_truths == 180 - crowd
    for name in ("scores", "matched", "iou", "positions"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(taken_apart, name))


@pytest.mark.parametrize("kind", ["segm", "bbox", "rotated"])
@pytest.mark.parametrize("cap", [1000, 40])
def test_average_precision_is_the_same(
    kind: Any, cap: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:  # fmt: skip
    write_png(tmp_path / "1.png", np.zeros(SIZE, np.uint8))
    truths = [coco.annotation_of(entry["segmentation"], 1, entry["category_id"], number + 1)
              for number, entry in enumerate(entries(150, 0) + entries(40, 5, 2))]  # fmt: skip
    image = {"id": 1, "file_name": "1.png", "height": SIZE[0], "width": SIZE[1]}
    coco.write(tmp_path / "dataset.json", [image], truths, ["a", "b"])
    dataset, found = coco.read(tmp_path / "dataset.json"), entries(150, 0, 1, 2)[:120] + entries(40, 5, 2, 1)
    whole = average_precision(dataset, found, kind, cap)
    monkeypatch.setattr(regions.parts, "__defaults__", (30,))
    np.testing.assert_equal(average_precision(dataset, found, kind, cap), whole)
    assert 0.1 < whole["ap"] < 0.9


def test_the_cap_is_of_each_class_and_takes_the_best() -> None:
    rows = [{"category_id": k, "score": s} for k, s in ((1, 0.2), (1, 0.9), (2, 0.1), (1, 0.5), (1, 0.5))]
    assert capped(rows, 2) == [rows[1], rows[2], rows[3]]
    assert capped(rows, 5) is rows

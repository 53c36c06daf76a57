"""scripts/counting_score.py: what each rule chooses, that scores which part right from wrong are found; bad folders."""

from __future__ import annotations

import json
from pathlib import Path

import counting_score
import cv2
import numpy as np
import pytest
from compare_scenes import write_dataset

from tem_seg.data import coco, results
from tem_seg.data.rle import encode_crop
from tem_seg.evaluation.calibration import fit, outcomes
from tem_seg.evaluation.matching import Matching, best_f1

SIDE, CELLS, HITS = 80, 8, 30


def drawn(rng: np.random.Generator, images: int = 12) -> list[Matching]:
    """Images of 20 predictions whose scores say something of whether they are right; 14 truths in each."""
    found = []
    for _ in range(images):
        scores = np.sort(rng.uniform(0, 1, 20))[::-1]
        right = np.flatnonzero(rng.uniform(0, 1, 20) < 0.1 + 0.6 * scores)[:14]
        matched = np.full(20, -1)
        matched[right] = np.arange(len(right))
        found.append(Matching(scores, matched, np.where(matched >= 0, 0.9, 0.0), 14, np.arange(20)))
    return found


def write_run(folder: Path) -> Path:
    """Four micrographs of 64 squares each: 30 of them found at score 0.9, and 30 slips beside them at 0.1."""
    images, annotations, rows = [], [], []
    for image in range(1, 5):
        for place in range(CELLS**2):
            y, x = (10 * part for part in divmod(place, CELLS))
            square, slip = (encode_crop(np.ones((4, 4), bool), x + by, y, (SIDE, SIDE)) for by in (0, 5))
            annotations.append(coco.annotation_of(square, image, 1, len(annotations) + 1))
            for mask, score in ((square, 0.9), (slip, 0.1)) if place < HITS else ():
                found = coco.annotation_of(mask, image, 1, 1)
                keys = ("image_id", "category_id", "bbox", "segmentation")
                rows.append({key: found[key] for key in keys} | {"score": score})
        images.append({"id": image, "file_name": f"{image}.png", "height": SIDE, "width": SIDE})
        cv2.imwrite(str(folder / f"{image}.png"), np.zeros((SIDE, SIDE), np.uint8))
    coco.write(folder / "dataset.json", images, annotations, ["particle"])
    results.write(folder / "predictions_val.json", rows, {"image_ids": [1, 2, 3, 4]})
    (folder / "datasets.json").write_text(json.dumps({"val": str(folder / "dataset.json")}))
    return folder


def test_where_scores_part_right_from_wrong_every_rule_finds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counting_score.main([str(write_run(tmp_path))])
    lines = capsys.readouterr().out.splitlines()
    f1 = 2 * HITS / (HITS + CELLS**2)
    assert len(lines) == 2 + 5 and all(line.endswith(f" | {f1:.4f} | 0.000 | 0.00 |") for line in lines[2:])


def test_what_each_rule_chooses() -> None:
    half, other = (drawn(np.random.default_rng(seed)) for seed in (0, 1))
    known, (best, f1) = fit(*outcomes(half)), best_f1(half)
    found = counting_score.chosen(half, other)
    assert known is not None and found is not None
    assert (found[0], found[4]) == (best, best_f1(other)[0])
    np.testing.assert_allclose(known.confidence(np.array(found[2:4])), [0.5, f1 / 2])
    assert counting_score.chosen(half[:1], other) is None, "20 predictions hold no 20 right ones"


def test_nothing_beats_the_other_half_s_own_best() -> None:
    f1 = counting_score.compared(drawn(np.random.default_rng(0)), np.random.default_rng(0))[..., 0]
    assert f1.shape == (counting_score.HALVES, 5) and (f1 <= f1[:, 4:]).all() and (f1[:, :4] < f1[:, 4:]).any()


def test_folders_that_cannot_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said() -> str:
        with pytest.raises(SystemExit) as ended:
            counting_score.main([str(tmp_path)])
        assert ended.value.code == 2
        return capsys.readouterr().err

    assert "has no validation split: give folders of runs" in said()
    (tmp_path / "datasets.json").write_text(json.dumps({"val": str(write_dataset(tmp_path))}))
    assert "no predictions at" in said()
    results.write(tmp_path / "predictions_val.json", [], {})
    assert "no half of its validation micrographs can be calibrated" in said()

"""scripts/edges.py without its weights: figures of masks that are the true ones, and of worse ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import edges
import pytest
from compare_scenes import write_dataset

from tem_seg.data import coco
from tem_seg.data.rle import decode, encode


@pytest.mark.parametrize("cut_px", [0, 2])
def test_a_row_by_hand(cut_px: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true masks agree with themselves; masks whose lower rows are missing are too small."""
    dataset = coco.read(write_dataset(tmp_path))
    keys = ("image_id", "category_id", "bbox")
    found = []
    for image in dataset.images:
        for entry in dataset.annotations[image.id]:
            mask = decode(entry["segmentation"])
            rows = mask.any(axis=1).nonzero()[0]
            mask[rows[len(rows) - cut_px :] if cut_px else []] = False
            found.append({key: entry[key] for key in keys} | {"segmentation": encode(mask), "score": 0.9})
    monkeypatch.setattr(edges, "predict_dataset", lambda *_: (found, {}))
    none: Any = None
    cells = [cell.strip() for cell in edges.row("discs", "refined", dataset, none, none, 0.5).strip("|").split("|")]
    assert len(cells) == len(edges.COLUMNS) and cells[:2] == ["discs", "refined"] and cells[4] == "5 (0)"
    measured = dict(zip(edges.COLUMNS, cells, strict=True))
    if not cut_px:
        assert (measured["AP"], measured["F1"], measured["bias, px"]) == ("1.000", "1.000 (nan)", "0.000 (nan)")
    else:
        assert float(measured["AP"]) < 1 and float(measured["bias, px"].split()[0]) < 0

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.core.geometry import canonical_rotated_boxes, rotated_box_corners
from tem_seg.core.types import Instances
from tem_seg.data import coco
from tem_seg.data.images import write_png
from tem_seg.data.readers.dota import Dota
from tem_seg.data.readers.protocol import convert


def read(root: Path, text: str, **changes: Any) -> tuple[dict[str, Any], Instances]:
    write_png(root / "a.png", np.zeros((400, 500), np.uint8))
    (root / "a.txt").write_text(text)
    return next(iter(Dota(root, root, **changes).read("train")))


@pytest.mark.parametrize("angle", [-90.0, -60.5, 0.0, 33.3, 89.0])
def test_a_rectangle_comes_back(angle: float, tmp_path: Path) -> None:
    box = np.array([250.0, 200.0, 12.0, 60.0, angle])
    corners = " ".join(f"{value:.6f}" for value in rotated_box_corners(box).ravel())
    _, found = read(tmp_path, f"{corners} rod 0\n{corners} cube\n")
    assert found.rotated_boxes is not None and found.labels.tolist() == [1, 0]  # sorted: cube, rod
    made = canonical_rotated_boxes(found.rotated_boxes)
    np.testing.assert_allclose(made[:, :4], [box[:4], box[:4]], atol=1e-3)
    apart = (made[:, 4] - angle) % 180.0
    assert np.minimum(apart, 180.0 - apart).max() < 1e-3


def test_a_quadrilateral_becomes_its_smallest_rectangle(tmp_path: Path) -> None:
    _, found = read(tmp_path, "10 10 50 12 50 20 10 20 rod 0")
    assert found.rotated_boxes is not None
    assert canonical_rotated_boxes(found.rotated_boxes)[0].tolist() == pytest.approx([30, 15, 10, 40, -90], abs=1e-3)


@pytest.mark.parametrize(
    ("header", "changes", "expected"),
    [
        ("imagesource:TEM\ngsd:2.5e-10\n", {}, (0.25, "dota label file")),
        ("gsd: 2.5e-10\n", {"pixel_size_nm": 2.0}, (2.0, "override")),
        ("gsd:None\n", {}, (None, None)),
        ("", {}, (None, None)),
    ],
)
def test_gsd_is_in_metres(header: str, changes: dict[str, Any], expected: tuple[Any, Any], tmp_path: Path) -> None:
    image, found = read(tmp_path, f"{header}10 10 50 10 50 20 10 20 rod 1", **changes)
    assert image.get("pixel_size_nm") == pytest.approx(expected[0]) if expected[0] else "pixel_size_nm" not in image
    assert image.get("pixel_size_source") == expected[1]
    assert found.truths == [{"difficult": 1}]


def test_difficult_stays_with_the_annotation(tmp_path: Path) -> None:
    read(tmp_path, "10 10 50 10 50 20 10 20 rod 1\n10 10 50 10 50 20 10 20 rod 0")
    convert(Dota(tmp_path, tmp_path), tmp_path / "out")
    first, second = coco.read(tmp_path / "out/train/dataset.json").annotations[1]
    assert first["difficult"] == 1 and "difficult" not in second
    assert [first["area"], *first["bbox"]] == pytest.approx([400.0, 10, 10, 40, 10], abs=1e-3)

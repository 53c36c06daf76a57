from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tem_seg.core.geometry import rotated_box_corners
from tem_seg.core.types import Instances
from tem_seg.data.images import write_png
from tem_seg.data.readers.labelimg_kitti import LabelImgKitti


def read(root: Path, text: str, size: tuple[int, int] = (400, 500)) -> Instances:
    write_png(root / "a.png", np.zeros(size, np.uint8))
    (root / "a.txt").write_text(text)
    (root / "classes.txt").write_text("rod\n")
    return next(iter(LabelImgKitti(root, root).read("train")))[1]


def corners_as_drawn(x: float, y: float, w: float, h: float, clockwise: float) -> np.ndarray:
    """As the tool turns a shape: x' = cos x - sin y, y' = sin x + cos y, y pointing down."""
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    cosine, sine = math.cos(clockwise), math.sin(clockwise)
    return np.stack([x + corners @ [cosine, -sine], y + corners @ [sine, cosine]], axis=1)


def by_place(corners: np.ndarray) -> np.ndarray:
    return corners[np.lexsort(corners.round(6).T)]


@pytest.mark.parametrize("clockwise", [0.0, 0.3, 1.2, 2.5, 4.175951, 6.2])
def test_corners_are_those_that_the_tool_draws(clockwise: float, tmp_path: Path) -> None:
    """The second line is the example of the tool's README."""
    found = read(tmp_path, f"0 250 200 60 10 {clockwise}\n0 172.0 212.5 96.356169 59.048844 4.175951 a%20note\n")
    assert found.rotated_boxes is not None and len(found) == 2
    drawn = corners_as_drawn(250, 200, 60, 10, clockwise)
    np.testing.assert_allclose(by_place(rotated_box_corners(found.rotated_boxes[0])), by_place(drawn), atol=1e-4)
    assert found.rotated_boxes[1].tolist() == pytest.approx([172.0, 212.5, 96.356169, 59.048844, -239.2643], abs=1e-3)


def test_kittis_own_lines(tmp_path: Path) -> None:
    line = "rod 0.0 0 -1.5 220.0 195.0 280.0 205.0 0 0 0 0 0 0 0.3"
    (tool, kitti, scored) = (read(tmp_path, text).rotated_boxes for text in
                             ("0 250 200 60 10 0.3", line, f"{line} 0.9"))  # fmt: skip
    assert tool is not None and kitti is not None and scored is not None
    np.testing.assert_allclose(kitti, tool)
    np.testing.assert_allclose(scored, tool)

"""Pictures with numbered outlines: what is where, in the PNG as in the SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
import pytest

from tem_seg.data.rle import encode
from tem_seg.reporting.numbered import crop, drawn, svg, write
from tem_seg.reporting.numbered_plan import planned
from tem_seg.reporting.particle_colours import FLAGS

SIZE = (256, 320)
BOXES = [(40, 30, 60, 50), (200, 100, 80, 90), (0, 200, 30, 30)]
GREY = np.full(SIZE, 0.5, np.float32)
SPACE = "{http://www.w3.org/2000/svg}"


def rows() -> list[dict[str, Any]]:
    found = []
    for x, y, w, h in BOXES:
        mask = np.zeros(SIZE, bool)
        mask[y : y + h, x : x + w] = True
        found.append({"bbox": [x, y, w, h], "segmentation": encode(mask), "score": 0.9})
    return found


def table(pixel_size: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame({
        "particle": [1, 2, 3], "score": 0.9, "outline": "mask", "left_out": ["", "", "border"],
        "pixel_size_nm": pixel_size, "equivalent_diameter_nm": [30.0, 47.0, 17.0], "max_feret_nm": [39.0, 60.0, 21.0],
    })  # fmt: skip


def test_outlines_lie_on_the_particles_in_their_colours() -> None:
    plan = planned(SIZE, rows(), table())
    picture = drawn(GREY, plan)
    assert plan.scale == 3.2 and picture.shape[1] == 1024 and picture.shape[0] > plan.size[0] == 819
    for (x, y, w, h), reason in zip(BOXES, ["", "", "border"], strict=True):
        at = (round((y + h) * 3.2 - 0.5), round((x + 0.6 * w) * 3.2))  # on its lower edge
        near = picture[at[0] - 2 : at[0] + 3, at[1]].astype(int)
        assert np.abs(near - FLAGS[reason][1]).sum(axis=1).min() < 90
    middle = picture[round(60 * 3.2), round(50 * 3.2)]
    assert (middle == 128).all()  # the micrograph itself is as it was


def test_the_scale_bar_has_its_length_and_covers_nothing() -> None:
    plan = planned(SIZE, rows(), table())
    assert plan.bar is not None and plan.bar.label == "20 nm" and plan.bar.width_px == pytest.approx(20 / 0.5 * 3.2)
    strip = drawn(GREY, plan)[plan.size[0] :]
    runs = "".join(np.where((strip == 235).all(axis=2)[plan.line_px // 2], "x", " ")).split()
    assert abs(max(map(len, runs)) - plan.bar.width_px) <= 1
    assert planned(SIZE, rows(), table(np.nan).rename(columns=lambda c: c.replace("r_nm", "r_px"))).bar is None


def test_the_svg_says_the_same() -> None:
    plan = planned(SIZE, rows(), table(), "size")
    root = ElementTree.fromstring(svg(GREY, plan))
    titles = [title.text for title in root.iter(f"{SPACE}title")]
    assert titles == ["1: 30 nm, score 0.90", "2: 47 nm, score 0.90", "3: 17 nm, score 0.90, cut by the border"]
    texts = [text.text for text in root.iter(f"{SPACE}text")]
    assert {"1", "2", "3", "2 count: 30 to 47 nm", "cut by the border: 1", "20 nm"} <= set(texts)
    path = next(root.iter(f"{SPACE}path"))
    assert path.get("d", "").startswith("M") and "scale(0.32)" in path.get("transform", "")


def test_no_particles_and_crowds(tmp_path: Path) -> None:
    write(tmp_path, "é <&> 50°", GREY, [], table().iloc[:0])
    assert cv2.imdecode(np.fromfile(tmp_path / "é <&> 50°.png", np.uint8), 1).shape[1] == 1024
    ElementTree.fromstring((tmp_path / "é <&> 50°.svg").read_text(encoding="utf-8"))
    crowd = pd.concat([table().iloc[:1]] * 60, ignore_index=True).assign(particle=range(1, 61))
    plan = planned(SIZE, rows()[:1] * 60, crowd)
    left = sum(place is None for place in plan.at)
    assert left > 0 and any(entry.text.startswith(f"{left} without a number") for entry, _, _ in plan.legend()[0])


def test_the_contour_it_was_measured_on_is_drawn() -> None:
    contour = [[40.5, 30.5], [100.0, 30.5], [100.0, 80.0]]
    (found, *_), _ = (
        planned(SIZE, [rows()[0] | {"contour": contour}], table().iloc[:1].assign(outline="contour")).paths,
        0,
    )
    assert found[0].tolist() == contour
    turned = {"bbox": [0, 0, 20, 20], "rotated_box": [50.0, 60.0, 10.0, 30.0, 0.0], "score": 0.9}
    ((corners,),) = planned(SIZE, [turned], table().iloc[:1].assign(outline="box")).paths
    assert corners.min(axis=0).tolist() == [45.0, 45.0] and corners.max(axis=0).tolist() == [55.0, 75.0]


def test_crops_show_a_particle_and_its_surroundings() -> None:
    for row, outline in ((rows()[0], "mask"), (rows()[2], "mask")):  # one in the middle, one at the frame
        found = crop(GREY, row, outline, side_px=120)
        assert found.shape == (120, 120, 3) and (np.abs(found.astype(int) - FLAGS[""][1]).sum(axis=2) < 60).any()

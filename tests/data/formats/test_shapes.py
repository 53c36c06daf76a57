"""Files as LabelMe, VIA 1-3 and QuPath write them, drawn by hand; and the faults of outlines."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.formats import canvas
from tem_seg.data.formats.model import Found, Source
from tem_seg.data.formats.table import format_of, read

SIZE = (60, 80)
SQUARE = [[10, 20], [30, 20], [30, 40], [10, 40]]
AREA = 400


def given(path: Path, content: Any) -> Source:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return Source(path, size_of=lambda _: SIZE)


def areas(found: Found) -> list[list[int]]:
    return [[rle.area_px(mask) for mask in one.masks] for one in found.images]


def labelme(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": "5.4.1", "shapes": list(shapes), "imagePath": "..\\raw\\a.png", "imageData": None,
            "imageHeight": SIZE[0], "imageWidth": SIZE[1]} | more  # fmt: skip


def shape(kind: str, points: Any, **more: Any) -> dict[str, Any]:
    return {"label": "gold", "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def test_labelme(tmp_path: Path) -> None:
    box = np.zeros((5, 7), np.uint8)
    box[1:3, 2:5] = 1
    picture = base64.b64encode(cv2.imencode(".png", box)[1].tobytes()).decode()
    found = read(given(tmp_path / "a.json", labelme(
        shape("polygon", SQUARE),
        shape("rectangle", [[30, 40], [10, 20]]),
        shape("circle", [[40, 30], [40, 40]]),
        shape("mask", [[20, 10], [26, 14]], mask=picture),
        shape("point", [[1, 1]]), shape("linestrip", [[1, 1], [4, 4]]),
        shape("polygon", SQUARE, group_id=3), shape("polygon", [[50, 20], [60, 20], [60, 40], [50, 40]], group_id=3),
    )))  # fmt: skip
    assert found.images[0].name == "a.png"
    ((square, rectangle, circle, mask, grouped),) = areas(found)
    assert (square, rectangle, mask, grouped) == (AREA, AREA, 6, AREA + 200)
    assert circle == pytest.approx(np.pi * 100, rel=0.02)
    assert found.images[0].categories == ["gold"] * 5
    assert len(found.notes) == 2


@pytest.mark.parametrize("mask", [None, "no base64!", "AAAA", ""])
def test_damaged_labelme_masks(tmp_path: Path, mask: Any) -> None:
    with pytest.raises(UserError, match="its mask is damaged"):
        read(given(tmp_path / "a.json", labelme(shape("mask", [[20, 10], [26, 14]], mask=mask))))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 1], [5, 5]], "at least three x, y pairs"),
        ([], "at least three x, y pairs"),
        ("nonsense", "at least three x, y pairs"),
        ([[1, 1], [5, None], [9, 9]], "at least three x, y pairs"),
        ([[1, 1], [float("nan"), 5], [9, 1]], "NaN or infinity"),
        ([[1, 1], [float("inf"), 5], [9, 1]], "NaN or infinity"),
        ([[1, 1], [10**400, 5], [9, 1]], "NaN or infinity"),
        ([[1, 1], [500, 5], [9, 1]], "reaches outside its image of 80 × 60 px"),
        ([[10, 10], [30, 30], [30, 10], [10, 30]], "crosses itself"),
    ],
)
def test_faults_of_polygons(tmp_path: Path, points: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"1 fault.*(\n.*)*shape 2: .*{message}"):
        read(given(tmp_path / "a.json", labelme(shape("polygon", SQUARE), shape("polygon", points))))


def test_outlines_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "MOST_OUTLINE_PX", 2e4)
    monkeypatch.setattr(canvas, "MOST_POINTS", 1000)
    comb = [[1 + 77 * (k // 2 % 2), 1 + k * 58 / 900] for k in range(900)] + [[0, 59], [0, 1]]
    with pytest.raises(UserError, match="shape 1: an outline 3.47e.04 px long"):
        read(given(tmp_path / "a.json", labelme(shape("polygon", comb))))
    with pytest.raises(UserError, match="an outline of 1,001 points"):
        read(given(tmp_path / "a.json", labelme(shape("polygon", [[1, 1]] * 1001))))


def test_outlines_between_pixel_centres_are_counted(tmp_path: Path) -> None:
    found = read(given(tmp_path / "a.json", labelme(shape("polygon", [[1.1, 1.1], [1.3, 1.1], [1.2, 1.3]]))))
    assert areas(found) == [[]] and "covers no pixel's centre" in found.notes[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"imageHeight": 10**6, "imageWidth": 10**6}, "1000000 × 1000000 px: no micrograph is"),
        ({"imageHeight": "60"}, "no micrograph is"),
        ({"imageHeight": -1}, "no micrograph is"),
        ({"pixel_size_nm": 0}, "pixel_size_nm must be a positive number"),
        ({"pixel_size_nm": "NaN"}, "pixel_size_nm must be a positive number"),
    ],
)
def test_faults_of_the_frame(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(given(tmp_path / "a.json", labelme(shape("polygon", SQUARE), **more)))


@pytest.mark.parametrize("score", [1.5, -0.1, "high", float("nan")])
def test_bad_scores(tmp_path: Path, score: Any) -> None:
    with pytest.raises(UserError, match="score must lie between 0 and 1"):
        read(given(tmp_path / "a.json", labelme(shape("polygon", SQUARE, score=score))))


# ---------------------------------------------------------------------------------------------------------- VIA

REGIONS = [
    {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [20, 20, 40, 40]},
    {"name": "rect", "x": 10, "y": 20, "width": 20, "height": 20},
    {"name": "circle", "cx": 40, "cy": 30, "r": 10},
    {"name": "ellipse", "cx": 40, "cy": 30, "rx": 20, "ry": 5, "theta": 1.5707963},
    {"name": "point", "cx": 1, "cy": 1},
]


def check_four(found: Found) -> None:
    ((polygon, rectangle, circle, ellipse),) = areas(found)
    assert (polygon, rectangle) == (AREA, AREA)
    assert (circle, ellipse) == pytest.approx((np.pi * 100, np.pi * 100), rel=0.03)
    tall = rle.decode_crop(found.images[0].masks[3])[0].shape
    assert tall == pytest.approx((40, 10), abs=1)
    assert len(found.notes) == 1


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_via_1_and_2(tmp_path: Path, project: bool, version: int) -> None:
    regions: Any = [{"shape_attributes": region, "region_attributes": {"type": "gold"}} for region in REGIONS]
    regions = regions if version == 2 else {str(k): region for k, region in enumerate(regions)}
    content: Any = {"a.png123": {"filename": "a.png", "size": 123, "regions": regions, "file_attributes": {}}}
    source = given(tmp_path / "a.json", {"_via_img_metadata": content} if project else content)
    assert format_of(source) == "via"
    check_four(read(source))
    assert read(source).images[0].categories == ["gold"] * 4


def test_via_2_csv(tmp_path: Path) -> None:
    """A row as VIA 2.0.12 exports it, and a micrograph without regions."""
    text = (
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
        'a.png,12,"{}",1,0,"{""name"":""polygon"",""all_points_x"":[10,30,30,10],""all_points_y"":[20,20,40,40]}",'
        '"{""class"":""gold""}"\n'
        'b, c.png,12,"{}",0,0,"{}","{}"\n'.replace("b, c.png", '"b, c.png"')
    )
    found = read(given(tmp_path / "a.csv", text))
    assert areas(found) == [[AREA], []]
    assert [one.name for one in found.images] == ["a.png", "b, c.png"]


def test_via_3(tmp_path: Path) -> None:
    shapes = [[7, 10, 20, 30, 20, 30, 40, 10, 40], [2, 10, 20, 20, 20], [3, 40, 30, 10], [4, 40, 30, 5, 20], [1, 5, 5]]
    content = {
        "project": {"pid": "x", "vid_list": ["1"]}, "config": {}, "view": {"1": {"fid_list": ["1"]}},
        "file": {"1": {"fid": "1", "fname": "a.png", "type": 2, "loc": 1, "src": ""}},
        "attribute": {"1": {"aname": "class", "anchor_id": "FILE1_Z0_XY1", "type": 1}},
        "metadata": {f"1_{k}": {"vid": "1", "flg": 0, "z": [], "xy": xy, "av": {"1": "gold"}}
                     for k, xy in enumerate(shapes)},
    }  # fmt: skip
    source = given(tmp_path / "a.json", content)
    assert format_of(source) == "via3"
    check_four(read(source))
    assert read(source).images[0].categories == ["gold"] * 4


def test_via_3_csv(tmp_path: Path) -> None:
    text = (
        "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)\n"
        '# ATTRIBUTE = {"1":{"aname":"class","anchor_id":"FILE1_Z0_XY1","type":1}}\n'
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
        '"1_x","[""a.png""]",0,"[]","[7,10,20,30,20,30,40,10,40]","{""1"":""gold""}"\n'
    )
    source = given(tmp_path / "a.csv", text)
    assert format_of(source) == "via3_csv"
    found = read(source)
    assert areas(found) == [[AREA]] and found.images[0].categories == ["gold"]


@pytest.mark.parametrize("region", [{}, None, {"shape_attributes": {"name": "polygon"}}, {"shape_attributes":
                         {"name": "rect", "x": float("nan"), "y": 1, "width": 2, "height": 2}}])  # fmt: skip
def test_damaged_via(tmp_path: Path, region: Any) -> None:
    content = {"a": {"filename": "a.png", "size": 1, "regions": [region], "file_attributes": {}}}
    with pytest.raises(UserError, match="region 1: polygon needs at least three x, y pairs"):
        read(given(tmp_path / "a.json", content))


def test_damaged_via_csv(tmp_path: Path) -> None:
    text = "filename,region_shape_attributes\na.png,{damaged\n"
    with pytest.raises(UserError, match="'{damaged' is not valid JSON"):
        read(given(tmp_path / "a.csv", text))


# ------------------------------------------------------------------------------------------------------- QuPath


def feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "id": "x", "geometry": {"type": kind, "coordinates": coordinates},
            "properties": {"objectType": "annotation"} | properties}  # fmt: skip


@pytest.mark.parametrize("wrapped", [True, False])
def test_qupath(tmp_path: Path, wrapped: bool) -> None:
    ring = [*SQUARE, SQUARE[0]]
    hole = [[15, 25], [25, 25], [25, 35], [15, 35], [15, 25]]
    far = [[[50, 20], [60, 20], [60, 40], [50, 40], [50, 20]]]
    features = [
        feature("Polygon", [ring], classification={"name": "Gold", "color": [200, 0, 0]}),
        feature("Polygon", [ring, hole], measurements=[{"name": "score", "value": 0.75}]),
        feature("MultiPolygon", [[ring, hole], far]),
        feature("LineString", SQUARE),
    ]
    source = given(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": features} if wrapped else features)
    found = read(source)
    assert areas(found) == [[AREA, AREA - 100, AREA + 100]]
    assert (found.images[0].categories[0], found.images[0].scores[1]) == ("Gold", 0.75)
    assert len(found.notes) == 1


@pytest.mark.parametrize("bad", [None, {"type": "Feature"}, feature("Polygon", [[[1, 1], [2, 2]]]),
                                 feature("Polygon", 7),
                                 feature("MultiPolygon", [7]), feature("Polygon", [])])  # fmt: skip
def test_damaged_geojson(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(UserError, match="feature 2"):
        read(given(tmp_path / "a.json", [feature("Polygon", [SQUARE]), bad]))

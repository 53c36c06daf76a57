from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.data import coco, rle
from tem_seg.data.images import write_png
from tem_seg.data.validation import crosses_itself, find_faults

Content = dict[str, Any]


@pytest.fixture
def content(tmp_path: Path) -> Content:
    write_png(tmp_path / "a.png", np.zeros((6, 8), np.uint8))
    mask = np.zeros((6, 8), bool)
    mask[2:5, 3:7] = True
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8, "modality": "sem", "pixel_size_nm": None}],
        "annotations": [coco.annotation_of(rle.encode(mask), 1, 1, 1)],
        "categories": [{"id": 1, "name": "particle"}],
    }


def test_a_sound_file_and_an_image_without_particles(content: Content, tmp_path: Path) -> None:
    assert find_faults(content, tmp_path) == []
    assert find_faults(content | {"annotations": []}, tmp_path) == []


def test_a_one_pixel_particle_is_sound(content: Content, tmp_path: Path) -> None:
    one = np.zeros((6, 8), bool)
    one[0, 0] = True
    content["annotations"] = [coco.annotation_of(rle.encode(one), 1, 1, 1)]
    assert find_faults(content, tmp_path) == []


def _set(section: str, **values: Any) -> Callable[[Content], None]:
    return lambda content: content[section][0].update(values)


def _twice(section: str) -> Callable[[Content], None]:
    return lambda content: content[section].append(copy.deepcopy(content[section][0]))


MASK = {"size": [6, 8], "counts": [10, 3, 35]}
CASES: list[tuple[Callable[[Content], None], str]] = [
    (_set("images", id=None), "images[0]: id must be an integer, got None"),
    (_set("images", id=[1]), "images[0]: id must be an integer, got [1]"),
    (_twice("images"), "image id 1 is used more than once"),
    (_set("images", file_name=None), "image 1 (None): no file_name"),
    (_set("images", file_name="zz.png"), "image 1 (zz.png): file not found in"),
    (_set("images", height=0), "image 1 (a.png): height must be a positive integer, got 0"),
    (_set("images", width="8"), "image 1 (a.png): width must be a positive integer, got '8'"),
    (_set("images", height=True), "height must be a positive integer, got True"),
    (_set("images", pixel_size_nm=-1), "image 1 (a.png): pixel_size_nm must be positive and finite, got -1"),
    (_set("images", pixel_size_nm=float("nan")), "pixel_size_nm must be positive and finite, got nan"),
    (_set("images", pixel_size_nm="1 nm"), "pixel_size_nm must be positive and finite, got '1 nm'"),
    (_set("images", modality="xray"), "modality must be one of bright_field haadf sem tsem unknown, got 'xray'"),
    (_set("categories", name=None), "category 1: no name"),
    (_twice("categories"), "category id 1 is used more than once"),
    (_twice("categories"), "category name 'particle' is used more than once"),
    (_twice("annotations"), "annotation id 1 is used more than once"),
    (_set("annotations", id=None), "annotations[0]: id must be an integer, got None"),
    (_set("annotations", image_id=9), "image 9, annotation 1: no such image in this file"),
    (_set("annotations", image_id={}), "image {}, annotation 1: no such image in this file"),
    (_set("annotations", category_id=4), "image 1, annotation 1: category 4 is not in 'categories'"),
    (_set("annotations", bbox=None), "image 1, annotation 1: bbox must be four finite numbers"),
    (_set("annotations", bbox=[0, 0, 1]), "bbox must be four finite numbers"),
    (_set("annotations", bbox=[0, 0, "a", 1]), "bbox must be four finite numbers"),
    (_set("annotations", bbox=[0, 0, float("nan"), 1]), "bbox must be four finite numbers"),
    (_set("annotations", bbox=[0, 0, 0, 3]), "bbox [0, 0, 0, 3] has no area"),
    (_set("annotations", bbox=[5, 0, 9, 3]), "reaches outside its image of 8 × 6 px"),
    (_set("annotations", rotated_box=[1, 2]), "rotated_box must be five finite numbers"),
    (_set("annotations", segmentation="x"), "segmentation is neither RLE nor polygons, but 'x'"),
    (_set("annotations", segmentation=None, bbox=None, rotated_box=None), "neither segmentation nor bbox nor rotated"),
    (_set("annotations", segmentation=[], bbox=[1, 1, 0, 2], rotated_box=None), "bbox [1, 1, 0, 2] has no area"),
    (_set("annotations", rotated_box=[4, 3, 0, 2, 0]), "rotated_box [4, 3, 0, 2, 0] has no area"),
    (_set("annotations", rotated_box=[4, 3, 2, -1, 0]), "has no area: both sides must be positive"),
    (_set("annotations", rotated_box=[4, 3, 2, float("nan"), 0]), "rotated_box must be five finite numbers"),
    (_set("annotations", rotated_box=[4, 3, 2, 1e6, 0]), "has a side of 1e+06 px, its image is 8 × 6 px"),
    (_set("annotations", rotated_box=[12, 3, 2, 4, 0]), "lies wholly outside its image of 8 × 6 px"),
    (_set("annotations", segmentation=None, bbox=[4, 3, 2, 1e6, 0], rotated_box=None), "has a side of 1e+06 px"),
    (_set("annotations", segmentation=[[1, 1, 7, 5, 7, 1, 1, 5]]), "polygon [1, 1, 7, 5, 7, 1, 1, 5]… crosses itself"),
    (_set("annotations", segmentation={}), "mask has size None, its image [6, 8]"),
    (_set("annotations", segmentation=MASK | {"size": [60, 80]}), "mask has size [60, 80], its image [6, 8]"),
    (_set("annotations", segmentation=MASK | {"counts": [10, 3, 99]}), "RLE covers 112 px, its image has 48"),
    (_set("annotations", segmentation=MASK | {"counts": [10, -3, 41]}), "RLE counts are damaged"),
    (_set("annotations", segmentation=MASK | {"counts": "0P"}), "RLE counts are damaged"),
    (_set("annotations", segmentation=MASK | {"counts": None}), "RLE counts are damaged"),
    (_set("annotations", segmentation=MASK | {"counts": [48]}), "mask is empty"),
    (_set("annotations", full_segmentation=MASK | {"size": [1, 1]}), "full_segmentation: mask has size [1, 1]"),
    (_set("annotations", segmentation=[[1, 1, 2, 2]]), "polygon needs at least three x, y pairs"),
    (_set("annotations", segmentation=[[1, 1, 2, 2, 3]]), "polygon needs at least three x, y pairs"),
    (_set("annotations", segmentation=[[1, 1, 2, 2, 3, "x"]]), "polygon needs at least three x, y pairs"),
    (_set("annotations", segmentation=[[1, 1, 2, 2, 3, float("nan")]]), "polygon holds NaN or infinity"),
    (_set("annotations", segmentation=[[1, 1, 20, 1, 20, 5]]), "polygon reaches outside its image of 8 × 6 px"),
    (_set("annotations", segmentation=[[1, 1, 5, 1, 5, 9]]), "polygon reaches outside its image of 8 × 6 px"),
    (_set("annotations", segmentation=[[1, 1, 1, 1, 1, 1]]), "polygon covers no pixel"),
]


@pytest.mark.parametrize(("damage", "fault"), CASES, ids=[fault[:50] for _, fault in CASES])
def test_each_fault_is_named(content: Content, tmp_path: Path, damage: Callable[[Content], None], fault: str) -> None:
    damage(content)
    assert any(fault in found for found in find_faults(content, tmp_path)), find_faults(content, tmp_path)


def _more(content: Content, **values: Any) -> Content:
    """With a second annotation, whose keys with None are missing."""
    other = {k: v for k, v in (content["annotations"][0] | {"id": 2} | values).items() if v is not None}
    return content | {"annotations": [content["annotations"][0], other]}


def test_boxes_alone_are_sound_but_no_mixture(content: Content, tmp_path: Path) -> None:
    assert any("1 of 2 annotations have no segmentation (the first is annotation 2" in fault
               for fault in find_faults(_more(content, segmentation=None), tmp_path))  # fmt: skip
    del content["annotations"][0]["segmentation"]
    assert find_faults(content, tmp_path) == []
    assert any("1 of 2 annotations have an upright box only" in fault
               for fault in find_faults(_more(content, rotated_box=None), tmp_path))  # fmt: skip
    assert find_faults(_more(content, bbox=None), tmp_path) == []
    content["annotations"][0] |= {"bbox": [4, 3, 2, 4, 90], "rotated_box": None}  # Detectron2's XYWHA_ABS
    assert find_faults(content, tmp_path) == []


@pytest.mark.parametrize("box", [[9, 3, 2, 4, 0], [-1, 3, 2, 4, 90], [8.5, 6.5, 2, 2, 45], [4, 3, 15, 2, 10]])
def test_a_rotated_box_may_reach_out_of_its_image(content: Content, tmp_path: Path, box: list[float]) -> None:
    content["annotations"][0]["rotated_box"] = box
    assert find_faults(content, tmp_path) == []


RING, HOLE = [[0, 0], [20, 0], [20, 20], [0, 20]], [[5, 5], [5, 15], [15, 15], [15, 5]]


@pytest.mark.parametrize(
    ("points", "crossing"),
    [
        (RING, False),
        ([*RING, [0, 0], *HOLE, [5, 5]], False),  # a slit to a hole, there and back
        ([[0, 0], [20, 20], [20, 0], [0, 20]], True),  # a bow tie
        ([[10, 0], [16, 19], [0, 7], [20, 7], [4, 19]], True),  # a pentagram: its middle is gone around twice
        ([[0, 0], [20, 0], [20, 20], [0, 20], [-0.5, 20.5], [0.2, 20]], False),  # a speck of a loop
        ([[1, 1], [1, 1], [1, 1]], False),  # no area at all: said elsewhere
    ],
)
def test_crossing_outlines(points: list[list[float]], crossing: bool) -> None:
    assert crosses_itself(np.asarray(points, np.float64)) is crossing


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ([], "the file is not a JSON object"),
        ({"images": []}, "'annotations' is missing or not a list"),
        ({"images": [3], "annotations": [], "categories": []}, "images[0] is not a JSON object"),
        ({"images": [], "annotations": [], "categories": []}, "no images"),
        ({"images": [], "annotations": [], "categories": []}, "no categories"),
    ],
)
def test_files_that_are_no_dataset(content: Any, fault: str, tmp_path: Path) -> None:
    assert fault in find_faults(content, tmp_path)


def test_an_unusable_size_is_said_once_at_the_image(content: Content, tmp_path: Path) -> None:
    content["images"][0]["height"] = None
    assert find_faults(content, tmp_path) == ["image 1 (a.png): height must be a positive integer, got None"]

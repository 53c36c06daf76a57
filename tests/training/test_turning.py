"""Crops turned by any angle: pixels, masks and boxes move together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import (
    canonical_rotated_boxes,
    enclosing_boxes,
    rotated_box_corners,
    rotated_box_of_points,
    rotated_boxes_corners,
    wrap_half_turn,
)
from tem_seg.data import coco, rle
from tem_seg.data.images import write_png
from tem_seg.training.augment import Tone, boxes_of_masks, crop_image, crop_masks, draw_window
from tem_seg.training.dataset import PADDING, CropPolicy, TrainingSet
from tem_seg.training.turning import crop_boxes, rotated_boxes_of_masks
from tem_seg.training.window import Window

SIZE = (150, 200)
RODS = np.array([[100.0, 75, 9, 60, 20], [70, 60, 12, 40, -65], [130, 95, 8, 50, 89]])


def window(**changes: Any) -> Window:
    whole = {"x0": 0, "y0": 0, "width": 200, "height": 150, "out_width": 200, "out_height": 150}
    return Window(**(whole | {"mirror": False, "quarter_turns": 0} | changes))


def rod_masks(boxes: NDArray[np.float64] = RODS, size: tuple[int, int] = SIZE) -> list[Any]:
    return [rle.from_polygons([shape.ravel().tolist()], size) for shape in rotated_boxes_corners(boxes)]


def turned_angles(boxes: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([wrap_half_turn(angle) for angle in boxes[:, 4]])


@pytest.mark.parametrize("turn", [-45.0, -10.0, 3.0, 30.0, 90.0, 145.0])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_rod_turned_by_theta_has_its_angle_changed_by_theta(turn: float, scale: float) -> None:
    view = window(turn_deg=turn, out_width=int(200 * scale), out_height=int(150 * scale))
    masks, chosen = crop_masks(rod_masks(), view)
    assert chosen == [0, 1, 2]
    found = rotated_boxes_of_masks(masks, boxes_of_masks(masks))
    change = turned_angles(np.column_stack([RODS[:, :4], found[:, 4] - RODS[:, 4] - turn]))
    assert np.abs(change).max() < 2.0
    np.testing.assert_allclose(found[:, 2:4], scale * RODS[:, 2:4], atol=1 + scale)  # pixels of the annotation
    _, boxes, which = crop_boxes(rotated_boxes_corners(RODS), view)
    assert which == [0, 1, 2]
    np.testing.assert_allclose(turned_angles(boxes - [0, 0, 0, 0, turn] - RODS), 0, atol=0.1)
    np.testing.assert_allclose(boxes[:, :2], found[:, :2], atol=1.0)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_and_mirrors(mirror: bool, turns: int) -> None:
    """A mirror changes the sign of an angle; the same from masks and from boxes."""
    view = window(mirror=mirror, quarter_turns=turns)
    masks, _ = crop_masks(rod_masks(), view)
    upright, boxes, _ = crop_boxes(rotated_boxes_corners(RODS), view)
    wanted = canonical_rotated_boxes(RODS * [1, 1, 1, 1, -1 if mirror else 1] + [0, 0, 0, 0, 90 * turns])
    np.testing.assert_allclose(boxes[:, 2:4], wanted[:, 2:4], atol=1e-3)
    np.testing.assert_allclose(turned_angles(boxes - wanted), 0, atol=0.1)
    np.testing.assert_allclose(upright, boxes_of_masks(masks), atol=1.0)
    np.testing.assert_allclose(upright, enclosing_boxes(boxes), atol=1e-2)


@pytest.mark.parametrize("seed", range(8))
def test_masks_and_pixels_equal_the_dense_oracle(seed: int) -> None:
    """The mask as pixels, through crop_image and through crop_masks, and read in float64 at every pixel's centre."""
    draw = np.random.default_rng(seed)
    view = window(
        x0=30, y0=20, width=120, height=110,
        out_width=int(draw.integers(60, 300)), out_height=int(draw.integers(60, 300)),
        turn_deg=draw.uniform(-90, 90), mirror=bool(draw.integers(2)), quarter_turns=int(draw.integers(4)),
    )  # fmt: skip
    mask = rle.decode(rod_masks()[0]).astype(np.float32)
    inverse = np.linalg.inv(np.vstack([view.matrix(), [0, 0, 1]]))
    y, x = np.mgrid[: view.out_height, : view.out_width] + 0.5
    source = np.einsum("ij,jrc->irc", inverse, np.stack([x, y, np.ones_like(x)]))
    wanted = view.orient(
        map_coordinates(mask.astype(float), [source[1] - 0.5, source[0] - 0.5], order=1, mode="constant")
    )
    inside = view.orient((source[0] > 0) & (source[0] < 200) & (source[1] > 0) & (source[1] < 150))
    pixels = crop_image(mask, view)
    np.testing.assert_array_equal(np.isnan(pixels), ~inside)
    shrinks = view.out_width < view.width
    assert np.abs(pixels - wanted)[inside].mean() < (0.01 if shrinks else 0.005)
    masks, chosen = crop_masks(rod_masks()[:1], view)
    assert chosen == [0] and masks.shape[1:] == pixels.shape == view.size
    sure = np.abs(wanted - 0.5) > 0.05
    np.testing.assert_array_equal(masks[0][sure], (wanted > 0.5)[sure])


def test_turning_back_gives_the_picture_back() -> None:
    draw = np.random.default_rng(3)
    pixels = map_coordinates(draw.random((20, 26)), np.mgrid[0:19:150j, 0:25:200j], order=3).astype(np.float32)
    there = crop_image(pixels, window(turn_deg=33.0))
    assert np.isnan(there).any()
    back = crop_image(np.nan_to_num(there), window(turn_deg=-33.0))
    middle = (slice(50, 100), slice(70, 130))
    np.testing.assert_allclose(back[middle], pixels[middle], atol=0.02)


def test_no_turn_is_the_crop_as_it_was() -> None:
    draw = np.random.default_rng(4)
    pixels = draw.random(SIZE).astype(np.float32)
    view = window(out_width=320, out_height=240)
    tiny = replace(view, turn_deg=1e-7)
    difference = np.abs(crop_image(pixels, view) - crop_image(pixels, tiny))
    assert np.nanmax(difference) < 0.05 and np.nanmean(difference) < 1e-3
    drawn = [
        draw_window(SIZE, 20.0, 64, (0.5, 2.0), (8, 99), np.random.default_rng(1), 0.2, turn) for turn in (0.0, 30.0)
    ]
    assert drawn[0].turn_deg == 0 and 0 < abs(drawn[1].turn_deg) < 30 and replace(drawn[1], turn_deg=0.0) == drawn[0]


def test_boxes_that_the_crop_cuts() -> None:
    """Half of a rod: the rectangle of what is seen. Beside the crop: nothing. A sliver: nothing."""
    rods = np.array([[0.0, 75, 10, 80, 90], [-50, 75, 10, 20, 0], [-4.9, 75, 10, 20, 0]])
    upright, boxes, chosen = crop_boxes(rotated_boxes_corners(rods), window())
    assert chosen == [0]
    np.testing.assert_allclose(upright, [[0, 70, 40, 80]], atol=1e-3)
    np.testing.assert_allclose(boxes, [[20, 75, 10, 40, -90]], atol=1e-3)
    upright, boxes, chosen = crop_boxes(np.zeros((0, 4, 2)), window())
    assert upright.shape == (0, 4) and boxes.shape == (0, 5) and chosen == []


def test_rotated_box_of_one_pixel() -> None:
    mask = np.zeros((1, 9, 9), np.uint8)
    mask[0, 4, 5] = 1
    np.testing.assert_allclose(rotated_boxes_of_masks(mask, boxes_of_masks(mask))[0, :4], [5.5, 4.5, 1, 1])
    assert rotated_boxes_of_masks(np.zeros((0, 9, 9), np.uint8), np.zeros((0, 4), np.float32)).shape == (0, 5)


def dataset(folder: Path, kind: str) -> coco.CocoDataset:
    """Rods on two micrographs, the second one empty, annotated with masks, rotated boxes or upright boxes."""
    pixels = np.full(SIZE, 60, np.uint8)
    annotations = [coco.annotation_of(mask, 1, 1, index + 1) for index, mask in enumerate(rod_masks())]
    for mask in rod_masks():
        pixels[rle.decode(mask).astype(bool)] = 200
    left_out = {"masks": (), "rotated": ("segmentation", "bbox", "area"), "upright": ("segmentation", "rotated_box")}[
        kind
    ]
    entries = [{key: value for key, value in entry.items() if key not in left_out} for entry in annotations]
    images = [{"id": k, "file_name": f"{k}.png", "height": 150, "width": 200} for k in (1, 2)]
    for k in (1, 2):
        write_png(folder / f"{k}.png", pixels if k == 1 else np.full(SIZE, 60, np.uint8))
    coco.write(folder / "dataset.json", images, entries, ["rod"])
    return coco.read(folder / "dataset.json")


def samples(source: coco.CocoDataset, rotated: bool, rotate_deg: float = 180.0, count: int = 8) -> list[Any]:
    policy = CropPolicy(128, (0.7, 1.2), (8.0, 160.0), rotate_deg=rotate_deg)
    found = TrainingSet(source, samples=count, seed=0, crop=policy, tone=Tone(), rotated=rotated)
    return [found[k] for k in range(count)]


@pytest.mark.parametrize("kind", ["masks", "rotated", "upright"])
def test_targets_hold_what_the_annotations_know(tmp_path: Path, kind: str) -> None:
    source = dataset(tmp_path, kind)
    rotated = kind != "upright"
    negatives = 0
    for image, target in samples(source, rotated):
        assert image.shape == (1, 128, 128) and image.isfinite().all()
        count = len(target["labels"])
        negatives += not count
        assert target["boxes"].shape == (count, 4)
        assert ("rotated_boxes" in target) == rotated
        assert "masks" not in target or kind == "masks" or not count
        if rotated:
            boxes = target["rotated_boxes"].numpy()
            assert boxes.shape == (count, 5) and boxes.dtype == np.float32
            np.testing.assert_allclose(enclosing_boxes(boxes).reshape(-1, 4), target["boxes"], atol=6)
    assert 0 < negatives < 8


def test_masks_and_boxes_lead_to_the_same_targets(tmp_path: Path) -> None:
    by_mask = samples(dataset(tmp_path / "a", "masks"), True)
    by_box = samples(dataset(tmp_path / "b", "rotated"), True)
    compared = 0
    for (image, target), (same_image, other) in zip(by_mask, by_box, strict=True):
        if len(target["boxes"]) == 3 == len(other["boxes"]):
            compared += 1
            np.testing.assert_allclose(target["rotated_boxes"][:, :2], other["rotated_boxes"][:, :2], atol=4)
            assert image.shape == same_image.shape
    assert compared


def test_what_lies_beyond_the_micrograph_is_grey(tmp_path: Path) -> None:
    shares = [
        float((image == np.float32(PADDING)).float().mean()) for image, _ in samples(dataset(tmp_path, "masks"), False)
    ]
    assert max(shares) > 0.02


def test_upright_annotations_cannot_train_a_rotated_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="upright boxes alone: use model=faster_rcnn"):
        samples(dataset(tmp_path, "upright"), True)


@pytest.mark.parametrize("rotate_deg", [-1.0, 181.0, float("nan")])
def test_angles_are_checked(rotate_deg: float) -> None:
    with pytest.raises(ValueError, match="rotate_deg must be between 0 and 180"):
        CropPolicy(128, rotate_deg=rotate_deg)


def test_corners_and_rectangles_agree() -> None:
    """The rectangle of a placed box's corners is that box, turned: rectangles stay rectangles."""
    view = window(turn_deg=25.0, out_width=400, out_height=300)
    placed = view.place(rotated_box_corners(RODS[0])[None])[0]
    cx, cy, w, h, angle = rotated_box_of_points(placed)
    assert [w, h] == pytest.approx([18, 120], abs=1e-3) and angle == pytest.approx(45, abs=1e-2)
    np.testing.assert_allclose([cx, cy], view.place(RODS[:1, None, :2])[0, 0], atol=1e-3)

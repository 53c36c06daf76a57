"""Tiles and seams, with a model that finds what it is shown exactly and cuts it where its view ends."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from inference_scenes import Scripted, box_set, disc, mask_set, painted, seer
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.inference.instances import keep
from tem_seg.inference.predict import Predictor
from tem_seg.inference.tiling import STEP_PX, joined, tiles
from tem_seg.models.contract import RcnnSpec, SegmentationModel
from tem_seg.models.torchvision.rcnn import TorchvisionRcnn

FRAME = (448, 640)
TILED = Predictor(tile_px=256, overlap_px=64)
SEAM_X, SEAM_Y = 224, 224
"""Tiles of FRAME overlap in columns 192–256 and 384–448 and in rows 192–256: a place in the midst of four tiles."""


def test_tiles_of_the_frame_above() -> None:
    assert tiles(FRAME, 256, 64).tolist() == [
        [x, y, x + 256, y + 256] for y in (0, 192) for x in (0, 192, 384)
    ]  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37, 1.7, 4.0])
@pytest.mark.parametrize("size", [(300, 257), (1000, 64), (1024, 5000), (1, 700), (256, 256)])
def test_tiles_cover_and_overlap(size: tuple[int, int], scale: float) -> None:
    windows = tiles(size, 256, 64, scale)
    seen = np.zeros(size, np.uint8)
    for x0, y0, x1, y1 in windows.tolist():
        seen[y0:y1, x0:x1] += 1
        assert max((x1 - x0) * scale, (y1 - y0) * scale) <= 256 + 2 * scale
    assert (seen > 0).all()
    for low, high in ((0, 2), (1, 3)):
        spans = sorted({(row[low], row[high]) for row in windows.tolist()})
        assert all((one[1] - two[0]) * scale >= 64 - 2 * scale for one, two in pairwise(spans))
        if scale in (0.5, 1.0):
            assert all(start * scale % STEP_PX == 0 for start, _ in spans), "anchors lie where they lie in the whole"


def test_what_fits_into_a_tile_is_one() -> None:
    assert tiles((256, 200), 256, 64).tolist() == [[0, 0, 200, 256]]
    assert tiles((512, 400), 256, 64, 0.5).tolist() == [[0, 0, 400, 512]]


def test_an_overlap_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="tiles of 256 px cannot overlap by 200 px"):
        tiles((1000, 1000), 256, 200)


# ------------------------------------------------------------------------------------------ equal to the untiled


def both(shapes: list[NDArray[np.bool_]], masks: bool = True, frame: tuple[int, int] = FRAME) -> tuple[Prediction, ...]:
    """The same image tiled and whole; the later shape covers the earlier."""
    image = painted(shapes, frame)
    model = seer(masks)
    whole, tiled = Predictor()(model, image), TILED(model, image)
    assert len(model.shown) > 2, "it was tiled"
    return tiled, whole


def scattered(seed: int, radii: tuple[float, float] = (3, 30), count: int = 60) -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, FRAME[1], count), rng.uniform(0, FRAME[0], count)
    return [disc(*place, radius, FRAME) for *place, radius in zip(x, y, rng.uniform(*radii, count), strict=True)]


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_particles_smaller_than_the_overlap_come_back_as_if_untiled(seed: int, masks: bool) -> None:
    """Touching and overlapping ones among them."""
    shapes = scattered(seed) if masks else [disc(60 * i + 40, 60 * j + 30, 9 + i + j, FRAME) for i in range(10)
                                           for j in range(7)]  # fmt: skip
    tiled, whole = both(shapes, masks)
    assert len(tiled) == len(whole) and box_set(tiled) == box_set(whole)
    np.testing.assert_allclose(tiled.scores, whole.scores)
    if masks:
        assert mask_set(tiled) == mask_set(whole)


@pytest.mark.parametrize("radius", [20, 31, 40, 90, 150])
@pytest.mark.parametrize("place", [(SEAM_X, 100), (SEAM_X, SEAM_Y), (250, 250), (195, 300), (SEAM_X + 192, SEAM_Y)])
def test_one_particle_at_a_seam_or_at_the_corner_of_four_tiles(place: tuple[int, int], radius: int) -> None:
    """Also larger than the overlap (radius 40, 90), and than a tile (radius 150)."""
    tiled, whole = both([disc(*place, radius, FRAME)])
    assert len(tiled) == len(whole) == 1 and tiled.masks == whole.masks
    np.testing.assert_array_equal(tiled.boxes, whole.boxes)


def test_a_rod_through_three_tiles_is_one() -> None:
    rod = np.zeros(FRAME, bool)
    rod[215:235, 30:610] = True
    tiled, whole = both([rod])
    assert len(tiled) == 1 and tiled.masks == whole.masks


def test_a_chain_across_three_tiles_keeps_its_links() -> None:
    """Touching discs of 40, 60, 80 and 100 px through all the seams: none is joined to its neighbour, none is cut."""
    for radius in (20, 30, 40, 50):
        links = [disc(x, SEAM_Y, radius, FRAME) for x in range(radius, FRAME[1] - radius, 2 * radius)]
        tiled, whole = both(links)
        assert len(tiled) == len(links) == len(whole) and mask_set(tiled) == mask_set(whole)


@pytest.mark.parametrize("edge", [192, 193, 210, 224, 254, 255, 256])
def test_neighbours_that_touch_along_a_seam_stay_two(edge: int) -> None:
    """Both far larger than the overlap, their common edge anywhere in the strip that two tiles share."""
    left, right = np.zeros(FRAME, bool), np.zeros(FRAME, bool)
    left[50:400, edge - 150 : edge], right[50:400, edge : edge + 150] = True, True
    tiled, whole = both([left, right])
    assert len(tiled) == 2 and mask_set(tiled) == mask_set(whole)


def test_a_particle_that_fills_everything() -> None:
    tiled, whole = both([np.ones(FRAME, bool)])
    assert len(tiled) == 1 and tiled.masks == whole.masks


def test_a_bent_particle_that_a_tile_sees_as_two() -> None:
    """A horseshoe round the overlap: its legs are apart in one tile and joined in the next."""
    horseshoe = disc(SEAM_X, 100, 90, FRAME) & ~disc(SEAM_X, 100, 70, FRAME)
    horseshoe[100:, :] = False
    tiled, whole = both([horseshoe])
    assert len(tiled) == 1 and tiled.masks == whole.masks


@pytest.mark.parametrize("masks", [True, False])
def test_an_empty_micrograph(masks: bool) -> None:
    tiled, _ = both([], masks)
    assert len(tiled) == 0 and tiled.boxes.shape == (0, 4) and (tiled.masks == [] if masks else tiled.masks is None)


def test_boxes_alone_are_joined_by_their_hull() -> None:
    for radius in (20, 60, 90):
        tiled, whole = both([disc(SEAM_X, SEAM_Y, radius, FRAME)], masks=False)
        assert len(tiled) == 1
        np.testing.assert_array_equal(tiled.boxes, whole.boxes)


def test_a_capped_tile_caps_the_micrograph() -> None:
    image = painted(scattered(0), FRAME)
    assert TILED(seer(cap=10), image).capped and not TILED(seer(), image).capped
    few = dataclasses.replace(TILED, max_instances=20)(seer(), image)
    assert len(few) == 20 and few.capped


def test_the_normalised_micrograph_is_shown_as_it_is() -> None:
    """Nothing is stretched tile by tile."""
    model, image = seer(), painted([], FRAME)
    image[:, :] = np.linspace(0.25, 0.5, FRAME[1])[None]
    TILED(model, image)
    for (x0, y0, x1, y1), shown in zip(tiles(FRAME, 256, 64).tolist(), model.shown, strict=True):
        np.testing.assert_array_equal(shown[0].numpy(), image[y0:y1, x0:x1])


# ---------------------------------------------------------------------------------------------- soft at seams


def clumsy(model: SegmentationModel, depth: int) -> Scripted:
    """Masks of ``model`` eroded by so many px, as a network's stop short of the border that cuts them."""

    def answer(image: Tensor) -> Prediction:
        given = model.predict([image], [(image.shape[1], image.shape[2])])[0]
        assert given.masks is not None
        masks = [rle.decode(mask) for mask in given.masks]
        shrunk = [ndimage.binary_erosion(np.pad(mask, 1), iterations=depth)[1:-1, 1:-1] for mask in masks]
        boxes = given.boxes + np.array([depth, depth, -depth, -depth], np.float32)
        return dataclasses.replace(given, masks=[rle.encode(mask) for mask in shrunk], boxes=boxes)

    return Scripted(answer, size=None)


@pytest.mark.parametrize("radius", [25, 45, 90])
def test_masks_that_stop_short_of_the_seam_are_still_one_particle(radius: int) -> None:
    for place in ((SEAM_X, 100), (SEAM_X, SEAM_Y), (240, 260)):
        image = painted([disc(*place, radius, FRAME)], FRAME)
        tiled, whole = TILED(clumsy(seer(), 2), image), Predictor()(clumsy(seer(), 2), image)
        assert len(tiled) == 1 and tiled.masks is not None and whole.masks is not None
        pixels, expected = rle.decode(tiled.masks[0]), rle.decode(whole.masks[0])
        assert (pixels & expected).sum() / (pixels | expected).sum() > 0.97


WINDOWS = tiles((100, 160), 112, 48)  # columns 0–112 and 64–160


def rectangles(*rows: tuple[int, int, float, int], size: tuple[int, int]) -> Prediction:
    """rows: first and one-past-last column, score, label; 20 px high."""
    boxes = np.array([(a, 40, b, 60) for a, b, _, _ in rows], np.float32).reshape(-1, 4)
    masks = [rle.encode_crop(np.ones((20, b - a), bool), a, 40, size) for a, b, _, _ in rows]
    labels, scores = np.array([row[3] for row in rows], np.int64), np.array([row[2] for row in rows], np.float32)
    return Prediction(boxes, labels, scores, masks)


def at_seam(left: list[Any], right: list[Any]) -> list[tuple[int, int, float, int]]:
    """Particles (first column, one past last, score, class) of the left tile and of the right one, in its own frame."""
    assert WINDOWS.tolist() == [[0, 0, 112, 100], [64, 0, 160, 100]]
    parts = [rectangles(*left, size=(100, 112)), rectangles(*right, size=(100, 96))]
    merged = joined(parts, WINDOWS, (100, 160), 0.5)
    return [
        (int(box[0]), int(box[2]), round(float(score), 2), int(k))
        for box, score, k in zip(merged.boxes, merged.scores, merged.labels, strict=True)
    ]


def test_the_cut_one_yields_to_the_whole_one() -> None:
    """Columns 80–124, cut at 112 by the left tile, whole in the right one, which knows its class as well."""
    whole = (80 - 64, 124 - 64, 0.7, 1)
    assert at_seam([(80, 112, 0.9, 1)], [whole]) == [(80, 124, 0.7, 1)], "also with a higher score"
    assert at_seam([(80, 112, 0.6, 0)], [whole]) == [(80, 124, 0.7, 1)], "also as another class"
    assert at_seam([(110, 112, 0.6, 0)], [(46, 60, 0.7, 1)]) == [(110, 124, 0.7, 1)], "also as a sliver"


def test_a_sliver_yields_by_its_box() -> None:
    """Of a disc that a tile sees 4 px of, the mask may be anything, here a bar as high as the disc."""
    size, windows = (100, 160), WINDOWS
    whole = rle.encode(disc(88 - 64 + 2, 50, 22, (100, 96)))  # columns 68 to 112 of the micrograph, 4 to 48 here
    right = Prediction(np.array([[4, 28, 48, 72]], np.float32), np.zeros(1, np.int64), np.ones(1, np.float32), [whole])
    left = dataclasses.replace(right, boxes=np.array([[68, 28, 112, 72]], np.float32),
                               masks=[rle.encode(disc(90, 50, 22, (100, 112)))])  # fmt: skip
    bar = rle.encode_crop(np.ones((44, 4), bool), 0, 28, (100, 96))
    torn = dataclasses.replace(right, boxes=np.array([[0, 28, 4, 72]], np.float32), masks=[bar])
    assert len(joined([left, torn], windows, size, 0.5)) == 2, "it lies beside the particle"
    moved = dataclasses.replace(left, boxes=np.array([[62, 28, 106, 72]], np.float32),
                                masks=[rle.encode(disc(84, 50, 22, (100, 112)))])  # fmt: skip
    assert len(joined([moved, torn], windows, size, 0.5)) == 1


def test_rubbish_does_not_replace_what_is_cut() -> None:
    """A tenth of the score is no reason to forget the better half."""
    assert at_seam([(60, 112, 0.9, 0)], [(20, 60, 0.06, 0)]) == [(60, 124, 0.9, 0)], "both, together"
    assert at_seam([(60, 112, 0.9, 0), (58, 80, 0.05, 0)], []) == [(60, 112, 0.9, 0), (58, 80, 0.05, 0)]


def test_what_only_one_tile_sees_stays() -> None:
    assert at_seam([(90, 112, 0.4, 0)], []) == [(90, 112, 0.4, 0)]
    assert at_seam([], [(0, 30, 0.4, 0)]) == [(64, 94, 0.4, 0)]


def test_pieces_are_joined_with_the_best_score_and_class() -> None:
    """Columns 30–150 reach beyond both ends of the strip 64–112."""
    assert at_seam([(30, 112, 0.6, 0)], [(0, 86, 0.8, 1)]) == [(30, 150, 0.8, 1)]


def test_wholes_of_two_classes_stay_two() -> None:
    assert len(at_seam([(70, 90, 0.9, 0)], [(6, 26, 0.8, 1)])) == 2


def test_outlines_are_joined_with_their_masks() -> None:
    """A rectangle's outline in two halves: the union has its own corners, and none at the seams."""
    left, right = rectangles((30, 112, 0.6, 0), size=(100, 112)), rectangles((0, 86, 0.8, 0), size=(100, 96))

    def outlined(part: Prediction, spread: float, angle: float) -> Prediction:
        x0, y0, x1, y1 = part.boxes[0]
        contour = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
        turned = np.array([[(x0 + x1) / 2, (y0 + y1) / 2, y1 - y0, x1 - x0, angle]], np.float32)
        return dataclasses.replace(
            part, contours=[contour], edge_sd_px=np.array([spread], np.float32), rotated_boxes=turned
        )  # fmt: skip

    merged = joined([outlined(left, 0.4, 90), outlined(right, 0.7, -90)], WINDOWS, (100, 160), 0.5)
    assert len(merged) == 1 and merged.contours is not None and merged.edge_sd_px is not None
    assert {tuple(p) for p in merged.contours[0].tolist()} >= {(30, 40), (150, 40), (150, 60), (30, 60)}
    x, y = merged.contours[0].T
    assert 0.5 * (np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) == pytest.approx(120 * 20), "same sense"
    assert merged.edge_sd_px[0] == pytest.approx(0.7) and merged.rotated_boxes is not None
    np.testing.assert_allclose(merged.rotated_boxes[0, :4], [90, 50, 20, 120], atol=1e-3)
    assert abs(merged.rotated_boxes[0, 4]) == pytest.approx(90)


# -------------------------------------------------------------------------------------------------- a network


def test_a_network_sees_tiled_what_it_sees_whole() -> None:
    """Untrained, but the same arithmetic, with no cap in reach. Further from a seam than the network's view, about
    250 px, its detections are equal, since tiles begin where the pyramid's cells begin."""
    torch.manual_seed(0)
    spec = RcnnSpec(
        num_classes=1, backbone="resnet18", norm="bn", fpn_channels=8, box_head_width=16, masks=False,
        anchor_sizes_px=(12, 24, 48, 96, 192), anchor_aspect_ratios=(1.0,), max_instances=8000, min_score=0.4,
    )  # fmt: skip
    model = TorchvisionRcnn(spec).eval()
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((64, 1088), np.float32), 3)
    image = (image - image.min()) / np.ptp(image)
    look = Predictor(min_score=0.4, max_instances=8000)
    whole = look(model, image)
    tiled = dataclasses.replace(look, tile_px=768, overlap_px=448)(model, image)
    assert tiles((64, 1088), 768, 448).tolist() == [[0, 0, 768, 64], [320, 0, 1088, 64]]
    assert not whole.capped and not tiled.capped
    theirs, ours = (keep(p, (p.boxes[:, 2] < 300) | (p.boxes[:, 0] > 788)) for p in (whole, tiled))
    assert len(ours) == len(theirs) > 100
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    np.testing.assert_allclose(np.sort(ours.boxes, axis=0), np.sort(theirs.boxes, axis=0), atol=1e-3)

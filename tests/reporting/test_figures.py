"""Outlines and overlays: areas from closed forms, pixels looked up, frames checked."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from reporting_scenes import disc

from tem_seg.data.rle import encode
from tem_seg.reporting.figures import ANNOTATED, PREDICTED, jpeg_uri, outlines, overlay, panel, svg_path, webp_uri


def _area(path: NDArray[np.float64]) -> float:
    """Shoelace formula."""
    x, y = path.T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def _mask(rows: slice, columns: slice, size: tuple[int, int] = (40, 60)) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


def test_outline_of_a_rectangle_runs_along_its_pixel_edges() -> None:
    (path,) = outlines(encode(_mask(slice(5, 15), slice(20, 50))))
    assert path.min(axis=0) == pytest.approx([20, 5])
    assert path.max(axis=0) == pytest.approx([50, 15])
    assert _area(path) == pytest.approx(10 * 30 - 0.5)  # each corner is cut by 1/8 px²


def test_outline_of_one_pixel_surrounds_its_centre() -> None:
    (path,) = outlines(encode(_mask(slice(7, 8), slice(3, 4))))
    assert path.mean(axis=0) == pytest.approx([3.5, 7.5])
    assert _area(path) == pytest.approx(0.5)


def test_outline_of_a_disc_has_its_area_and_few_points() -> None:
    (path,) = outlines(disc(100, 100, 60, (200, 200)))
    assert _area(path) == pytest.approx(np.pi * 60**2, rel=0.005)
    assert len(path) < 200


def test_parts_and_holes_have_an_outline_each() -> None:
    mask = _mask(slice(2, 12), slice(2, 12)) | _mask(slice(20, 30), slice(20, 30))
    mask[5:8, 5:8] = False
    assert len(outlines(encode(mask))) == 3


def test_outlines_move_with_the_mask() -> None:
    (here,), (there,) = outlines(disc(40, 40, 9)), outlines(disc(93, 77, 9))
    assert there - [53, 37] == pytest.approx(here)


def test_an_empty_mask_has_no_outline() -> None:
    assert outlines(encode(np.zeros((4, 5), bool))) == []
    assert svg_path([]) == ""


def test_svg_path_is_closed_and_short() -> None:
    path = np.array([[1.0, 2.0], [3.04, 4.5], [10.0, 0.0]])
    assert svg_path([path]) == "M10 20l20 25 70 -45z"
    assert svg_path([path, path], step_px=1.0) == 2 * "M1 2l2 2 7 -4z"


def test_rounding_of_a_path_does_not_add_up() -> None:
    turn = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    path = np.stack([50 + 30 * np.cos(turn), 50 + 30 * np.sin(turn)], axis=1)
    moves = np.array(svg_path([path])[1:-1].replace("l", " ").split(), int).reshape(-1, 2)
    assert np.abs(moves.cumsum(axis=0) / 10 - path).max() <= 0.05 + 1e-9


def test_overlay_enlarges_small_micrographs_and_draws_on_the_edge_only() -> None:
    pixels = np.full((64, 128), 0.5, np.float32)
    image = overlay(pixels, [encode(_mask(slice(16, 48), slice(32, 96), (64, 128)))], [(255, 0, 0)])
    assert image.shape == (256, 512, 3)
    assert image.dtype == np.uint8
    assert (image[128, 120:135, 0] > 200).any()  # left edge, x = 32 of 128
    assert (image[128, 256] == 128).all()
    assert (image[10, 10] == 128).all()


def test_overlay_shrinks_large_micrographs_and_keeps_middle_ones() -> None:
    assert overlay(np.zeros((1000, 4096), np.float32), [], []).shape == (500, 2048, 3)
    assert overlay(np.zeros((600, 700), np.float32), [], []).shape == (600, 700, 3)


def test_a_one_pixel_particle_can_be_seen() -> None:
    image = overlay(
        np.zeros((64, 64), np.float32), [encode(_mask(slice(9, 10), slice(9, 10), (64, 64)))], [(0, 255, 0)]
    )
    assert image[..., 1].max() > 200


def test_overlay_does_not_change_its_input_and_ignores_order_of_disjoint_masks() -> None:
    pixels = np.random.default_rng(0).random((160, 200)).astype(np.float32)
    before = pixels.copy()
    masks, colours = [disc(40, 40, 10), disc(120, 90, 20)], [PREDICTED, ANNOTATED]
    assert (overlay(pixels, masks, colours) == overlay(pixels, masks[::-1], colours[::-1])).all()
    assert (pixels == before).all()


def test_overlay_refuses_wrong_counts_and_frames() -> None:
    pixels = np.zeros((160, 200), np.float32)
    with pytest.raises(ValueError, match="1 masks need as many colours, got 0"):
        overlay(pixels, [disc(9, 9, 5)], [])
    with pytest.raises(ValueError, match=r"mask 0 has size \[50, 50\], the micrograph \[160, 200\]"):
        overlay(pixels, [disc(9, 9, 5, (50, 50))], [PREDICTED])


def test_panel_shows_predictions_left_and_annotation_right() -> None:
    image = panel(np.zeros((160, 200), np.float32), [disc(100, 80, 30)], [])
    half = image.shape[1] // 2
    assert image.shape[1] == 2 * 512 + 6
    assert image[:, : half - 3].max() > 200
    assert image[:, half + 3 :].max() == 0
    assert image[:, half + 3 :].shape == image[:, : half - 3].shape


def _decoded(uri: str) -> NDArray[np.uint8]:
    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"), validate=True)
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))


def test_jpeg_keeps_the_picture() -> None:
    smooth = np.linspace(0, 1, 400 * 600, dtype=np.float32).reshape(400, 600)
    data = base64.b64decode(jpeg_uri(smooth, 300).removeprefix("data:image/jpeg;base64,"), validate=True)
    shown = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
    assert shown.shape == (200, 300)
    assert np.abs(shown / 255.0 - cv2.resize(smooth, (300, 200), interpolation=cv2.INTER_AREA)).max() < 0.03


def test_webp_keeps_the_picture_and_the_budget() -> None:
    smooth = np.tile(np.linspace(0, 1, 300, dtype=np.float32), (200, 1))
    assert np.abs(_decoded(webp_uri(smooth)) / 255.0 - smooth).max() < 0.05
    noise = np.random.default_rng(1).random((800, 1200)).astype(np.float32)
    assert _decoded(webp_uri(noise, 600)).shape == (400, 600)
    assert len(webp_uri(noise, 600, max_bytes=90_000)) < len(webp_uri(noise, 600, max_bytes=10**7))
    assert _decoded(webp_uri(noise, 600, max_bytes=1)).shape == (400, 600)  # never no picture

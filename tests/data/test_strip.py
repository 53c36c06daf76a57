"""Strips of writing below micrographs: found to the row, and nothing else taken for one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tem_seg.data.strip import strip_px


def ground(height: int = 300, width: int = 400, seed: int = 0) -> np.ndarray:
    """A noisy micrograph with bright particles."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(110, 12, (height, width))
    for x, y in rng.uniform(0, 1, (12, 2)) * (width, height):
        cv2.circle(picture, (int(x), int(y)), 14, 190.0, -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def written(rows: int, width: int = 400, paper: int = 0, ink: int = 255) -> np.ndarray:
    """A strip as microscopes write them."""
    strip = np.full((rows, width), paper, np.uint8)
    cv2.putText(strip, "15.0 kV  x50k  WD 4.1 mm  200 nm", (6, rows - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, int(ink), 1)
    return strip


@pytest.mark.parametrize(("paper", "ink"), [(0, 255), (255, 0), (30, 230)])
@pytest.mark.parametrize("rows", [20, 32, 60])
def test_the_strip_is_found_to_the_row(rows: int, paper: int, ink: int) -> None:
    picture = np.vstack([ground(), written(rows, paper=paper, ink=ink)])
    assert strip_px(picture) == rows
    assert strip_px(picture.astype(np.float32) * 7.5 + 300) == rows  # other grey levels of the same picture
    framed = picture.copy()
    framed[-4] = ink  # a line across it, below the letters
    assert strip_px(framed) == rows


def test_noise_of_compression_does_not_hide_it() -> None:
    picture = np.vstack([ground(), written(32)])
    stored = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_GRAYSCALE)
    assert abs(strip_px(stored) - 32) <= 1


def test_micrographs_without_one() -> None:
    vacuum = np.zeros((300, 400), np.uint8)
    for place in range(30, 400, 40):
        cv2.circle(vacuum, (place, 285), 8, 220, -1)  # particles on black down to the frame
    rows = np.zeros((300, 400), np.uint8)
    rows[100:220, ::2] = 200  # structure that ends in a straight edge, and nothing below
    for picture in (ground(), vacuum, rows, np.zeros((300, 400), np.uint8), np.full((9, 9), 7.0), ground(30, 40)):
        assert strip_px(picture) == 0


def test_more_than_a_quarter_is_no_strip() -> None:
    assert strip_px(np.vstack([ground(100), written(60)])) == 0

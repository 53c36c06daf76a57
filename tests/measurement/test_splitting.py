"""Splitting of masks that hold several particles."""

from __future__ import annotations

import numpy as np
import pytest
from measurement_shapes import ANGLES_DEG, blobs, samples

from tem_seg.data import rle
from tem_seg.measurement.splitting import split_mask

SIZE = (120, 120)


def discs(radius: float, other: float, apart: float, angle_deg: float = 0.0) -> np.ndarray:
    """Two discs in one mask, ``apart`` as a share of the sum of their radii."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    along = apart * (radius + other) * np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))])
    found = (columns - 50) ** 2 + (rows - 50) ** 2 <= radius**2
    return found | ((columns - 50 - along[0]) ** 2 + (rows - 50 - along[1]) ** 2 <= other**2)


@pytest.mark.parametrize(("radius", "other"), [(6, 6), (10, 10), (20, 20), (20, 10)])
@pytest.mark.parametrize("angle_deg", [0, 30, 75])
def test_two_discs_that_just_merge_come_apart(radius: float, other: float, angle_deg: float) -> None:
    mask = discs(radius, other, 0.95, angle_deg)
    parts = [rle.decode(part) for part in split_mask(rle.encode(mask), 0.7)]
    assert (sum(part.astype(int) for part in parts) == mask).all()  # every pixel once
    assert [part.sum() for part in parts] == pytest.approx([np.pi * radius**2, np.pi * other**2], rel=0.06)


@pytest.mark.parametrize("apart", [0.0, 0.4, 0.6])
def test_discs_without_a_neck_stay_one(apart: float) -> None:
    mask = rle.encode(discs(20, 20, apart))
    assert split_mask(mask, 0.7) == [mask]


def test_neck_says_how_narrow() -> None:
    mask = rle.encode(discs(20, 20, 0.7))  # the neck has √(1 - 0.7²) = 71 % of the width
    assert [len(split_mask(mask, neck)) for neck in (0.5, 0.66, 0.78)] == [1, 1, 2]


@pytest.mark.parametrize(("kind", "ratio"), [("ellipse", 1), ("ellipse", 3), ("rectangle", 1), ("rectangle", 5)])
@pytest.mark.parametrize("size_px", [6.0, 20.0])
def test_single_shapes_are_never_split(kind: str, ratio: float, size_px: float) -> None:
    for mask in [m for angle in ANGLES_DEG[::2] for m in samples(kind, ratio * size_px, size_px, angle, 2)]:
        assert len(split_mask(rle.encode(mask), 0.7)) == 1


def test_loose_parts_come_apart_and_crumbs_do_not() -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:30, 10:30] = mask[60:80, 60:80] = mask[90, 90] = True
    parts = [rle.decode(part) for part in split_mask(rle.encode(mask), 0.7)]
    assert sorted(int(part.sum()) for part in parts) == [400, 401]


@pytest.mark.parametrize("seed", range(3))
def test_no_pixel_is_lost_or_taken_twice(seed: int) -> None:
    for blob in blobs(seed, 6):
        parts = [rle.decode(part).astype(int) for part in split_mask(rle.encode(blob), 0.7)]
        assert (sum(parts) == blob).all()


def test_empty_single_pixel_whole_frame() -> None:
    for mask in (np.zeros(SIZE, bool), np.eye(1, dtype=bool), np.ones(SIZE, bool)):
        encoded = rle.encode(mask)
        assert split_mask(encoded, 0.7) == [encoded]


@pytest.mark.parametrize("neck", [0.0, 1.0, -1.0, float("nan")])
def test_a_neck_that_is_no_share(neck: float) -> None:
    with pytest.raises(ValueError, match="neck is a share of the smaller part's width"):
        split_mask(rle.encode(np.ones((5, 5), bool)), neck)

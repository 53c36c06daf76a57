from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.imaging import Exposure
from tem_seg.generation.microscope.sampling import KINDS, SubSampling, from_nearest, visited


def exposure(size: tuple[int, int] = (200, 240)) -> Exposure:
    pixels = np.random.default_rng(9).integers(1, 256, size).astype(np.float32)
    return Exposure(pixels, np.zeros(size, bool), 0.5)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.07, 0.25, 0.6, 1.0])
def test_sampled_share_is_the_parameter(kind: str, share: float) -> None:
    assert visited(kind, share, (300, 400), rng()).mean() == pytest.approx(share, abs=0.004)


def test_random_lines_are_whole_rows() -> None:
    mask = visited("random_lines", 0.3, (100, 40), rng())
    assert set(mask.sum(axis=1)) == {0, 40} and mask.any(axis=1).sum() == 30


def test_hopping_lines_keep_to_their_bands_and_never_jump() -> None:
    mask = visited("line_hops", 0.1, (100, 500), rng())
    rows = np.stack([band.argmax(axis=0) for band in mask.reshape(10, 10, 500)])
    assert (mask.reshape(10, 10, 500).sum(axis=1) == 1).all(), "one pixel of each band in every column"
    assert np.abs(np.diff(rows, axis=1)).max() == 1
    assert (np.ptp(rows, axis=1) >= 8).all(), "a line wanders over its band"


@pytest.mark.parametrize("kind", KINDS)
def test_zero_where_the_beam_was_not(kind: str) -> None:
    seen, before = exposure(), exposure().pixels
    SubSampling(1.0, (0.3, 0.3), [kind], "zero")(seen, rng())
    assert seen.sampled is not None and seen.sampled.dtype == bool
    np.testing.assert_array_equal(seen.pixels, np.where(seen.sampled, before, 0.0))


@pytest.mark.parametrize("kind", KINDS)
def test_nearest_is_the_nearest(kind: str) -> None:
    """Against scipy's exact distances. OpenCV's 3 × 3 chamfer distances are within 5 % of them."""
    mask = visited(kind, 0.1, (90, 120), rng())
    number = np.arange(mask.size, dtype=np.float32).reshape(mask.shape)
    row, column = np.divmod(from_nearest(number, mask).astype(int), mask.shape[1])
    assert mask[row, column].all(), "every value is that of a visited pixel"
    distance = np.hypot(row - np.arange(90)[:, None], column - np.arange(120)[None])
    assert (distance <= 1.1 * ndimage.distance_transform_edt(~mask) + 1e-6).all()


def test_nearest_fill_keeps_visited_pixels() -> None:
    seen, before = exposure(), exposure().pixels
    SubSampling(1.0, (0.2, 0.2), "random_pixels", "nearest")(seen, rng())
    assert seen.sampled is not None
    np.testing.assert_array_equal(seen.pixels[seen.sampled], before[seen.sampled])
    assert (seen.pixels > 0).all()


def test_every_frame_visits_other_pixels() -> None:
    masks = []
    for frame in (1, 1, 2):
        seen = exposure()
        seen.frame_rng = rng(frame)
        SubSampling(1.0, (0.2, 0.5))(seen, rng(5))
        masks.append(seen.sampled)
    np.testing.assert_array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


def test_twice_visits_what_both_visit() -> None:
    seen = exposure()
    for seed in (0, 1):
        SubSampling(1.0, (0.5, 0.5), ["random_pixels"])(seen, rng(seed))
    assert seen.sampled is not None and seen.sampled.mean() == pytest.approx(0.25, abs=0.02)


def test_probability_zero_visits_all() -> None:
    seen = exposure()
    SubSampling(0.0, (0.2, 0.2))(seen, rng())
    assert seen.sampled is None
    np.testing.assert_array_equal(seen.pixels, exposure().pixels)


def test_bad_parameters_are_named() -> None:
    with pytest.raises(UserError, match="SubSampling.kinds must be some of random_pixels, .*, got \\['spiral'\\]"):
        SubSampling(1.0, (0.1, 0.2), ["spiral"])
    with pytest.raises(UserError, match="SubSampling.kinds must be some of"):
        SubSampling(1.0, (0.1, 0.2), [])
    with pytest.raises(UserError, match="SubSampling.fill must be one of zero, nearest, got 'mean'"):
        SubSampling(1.0, (0.1, 0.2), fill="mean")
    with pytest.raises(UserError, match="SubSampling.share must lie between 0.001 and 1, got 0"):
        SubSampling(1.0, (0.0, 0.2))

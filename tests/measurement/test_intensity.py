"""Grey levels of particles and the ground beside them."""

from __future__ import annotations

import numpy as np
import pytest
from measurement_shapes import blobs
from skimage.measure import regionprops

from tem_seg.data import rle
from tem_seg.measurement import intensity
from tem_seg.measurement.runs import Runs, runs_of

SIZE = (90, 110)


def discs(*circles: tuple[float, float, float]) -> Runs:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return runs_of([rle.encode((columns - x) ** 2 + (rows - y) ** 2 <= r * r) for x, y, r in circles], SIZE)


@pytest.mark.parametrize("chunk", [1 << 22, 50])
def test_mean_inside_is_skimages(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensity, "CHUNK_PX", chunk)
    pixels = np.random.default_rng(0).normal(100, 20, SIZE).astype(np.float32)
    masks = [rle.encode_crop(mask, 10 * k, 5 * k, SIZE) for k, mask in enumerate(blobs(1, 6))]
    found = intensity.mean_inside(runs_of([*masks, rle.encode(np.zeros(SIZE, bool))], SIZE), pixels)
    for index, mask in enumerate(masks):
        theirs = regionprops(rle.decode(mask).astype(int), intensity_image=pixels.astype(float))[0].intensity_mean
        assert found[index] == pytest.approx(theirs, abs=1e-6)
    assert np.isnan(found[-1])


def test_a_ring_sees_its_own_ground() -> None:
    """Ground that rises from left to right; bright particles and their blur do not count."""
    pixels = np.tile(np.arange(SIZE[1], dtype=np.float32), (SIZE[0], 1))
    runs = discs((30, 45, 10), (80, 45, 10))
    painted = pixels.copy()
    for x in (30, 80):
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
        painted[(columns - x) ** 2 + (rows - 45) ** 2 <= 11.5**2] = 1000
    assert intensity.background(runs, painted) == pytest.approx([29.5, 79.5], abs=1.0)
    assert intensity.mean_inside(runs, pixels) == pytest.approx([29.5, 79.5], abs=0.1)


def test_neighbours_are_left_out() -> None:
    runs = discs((40, 45, 15), (74, 45, 15))  # 4 px between them
    pixels = np.full(SIZE, 50, np.float32)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    pixels[(columns - 74) ** 2 + (rows - 45) ** 2 <= 15**2] = 900
    assert intensity.background(runs, pixels).tolist() == [50, 50]


def test_inside_an_agglomerate_no_ground_shows() -> None:
    square, places = np.ones((9, 9), bool), (20, 29, 38)
    runs = runs_of([rle.encode_crop(square, x, y, SIZE) for x in places for y in places], SIZE)
    found = intensity.background(runs, np.ones(SIZE, np.float32))
    assert np.isnan(found[4]) and np.isfinite(np.delete(found, 4)).all()


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.normal(0, 1, SIZE).astype(np.float32)
    runs = discs(*[(x, y, 5) for x in range(10, 100, 20) for y in range(10, 80, 20)])
    whole = intensity.background(runs, pixels)
    monkeypatch.setattr(intensity, "TILE_PX", 32)
    assert intensity.background(runs, pixels) == pytest.approx(whole, abs=0.02)


def test_nothing_and_the_whole_frame() -> None:
    pixels = np.ones(SIZE, np.float32)
    none, full = runs_of([], SIZE), runs_of([rle.encode(np.ones(SIZE, bool))], SIZE)
    assert len(intensity.background(none, pixels)) == len(intensity.mean_inside(none, pixels)) == 0
    assert np.isnan(intensity.background(full, pixels)).all() and intensity.mean_inside(full, pixels).tolist() == [1]


def test_a_micrograph_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the micrograph has \(5, 5\) pixels, its masks \(90, 110\)"):
        intensity.mean_inside(discs((20, 20, 5)), np.ones((5, 5), np.float32))

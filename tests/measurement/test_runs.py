"""Runs against the dense masks they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from measurement_shapes import blobs, encoded

from tem_seg.data import rle
from tem_seg.measurement.runs import Runs, runs_of


def painted(runs: Runs, index: int) -> np.ndarray:
    mask = np.zeros(runs.size, int)
    for k in np.flatnonzero(runs.particle == index):
        mask[runs.top[k] : runs.bottom[k], runs.column[k]] += 1
    return mask


@pytest.mark.parametrize("seed", range(3))
def test_runs_paint_every_mask_once(seed: int) -> None:
    masks, size = encoded([*blobs(seed), np.zeros((4, 4), bool), *blobs(seed + 9, 2)])
    runs = runs_of(masks, size)
    for index, mask in enumerate(masks):
        assert (painted(runs, index) == rle.decode(mask)).all()


def test_runs_across_columns_are_cut() -> None:
    full = rle.encode(np.ones((5, 4), bool))  # one single run of 20
    band = np.zeros((5, 4), bool)
    band[3:, 0] = band[:, 1:3] = band[:2, 3] = True  # one run over four columns
    runs = runs_of([full, rle.encode(band)], (5, 4))
    assert (painted(runs, 0) == 1).all()
    assert (painted(runs, 1) == band).all()
    assert runs.particle.tolist() == [0] * 4 + [1] * 4
    assert runs.bottom.max() == 5


def test_empty_runs_of_a_foreign_encoder_do_not_matter() -> None:
    counts = rle.compress(np.array([3, 0, 2, 2, 0, 1, 12]))  # 5 free pixels, then 2 + 1 in one
    runs = runs_of([{"size": [5, 4], "counts": counts}], (5, 4))
    assert painted(runs, 0).ravel(order="F").tolist() == [0] * 5 + [1] * 3 + [0] * 12


def test_a_broken_mask_does_not_swallow_the_next() -> None:
    whole = rle.encode(np.ones((5, 400), bool))
    broken = whole | {"counts": whole["counts"][:-1]}
    with pytest.raises(ValueError, match="breaks off inside a number"):
        runs_of([broken, whole], (5, 400))


def test_no_masks_and_a_mask_of_another_frame() -> None:
    assert runs_of([], (5, 4)).total(np.zeros(0)).shape == (0,)
    with pytest.raises(ValueError, match=r"mask 1 has size \[3, 3\], the micrograph \[5, 4\]"):
        runs_of([rle.encode(np.ones((5, 4), bool)), rle.encode(np.ones((3, 3), bool))], (5, 4))

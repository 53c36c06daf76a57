from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.seeds import child_rng
from tem_seg.generation.scenes.sizes import log_normal, mean_area


def test_sizes_have_the_median_and_spread() -> None:
    sizes = log_normal(child_rng(0, "s"), 20000, 30.0, 0.25, (0.0, np.inf))
    assert np.median(sizes) == pytest.approx(30.0, rel=0.01)
    assert np.log(sizes).std() == pytest.approx(0.25, rel=0.02)
    assert (np.pi / 4 * sizes**2).mean() == pytest.approx(mean_area(30.0, 0.25), rel=0.02)


def test_what_lies_outside_is_drawn_again_not_clipped() -> None:
    sizes = log_normal(child_rng(0, "s"), 5000, 30.0, 0.5, (20.0, 60.0))
    assert 20.0 <= sizes.min() < 20.1 and 59.0 < sizes.max() <= 60.0
    assert ((sizes == 20.0) | (sizes == 60.0)).mean() < 0.001


def test_a_median_far_outside_ends_at_the_limit() -> None:
    assert (log_normal(child_rng(0, "s"), 5, 1.0, 0.01, (20.0, 60.0)) == 20.0).all()
    assert log_normal(child_rng(0, "s"), 0, 30.0, 0.2, (20.0, 60.0)).shape == (0,)
    assert (log_normal(child_rng(0, "s"), 3, 30.0, 0.0, (20.0, 60.0)) == 30.0).all()

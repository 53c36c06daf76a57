from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.charging import Charging
from tem_seg.generation.microscope.imaging import Exposure

NOTHING: dict[str, Any] = {
    "probability": 1.0, "streaks": (0, 0), "length": (0.1, 0.1), "halo": (0, 0), "halo_radius": (0.05, 0.05)
}  # fmt: skip


def bright_square() -> Exposure:
    pixels = np.ones((200, 400), np.float32)
    pixels[80:120, 150:200] = 3.0
    return Exposure(pixels, np.zeros(pixels.shape, bool), 0.5)


def charged(seed: int = 0, frame: int | None = None, **changes: Any) -> np.ndarray:
    seen = bright_square()
    seen.frame_rng = None if frame is None else np.random.default_rng(frame)
    Charging(**NOTHING | changes)(seen, np.random.default_rng(seed))
    return seen.pixels - bright_square().pixels


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_streaks_lie_behind_the_object_on_its_lines_and_die_away(sign: float) -> None:
    change = charged(streaks=(0.3 * sign, 0.3 * sign)) * sign
    assert np.abs(change[:, :146]).max() < 1e-6 and np.abs(change[:78]).max() < 1e-6
    behind = change[82:118, 204:].mean(axis=0)
    assert behind[0] > 0.05
    # exp(−x / length), length 40 px
    assert behind[40] / behind[0] == pytest.approx(np.exp(-1.0), rel=0.05)


def test_halo_lies_all_around_and_is_the_gaussian_of_the_excess() -> None:
    change = charged(halo=(-0.2, -0.2))
    assert change.max() < 1e-6 and change[100, 175] < 5 * change[100, 215] < 0
    # the sum of a blurred excess is that of the excess: 40 × 50 px of 2 above the median
    assert change.sum() == pytest.approx(-0.2 * 2.0 * 40 * 50, rel=0.05)


def test_lines_of_every_frame_differ_and_the_rest_stays() -> None:
    first, again, other = (charged(frame=f, streaks=(0.3, 0.3)) for f in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_flat_picture_and_probability_zero_stay_as_they_are() -> None:
    seen = Exposure(np.full((40, 40), 2.0, np.float32), np.zeros((40, 40), bool), 0.5)
    Charging(**NOTHING | {"streaks": (1, 1), "halo": (1, 1)})(seen, np.random.default_rng(0))
    np.testing.assert_allclose(seen.pixels, 2.0)
    assert not charged(probability=0.0, streaks=(1, 1)).any()


def test_the_bright_side_of_an_uneven_beam_does_not_charge() -> None:
    seen = bright_square()
    seen.pixels[:] = np.linspace(0.8, 1.2, 400, dtype=np.float32)
    seen.pixels[80:120, 150:200] = 3.0
    before = seen.pixels.copy()
    Charging(**NOTHING | {"streaks": (0.5, 0.5)})(seen, np.random.default_rng(0))
    np.testing.assert_array_equal(seen.pixels[:79], before[:79])
    assert (seen.pixels[82:118, 210] > before[82:118, 210] + 0.05).any()


def test_never_below_nothing_and_at_every_size() -> None:
    for size in ((1, 1), (3, 50), (50, 3)):
        seen = Exposure(np.random.default_rng(0).random(size).astype(np.float32), np.zeros(size, bool), 0.5)
        Charging(**NOTHING | {"streaks": (-2, -2), "halo": (-2, -2)})(seen, np.random.default_rng(0))
        assert seen.pixels.shape == size and seen.pixels.min() >= 0


def test_bad_parameters_are_named() -> None:
    with pytest.raises(UserError, match="Charging.length must lie between 0.005 and 2, got 0"):
        Charging(**NOTHING | {"length": (0, 1)})
    with pytest.raises(UserError, match="Charging.halo: min 1 is greater than max -1"):
        Charging(**NOTHING | {"halo": (1, -1)})

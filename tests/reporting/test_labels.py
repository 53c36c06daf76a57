"""Numbers beside particles: none covers another, none leaves the picture."""

from __future__ import annotations

import numpy as np

from tem_seg.reporting.labels import places

FRAME = (300, 400)


def test_no_number_covers_another() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1, (150, 2)) * (380, 280)
    boxes = np.hstack([corners, corners + rng.uniform(4, 60, (150, 2))])
    sizes = [(10.0 + k % 20, 12.0) for k in range(150)]
    found = [(at, size) for at, size in zip(places(boxes, sizes, FRAME), sizes, strict=True) if at is not None]
    assert 20 < len(found) < 150  # a crowd: some find no place
    taken = np.zeros((FRAME[0] * 4, FRAME[1] * 4), int)
    for (x, y), (width, height) in found:
        assert x >= 0 and y >= 0 and x + width <= FRAME[1] and y + height <= FRAME[0]
        taken[int(np.ceil(4 * y)) : int(4 * (y + height)), int(np.ceil(4 * x)) : int(4 * (x + width))] += 1
    assert taken.max() == 1


def test_large_particles_hold_their_number() -> None:
    large, small, *none = places(np.array([[100, 100, 200, 180], [20, 50, 30, 60]]), [(16.0, 12.0)] * 2, FRAME)
    assert none == [] and large == (142.0, 134.0) and small == (30.0, 44.0)
    assert places(np.zeros((0, 4)), [], FRAME) == []


def test_at_the_corner_of_the_picture_it_turns_inwards() -> None:
    (place,) = places(np.array([[390.0, 0, 400, 10]]), [(16.0, 12.0)], FRAME)
    assert place == (374.0, 4.0)

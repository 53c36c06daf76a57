from __future__ import annotations

from dataclasses import replace

import numpy as np
from shapely import Polygon, union_all

from tem_seg.generation.scenes.piles import Piling, pile

PILING = Piling(piled=0.7, bundled=0.2, layers=1.5, most_layers=5, piles=3, order_deg=90.0)


def boxes(
    lengths: np.ndarray, widths: np.ndarray, centres: np.ndarray, angles: np.ndarray
) -> list[Polygon]:  # fmt: skip
    found = []
    for length, width, centre, angle in zip(lengths, widths, centres, angles, strict=True):
        if np.isfinite(angle):
            u, v = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
            corners = [(length * a * u + width * b * v) / 2 + centre for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
            found.append(Polygon(corners))
    return found


def laid(piling: Piling, count: int = 80, seed: int = 0) -> tuple[list[Polygon], np.ndarray]:
    lengths, widths = np.full(count, 100.0), np.full(count, 15.0)
    centres, angles = pile(lengths, widths, (500.0, 700.0), piling, np.random.default_rng(seed))
    return boxes(lengths, widths, centres, angles), angles


def test_piled_rods_cross_more_than_scattered_ones() -> None:
    def overlap(piling: Piling) -> float:
        found = laid(piling)[0]
        return 1.0 - union_all(found).area / sum(box.area for box in found)

    assert overlap(PILING) > overlap(replace(PILING, piled=0.0, bundled=0.0)) + 0.1


def test_denser_piles_have_more_layers() -> None:
    areas = [union_all(laid(replace(PILING, piled=1.0, layers=layers))[0]).area for layers in (0.5, 3.0)]
    assert areas[0] > 1.2 * areas[1]


def test_no_point_lies_under_more_rods_than_allowed() -> None:
    found = laid(replace(PILING, layers=8.0, most_layers=3, piled=1.0, piles=1))[0]
    points = np.random.default_rng(1).uniform((0, 0), (700, 500), (3000, 2))
    from shapely import contains_xy

    over = sum(contains_xy(box.buffer(-3.0), points).astype(int) for box in found)  # by a cell of the board
    assert over.max() <= 3


def test_no_rod_buries_another() -> None:
    found = laid(replace(PILING, bundled=0.6))[0]
    shares = [
        a.intersection(b).area / min(a.area, b.area) for i, a in enumerate(found) for b in found[:i] if a.intersects(b)
    ]
    assert max(shares) < 0.75


def test_bundled_rods_lie_parallel() -> None:
    angles = laid(replace(PILING, bundled=0.9, piled=0.0))[1]
    nearest = np.abs((angles[:, None] - angles + np.pi / 2) % np.pi - np.pi / 2)
    np.fill_diagonal(nearest, np.pi)
    scattered = laid(replace(PILING, bundled=0.0, piled=0.0), seed=1)[1]
    assert np.std(np.exp(2j * angles[np.isfinite(angles)])) < np.std(np.exp(2j * scattered[np.isfinite(scattered)]))


def test_an_ordered_pile_has_one_direction() -> None:
    angles = laid(replace(PILING, piled=1.0, bundled=0.0, piles=1, order_deg=10.0, layers=0.5))[1]
    angles = angles[np.isfinite(angles)]
    assert np.abs(np.exp(2j * angles).mean()) > 0.8


def test_centres_are_in_the_field_or_close_to_it_and_on_the_film() -> None:
    held = np.zeros((50, 70), bool)
    held[:, 35:] = True
    lengths, widths = np.full(60, 80.0), np.full(60, 10.0)
    centres, angles = pile(lengths, widths, (500.0, 700.0), PILING, np.random.default_rng(2), held)
    placed = centres[np.isfinite(angles)]
    assert len(placed) > 40 and (placed[:, 0] >= 349).all()
    assert placed.min() > -0.2 * 700 and (placed < [700 * 1.2, 500 * 1.2]).all()


def test_scale_law() -> None:
    lengths, widths = np.full(20, 100.0), np.full(20, 15.0)
    first = pile(lengths, widths, (500.0, 700.0), PILING, np.random.default_rng(3))
    second = pile(4 * lengths, 4 * widths, (2000.0, 2800.0), PILING, np.random.default_rng(3))
    np.testing.assert_allclose(second[0], 4 * first[0])
    np.testing.assert_allclose(second[1], first[1])


def test_no_rods() -> None:
    centres, angles = pile(np.zeros(0), np.zeros(0), (10.0, 10.0), PILING, np.random.default_rng(0))
    assert centres.shape == (0, 2) and angles.shape == (0,)

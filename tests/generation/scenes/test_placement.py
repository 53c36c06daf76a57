from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely import Polygon, STRtree

from tem_seg.generation.scenes.placement import Crowding, place
from tem_seg.generation.scenes.shapes import ellipse, regular, stadium


def overlapped_share(polygons: list[Polygon], least: float = 0.02) -> float:
    """Share of polygons that share more than ``least`` of the smaller one's area with another."""
    tree = STRtree(polygons)
    hit = [
        any(j != i and p.intersection(polygons[j]).area > least * min(p.area, polygons[j].area) for j in tree.query(p))
        for i, p in enumerate(polygons)
    ]
    return float(np.mean(hit))


def lay(
    outlines: list[NDArray[np.float64]], field: tuple[float, float], crowding: Crowding, seed: int
) -> list[Polygon]:  # fmt: skip
    centres = place(outlines, field, crowding, np.random.default_rng(seed))
    # cells that particles share are what counts: borders may pass each other by half a cell
    return [
        Polygon(o + c).buffer(-crowding.cell_nm / 2.0) for o, c in zip(outlines, centres, strict=True) if c is not None
    ]


@pytest.mark.parametrize("wanted", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("kind", ["disc", "rod"])
def test_share_of_overlapped_particles_is_near_the_wanted(wanted: float, kind: str) -> None:
    outline = ellipse() * 5.0 if kind == "disc" else stadium(4.0) * 5.0
    crowding = Crowding(wanted, 0.3, (0.1, 0.4), 0.5)
    shares = [overlapped_share(lay([outline] * 60, (300.0, 300.0), crowding, seed)) for seed in range(6)]
    assert np.mean(shares) == pytest.approx(wanted, abs=0.06)


def test_shared_area_lies_in_its_range() -> None:
    polygons = lay([ellipse() * 20.0] * 40, (800.0, 800.0), Crowding(0.5, 0.0, (0.2, 0.3), 1.0), 0)
    shares = [
        p.intersection(q).area / p.area
        for i, p in enumerate(polygons)
        for q in polygons[:i]
        if p.intersection(q).area > 40.0
    ]
    assert len(shares) > 5
    assert min(shares) > 0.15 and max(shares) < 0.33


def test_touching_particles_are_less_than_two_cells_apart() -> None:
    polygons = lay([ellipse() * 8.0] * 30, (600.0, 600.0), Crowding(0.0, 1.0, (0.1, 0.2), 1.0), 3)
    nearest = [min(p.distance(q) for q in polygons if q is not p) for p in polygons]
    assert np.mean(np.array(nearest) < 3.0) > 0.9
    assert overlapped_share(polygons) == 0.0


def test_particles_apart_share_nothing_and_lie_in_the_field() -> None:
    polygons = lay([regular(5) * r for r in np.linspace(3, 12, 50)], (200.0, 400.0), Crowding(0, 0, (0.1, 0.2), 1.0), 1)
    assert overlapped_share(polygons, 0.0) == 0.0
    x, y = np.array([(p.centroid.x, p.centroid.y) for p in polygons]).T
    assert x.min() > -4 and x.max() < 404 and y.min() > -4 and y.max() < 204 and x.max() > 250


def test_more_than_fit_are_left_out() -> None:
    centres = place([ellipse() * 10.0] * 200, (100.0, 100.0), Crowding(0, 0, (0.1, 0.2), 1.0), np.random.default_rng(0))
    fitted = [c for c in centres if c is not None]
    assert len(centres) == 200 and 8 < len(fitted) < 45


def test_none_and_one_and_one_larger_than_the_field() -> None:
    crowding = Crowding(0.5, 0.5, (0.1, 0.2), 1.0)
    assert place([], (10.0, 10.0), crowding, np.random.default_rng(0)) == []
    assert place([ellipse()], (10.0, 10.0), crowding, np.random.default_rng(0))[0] is not None
    assert place([ellipse() * 50.0], (10.0, 10.0), crowding, np.random.default_rng(0))[0] is not None


def test_centres_fall_anywhere_between_pixels() -> None:
    centres = place([ellipse() * 3.0] * 150, (512.0, 512.0), Crowding(0, 0, (0.1, 0.2), 1.0), np.random.default_rng(0))
    phase = np.array([c for c in centres if c is not None]) % 1.0
    assert phase.mean() == pytest.approx(0.5, abs=0.07) and phase.std() == pytest.approx(np.sqrt(1 / 12), abs=0.04)


def test_a_field_in_other_units_gives_the_same_places() -> None:
    """Lengths × 10: centres × 10."""
    first = place([ellipse() * 4.0] * 20, (100.0, 100.0), Crowding(0.4, 0.4, (0.1, 0.2), 0.5), np.random.default_rng(2))
    second = place(
        [ellipse() * 40.0] * 20, (1000.0, 1000.0), Crowding(0.4, 0.4, (0.1, 0.2), 5.0), np.random.default_rng(2)
    )
    np.testing.assert_allclose(np.array(second, float), 10 * np.array(first, float), rtol=1e-9)

"""Edges displaced by known normal distributions give their spread back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation_scenes import dataset_of, disc, perfect

from tem_seg.core.types import Rle
from tem_seg.evaluation.edge_spread import ARCS, arc_distances, edge_figures, evenly_spaced
from tem_seg.evaluation.matching import match_dataset

SIZE = (400, 500)


def circle(x: float, y: float, radius: Any, points: int = 400) -> Any:
    angle = (np.arange(points) + 0.5) / points * 2 * np.pi
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


@pytest.mark.parametrize("offset", [-1.5, 0.0, 0.4, 3.0])
def test_a_circle_around_a_disc_has_its_distance(offset: float) -> None:
    found = arc_distances(circle(80.3, 70.6, 30 + offset), disc(80.3, 70.6, 30.0, SIZE))
    assert found.shape == (ARCS,)
    np.testing.assert_allclose(found, offset, atol=0.15)  # of pixels, an arc has 24
    assert found.mean() == pytest.approx(offset, abs=0.05)


def test_a_shifted_outline_is_outside_here_and_inside_there() -> None:
    found = arc_distances(circle(82.3, 70.6, 30), disc(80.3, 70.6, 30.0, SIZE))
    assert found.max() > 1.5 and found.min() < -1.5
    assert found.mean() == pytest.approx(0.03, abs=0.06)  # the mean of the distance is shift² / 4 R


def test_the_frame_is_no_outline() -> None:
    """A disc cut by the left edge: arcs along the frame say nothing."""
    contour = circle(3, 100, 30)
    contour[:, 0] = contour[:, 0].clip(min=0)
    found = arc_distances(contour, disc(3, 100, 30.0, SIZE))
    assert 0 < np.isnan(found).sum() < ARCS
    assert np.abs(found[np.isfinite(found)]).max() < 0.6


def test_an_empty_truth_has_no_distance() -> None:
    assert np.isnan(arc_distances(circle(20, 20, 5), Rle(size=[40, 40], counts="PR1"))).all()


def test_points_are_evenly_spaced() -> None:
    square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    np.testing.assert_allclose(evenly_spaced(square, 4), [[2, 0], [4, 2], [2, 4], [0, 2]])
    uneven = np.array([[0.0, 0.0], [0.1, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    np.testing.assert_allclose(evenly_spaced(uneven, 16), evenly_spaced(square, 16))


def scene(rng: np.random.Generator, count: int, factor: float, lone_ruin: float = 0.0) -> tuple[Any, Any]:
    """Discs, and perfect masks whose contours are displaced, arc by arc, by factor * edge_sd_px * normal."""
    spec = {i: [(60.0, 60.0, 25.0 + rng.uniform(0, 5), 0)] for i in range(count)}
    dataset = dataset_of(spec, SIZE)
    results = perfect(dataset)
    for row in results:
        x, y, radius, _ = spec[row["image_id"]][0]
        spread = float(rng.uniform(0.2, 0.8))
        shift = np.repeat(rng.normal(0, factor * spread, ARCS), 50)
        if rng.random() < lone_ruin:
            shift = np.full_like(shift, -12.0)  # half of the particle is missing
        row["contour"] = np.round(circle(x, y, radius + shift), 1).tolist()
        row["edge_sd_px"] = round(spread, 3)
    return dataset, results


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_the_factor_of_displaced_outlines_comes_back(factor: float) -> None:
    dataset, results = scene(np.random.default_rng(0), 300, factor)
    found = edge_figures(dataset, results, match_dataset(dataset, results))
    assert found["edge_n"] == 300 and found["edge_note"] is None
    # pixels add 0.1 px to a spread of 0.5 px; 2,400 arcs leave 2 %
    assert found["edge_sd_factor"] == pytest.approx(factor, rel=0.08)
    half = [row | {"edge_sd_px": row["edge_sd_px"] / 2} for row in results]
    doubled = edge_figures(dataset, half, match_dataset(dataset, half))
    assert doubled["edge_sd_factor"] == pytest.approx(2 * found["edge_sd_factor"], rel=0.01)


def test_a_few_ruined_particles_do_not_change_it() -> None:
    dataset, results = scene(np.random.default_rng(1), 300, 1.5, lone_ruin=0.02)
    found = edge_figures(dataset, results, match_dataset(dataset, results))
    assert found["edge_sd_factor"] == pytest.approx(1.5, rel=0.1)


def test_too_few_particles_have_no_factor() -> None:
    dataset, results = scene(np.random.default_rng(2), 25, 1.0)
    without = [{k: v for k, v in row.items() if k != "contour"} for row in results]
    weak = [row | {"score": 0.1} for row in results]
    unknown = [row | {"edge_sd_px": None, "contour": []} for row in results]
    for rows, min_score in ((without, 0.0), (weak, 0.5), (unknown, 0.0), ([], 0.0)):
        found = edge_figures(dataset, rows, match_dataset(dataset, rows), min_score=min_score)
        assert found["edge_sd_factor"] is None and found["edge_n"] == 0
        assert "needs 20" in found["edge_note"]
    assert edge_figures(dataset, results, match_dataset(dataset, results))["edge_sd_factor"] is not None

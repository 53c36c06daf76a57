"""Outlines of discs, whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_scenes import dataset_of, result_of
from evaluation_scenes import disc as scene_disc

from tem_seg.core.types import Rle
from tem_seg.data import rle
from tem_seg.evaluation.boundary import agreement, boundary_figures
from tem_seg.evaluation.matching import match_dataset

SIZE = (200, 200)


def disc(radius: float, x: float = 100.0, y: float = 100.0) -> Rle:
    return scene_disc(x, y, radius, SIZE)


def test_equal_masks_agree() -> None:
    found = agreement(disc(30), disc(30), 2.0)
    assert (found.iou, found.f1, found.distance_px, found.bias_px) == (1, 1, 0, 0)


@pytest.mark.parametrize("off", [-5.0, -1.4, 1.0, 3.0])
def test_disc_with_another_radius(off: float) -> None:
    """Mean distance of concentric circles: |π(r² - R²)| / 2πR = off (1 + off / 2R)."""
    found = agreement(disc(60 + off), disc(60), 2.0)
    assert found.bias_px == pytest.approx(off * (1 + off / 120), rel=0.05)
    assert found.distance_px == pytest.approx(abs(found.bias_px))
    assert (found.f1 > 0.99) == (abs(off) <= 2)
    if abs(off) > 3:
        assert found.f1 == 0


def test_boundary_iou_of_rings() -> None:
    """Rings of width 4 inside radii 60 and 58: shared area over joint area."""
    found = agreement(disc(58), disc(60), 4.0)
    ring = lambda outer, inner: np.pi * (outer**2 - inner**2)  # noqa: E731
    assert found.iou == pytest.approx(ring(58, 56) / ring(60, 54), rel=0.07)


def test_shift_is_a_distance_and_no_bias() -> None:
    found = agreement(disc(40, 103), disc(40), 2.0)
    assert found.bias_px == pytest.approx(0, abs=0.02)
    assert found.distance_px == pytest.approx(3 * 2 / np.pi, rel=0.05)  # mean of |3 cos|


def test_large_particle_is_not_forgiven_as_in_mask_iou() -> None:
    small, large = agreement(disc(22), disc(20), 1.0), agreement(disc(82), disc(80), 1.0)
    assert small.iou == pytest.approx(large.iou, abs=0.03)


def test_frame_edge_is_no_outline() -> None:
    """Cut by the frame's left edge: the straight cut counts neither as rim nor as outline."""
    cut = agreement(disc(58, 0), disc(60, 0), 4.0)
    whole = agreement(disc(58), disc(60), 4.0)
    assert cut.iou == pytest.approx(whole.iou, abs=0.02)
    full = rle.encode(np.ones((20, 20), bool))
    assert agreement(full, full, 2.0).distance_px == 0
    assert np.isnan(agreement(full, full, 2.0).iou)  # nothing of an outline is in the frame


def test_turned_and_swapped() -> None:
    first, second = disc(33.3, 90, 110), disc(30, 93, 104)
    turned = [rle.encode(np.rot90(rle.decode(mask))) for mask in (first, second)]
    one, other, back = (
        agreement(first, second, 2.0),
        agreement(turned[0], turned[1], 2.0),
        agreement(second, first, 2.0),
    )
    assert one.iou == pytest.approx(other.iou)
    assert one.f1 == pytest.approx(other.f1)
    assert one.iou == pytest.approx(back.iou)
    assert np.sign(one.bias_px) == -np.sign(back.bias_px)


def test_one_pixel_masks() -> None:
    dot = np.zeros((9, 9), bool)
    dot[4, 4] = True
    found = agreement(rle.encode(dot), rle.encode(dot), 1.0)
    assert (found.iou, found.f1, found.distance_px) == (1, 1, 0)


def test_figures_are_means_over_matches() -> None:
    dataset = dataset_of({1: [(100, 100, 60, 0), (20, 20, 10, 0)], 2: [(50, 50, 9, 0)], 3: []}, SIZE)
    bigger = dataset_of({1: [(100, 100, 61, 0)]}, SIZE)
    results = [result_of(bigger.annotations[1][0], 0.9), result_of(dataset.annotations[1][1], 0.8)]
    results += [result_of(dataset.annotations[2][0], 0.3)]
    figures = boundary_figures(dataset, results, match_dataset(dataset, results), score=0.5, width_px=2.0)
    assert (figures["n"], figures["large"]["n"]) == (2, 1)
    assert figures["large"]["bias_px"] == pytest.approx(agreement(disc(61), disc(60), 2.0).bias_px)
    assert figures["bias_px"] == pytest.approx(figures["large"]["bias_px"] / 2)
    none = boundary_figures(dataset, results, match_dataset(dataset, results), score=0.99, width_px=2.0)
    assert none["n"] == 0
    assert np.isnan(none["iou"])

"""What scripts/known_truth.py says of a few small micrographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from known_truth import centroid, figures

CORNER = np.array([[10.0, 10.0], [13.0, 10.0], [13.0, 16.0], [10.0, 16.0]])


@pytest.mark.parametrize("outline", [CORNER, CORNER[::-1]])
def test_centroid_of_a_polygon(outline: np.ndarray) -> None:
    np.testing.assert_allclose(centroid(outline), [11.5, 13.0])


def test_centroid_of_a_triangle_is_the_mean_of_its_corners() -> None:
    corners = np.array([[1.0, 2.0], [7.0, 3.0], [4.0, 11.0]])
    np.testing.assert_allclose(centroid(corners), corners.mean(axis=0))


def test_masks_given_have_the_sizes_that_were_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("known_truth.SIZE_PX", 320)
    diameter, feret = figures("polylatex_silica", 3, tmp_path, None)
    assert diameter["true_particles"] >= diameter["pairs"] == diameter["measured_particles"] > 20
    assert abs(diameter["bias_px"]) < 0.03
    assert abs(diameter["d50_percent"]) < 1
    assert -0.5 < feret["bias_px"] < 0

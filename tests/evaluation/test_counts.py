"""Counts of particles, against numbers counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.evaluation.counts import count_figures
from tem_seg.evaluation.matching import Matching


def image(scores: list[float], truths: int) -> Matching:
    count = len(scores)
    return Matching(np.array(scores), np.full(count, -1), np.zeros(count), truths, np.arange(count))


def test_one_too_many_makes_up_for_one_missed_in_the_sum_alone() -> None:
    """2 of 4, 6 of 4, and one where nothing is: 9 for 8 in all (12.5 %); 50 % off in each of the two with particles."""
    images = [image([0.9, 0.8, 0.1], 4), image([0.9] * 6, 4), image([0.7, 0.4], 0)]
    found = count_figures(images, 0.5)
    assert found == {
        "score": 0.5, "predicted": 9, "truths": 8, "error_percent": pytest.approx(12.5),
        "image_error_percent": pytest.approx(50.0), "n_images": 2,
    }  # fmt: skip
    assert count_figures(images[::-1], 0.5) == found, "order plays no part"
    assert count_figures(images, 0.7)["predicted"] == 9, "a threshold keeps scores that equal it"


@pytest.mark.parametrize("images", [[], [image([0.9], 0)]], ids=["no micrograph", "no particle"])
def test_without_particles_no_share_is_defined(images: list[Matching]) -> None:
    found = count_figures(images, 0.5)
    assert np.isnan(found["error_percent"]) and np.isnan(found["image_error_percent"]) and found["n_images"] == 0


def test_nothing_found_is_everything_missed() -> None:
    assert count_figures([image([], 3)], 0.5)["error_percent"] == -100.0

"""Thresholds, edges and watersheds: drawn particles come back, noise gives none."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dense_scenes import disc
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.data.images import normalise
from tem_seg.models.classical import Classical, apart, contrasts, ground_of

SIZE = (160, 200)
DISCS = ((40, 50, 14), (120, 40, 10), (100, 110, 18), (160, 120, 12))


def micrograph(*, dark: bool = True, noise: float = 0.03, slope: float = 0.0) -> NDArray[np.float32]:
    inside = sum(disc(SIZE, *place) for place in DISCS).astype(np.float64)  # type: ignore[union-attr]
    grey = cv2.GaussianBlur(inside, (0, 0), 1.0) * (-0.5 if dark else 0.5)
    grey = grey + slope * np.linspace(0, 1, SIZE[1]) + np.random.default_rng(0).normal(0, noise, SIZE)
    return normalise(grey.astype(np.float32))


def seen(pixels: NDArray[np.floating], frame: tuple[int, int] | None = None, **options: Any) -> Prediction:
    image = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))[None]
    return Classical(**options).build().eval()([image], frames=[frame] if frame else None)[0]  # type: ignore[return-value, index]


def all_there(found: Prediction, least: float = 0.85) -> bool:
    assert found.masks is not None and found.contours is None and found.edge_sd_px is None
    decoded = [rle.decode(mask) for mask in found.masks]

    def best(mask: NDArray[np.uint8]) -> float:
        return max(np.logical_and(m, mask).sum() / np.logical_or(m, mask).sum() for m in decoded)

    return len(found) == len(DISCS) and all(best(disc(SIZE, *place)) > least for place in DISCS)


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("method", ["otsu", "local", "canny"])
def test_every_method_finds_particles_and_their_contrast(method: str, dark: bool) -> None:
    found = seen(micrograph(dark=dark), method=method)
    least = 0.7 if method == "local" else 0.85  # which cuts near the ground's grey level
    assert all_there(found, least) and found.scores.min() > 0.95


def test_an_uneven_ground_is_taken_away() -> None:
    assert all_there(seen(micrograph(slope=1.5)))
    assert not all_there(seen(micrograph(slope=1.5), ground_px=0))


def test_the_contrast_that_is_asked_for() -> None:
    assert all_there(seen(micrograph(dark=True), contrast="dark"))
    for method in ("otsu", "canny"):
        wrong = seen(micrograph(dark=True), contrast="bright", method=method)
        assert len(wrong) == 0 or not all_there(wrong)


NOISE = np.random.default_rng(1).normal(size=(256, 256))


@pytest.mark.parametrize("method", ["otsu", "local", "canny"])
@pytest.mark.parametrize(
    "pixels",
    [NOISE, cv2.GaussianBlur(NOISE, (0, 0), 3), 0.05 * NOISE + np.linspace(0, 1, 256), np.ones((64, 64)),
     np.ones((1, 1)), np.ones((3, 50))],
    ids=["noise", "coarse noise", "slope", "constant", "a pixel", "a strip"],
)  # fmt: skip
def test_an_empty_micrograph_stays_empty(pixels: NDArray[np.float64], method: str) -> None:
    found = seen(normalise(pixels.astype(np.float32)), method=method)
    assert len(found) == 0 and found.masks == []


def test_particles_that_touch_are_cut_along_the_neck() -> None:
    inside = disc(SIZE, 60, 80, 20) | disc(SIZE, 96, 80, 19)
    labels = apart(inside.astype(bool), 1.0)
    assert labels.max() == 2 and (labels > 0).sum() == inside.sum()
    assert labels[80, 60] != labels[80, 96] and labels[80, 77] == labels[80, 60]
    assert apart(inside.astype(bool), 30.0).max() == 1, "no neck is so deep"
    assert not apart(np.zeros(SIZE, bool), 1.0).any()


def test_a_particle_thinner_than_the_neck_asked_for_is_kept() -> None:
    line = np.zeros((40, 40), bool)
    line[20, 5:35] = True
    assert apart(line, 3.0).max() == 1


def test_the_score_is_the_area_under_the_roc_curve() -> None:
    labels = np.zeros((9, 20), np.int32)
    labels[3:6, 8:11] = 1
    image = np.where(labels, 0.2, 0.8).astype(np.float32)
    assert contrasts(image, labels, bright=False).tolist() == [1.0]
    assert contrasts(image, labels, bright=True).tolist() == [0.0]
    assert contrasts(np.zeros_like(image), labels, bright=True).tolist() == [0.5]
    assert contrasts(image, np.ones((9, 20), np.int32), bright=False).tolist() == [0.5], "no ground beside it"


def test_the_ground_is_what_lies_under_the_particles() -> None:
    slope = np.broadcast_to(np.linspace(0.3, 0.7, 200, dtype=np.float32), SIZE).copy()
    image = np.where(disc(SIZE, 100, 80, 15) > 0, 0.1, slope).astype(np.float32)
    assert np.abs(ground_of(image, 120)[20:140, 40:160] - slope[20:140, 40:160]).max() < 0.06


def test_a_cap_and_another_frame() -> None:
    found = seen(micrograph(), max_instances=2, frame=(320, 400))
    assert found.capped and len(found) == 2 and found.masks is not None and found.masks[0]["size"] == [320, 400]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "kmeans"}, "model.method must be one of otsu, local, canny, got 'kmeans'"),
        ({"contrast": "black"}, "model.contrast must be one of dark, bright, auto"),
        ({"weights": "coco"}, "model=classical has no weights, but model.weights=coco"),
        ({"window_px": 10}, "model.window_px must be odd and at least 3, got 10"),
        ({"edges": (0.2, 0.1)}, r"model.edges must be \[weak, strong\]"),
        ({"min_area_px": -1}, "model.min_area_px must not be negative"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Classical(**change).about()


def test_there_is_nothing_to_learn() -> None:
    assert Classical.TRAINS is False
    with pytest.raises(UserError, match="learns nothing: leave the train stage out"):
        Classical().build().train()([torch.zeros(1, 8, 8)], [])

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances, Particle, Scene
from tem_seg.data.rle import decode, encode
from tem_seg.generation.contrast.mass_thickness import MassThickness
from tem_seg.generation.microscope.imaging import Exposure, Imaging
from tem_seg.generation.microscope.scan import LineNoise, ScanDistortion, ScanJitter
from tem_seg.generation.truth import instances_of, without_hidden

Disc = Callable[..., Particle]
STILL: dict[str, Any] = {
    "probability": 1.0, "drift": (0, 0), "hum": (0, 0), "hum_periods": (1, 1), "flyback": (0, 0),
    "flyback_width": (0.05, 0.05),
}  # fmt: skip
STRONG: dict[str, Any] = {
    "drift": (0.15, 0.15),
    "hum": (0.02, 0.02),
    "flyback": (0.5, 0.5),
    "flyback_width": (0.1, 0.1),
}


def exposure(pixels: np.ndarray) -> Exposure:
    return Exposure(pixels.astype(np.float32), np.zeros(pixels.shape, bool), 0.5)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def distortion(**changes: Any) -> ScanDistortion:
    return ScanDistortion(**STILL | changes)


def ramp(height: int, width: int) -> np.ndarray:
    """Every pixel holds the x of its centre, so that a row's shift can be read."""
    return np.tile(np.arange(width) + 0.5, (height, 1))


@pytest.mark.parametrize("memory", [0.0, 3.0])
def test_jitter_shifts_rows_by_its_standard_deviation(memory: float) -> None:
    before = ramp(6000, 60)
    seen = exposure(before)
    ScanJitter(1.0, (2.0, 2.0), (memory, memory))(seen, rng())
    shift = (seen.pixels - before)[:, 30]
    assert shift.std() == pytest.approx(2.0, rel=0.08)
    np.testing.assert_allclose((seen.pixels - before)[:, 25:35], np.repeat(shift[:, None], 10, 1), atol=1e-3)
    # the autocorrelation of Gaussian-filtered white noise is exp(−lag² / 4 σ²)
    alike = np.corrcoef(shift[:-2], shift[2:])[0, 1]
    assert alike == pytest.approx(np.exp(-1 / 9) if memory else 0.0, abs=0.06)


def test_every_frame_of_a_video_jitters_anew_and_its_distortion_stays() -> None:
    jittered, distorted = [], []
    for frame in (1, 2):
        for step, found in ((ScanJitter(1.0, (1, 1), (0, 0)), jittered), (distortion(**STRONG), distorted)):
            seen = exposure(ramp(50, 50))
            seen.frame_rng = rng(frame)
            step(seen, rng(3))
            found.append(seen.pixels)
    assert not np.array_equal(*jittered)
    np.testing.assert_array_equal(*distorted)


def test_nothing_to_distort_leaves_the_picture_as_it_was() -> None:
    seen = exposure(rng().random((40, 50)))
    before = seen.pixels.copy()
    distortion()(seen, rng())
    np.testing.assert_allclose(seen.pixels, before, atol=1e-6)
    assert seen.pixel_size_nm == 0.5


@pytest.mark.parametrize("seed", range(6))
def test_the_beam_stays_in_the_field_and_masks_know_the_way_back(seed: int) -> None:
    seen = exposure(np.zeros((120, 200)))
    distortion(**STRONG)(seen, rng(seed))
    assert seen.warp is not None
    x, y = np.meshgrid(np.linspace(0, 200, 41), np.linspace(0, 120, 41))
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    field = seen.warp.source(grid)
    assert field.min() >= -1e-6 and (field <= [200 + 1e-6, 120 + 1e-6]).all()
    np.testing.assert_allclose(seen.warp(field), grid, atol=2e-3)
    outside = np.array([[-60.0, 40.0], [260.0, 100.0], [100.0, -50.0], [50.0, 170.0]])
    np.testing.assert_allclose(seen.warp.source(seen.warp(outside)), outside, atol=2e-3)


def test_pixels_lie_where_the_warp_says() -> None:
    before = ramp(100, 160)
    seen = exposure(before)
    distortion(**STRONG)(seen, rng(4))
    assert seen.warp is not None
    centres = np.stack(np.meshgrid(np.arange(160) + 0.5, np.arange(100) + 0.5), axis=-1)
    expected = seen.warp.source(centres.reshape(-1, 2))[:, 0].reshape(100, 160)
    np.testing.assert_allclose(seen.pixels, np.clip(expected, 0.5, 159.5), atol=0.03)


def test_straight_drift_shears_and_stretches_and_the_pixel_size_follows() -> None:
    """Far from the flyback, and without a bend, a drift of d rows a frame stretches heights by 1 / (1 + d / H)."""
    seen = exposure(np.zeros((200, 200)))
    distortion(drift=(0.1, 0.1))(seen, rng(2))
    assert seen.warp is not None and seen.pixel_size_nm is not None
    corners = seen.warp.source(np.array([[0.0, 0.0], [200.0, 0.0]]))
    assert (corners[1, 0] - corners[0, 0]) * 0.5 == pytest.approx(200 * seen.pixel_size_nm)
    assert seen.pixel_size_nm <= 0.5


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def plates(disc: Disc) -> Scene:
    places = [(40, 50), (105, 60), (160, 40), (50, 120), (120, 130), (170, 150), (190, 100), (2, 170), (90, 190)]
    particles = (disc(x, y, 36, bevel=0.02) for x, y in places)
    return Scene(tuple(particles), (200.0, 200.0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("together", [False, True])
def test_masks_follow_the_distortion(disc: Disc, seed: int, together: bool) -> None:
    steps: dict[str, Any] = {"distortion": distortion(**STRONG)}
    if together:
        steps["jitter"] = ScanJitter(1.0, (3.0, 3.0), (12.0, 12.0))
    scene = plates(disc)
    seen = Imaging("bright_field", MassThickness(), steps).expose(scene, (400, 400), rng(seed))
    dark = seen.pixels < np.sqrt(np.exp(-0.05 * 36))  # half the thickness
    found = instances_of(scene, seen.hidden, 0.5, ["particle"], "transparent", 1, seen.warp)
    assert len(found) >= 7
    masks = [decode(rle) for rle in found.segmentations]
    assert iou(dark, np.any(masks, axis=0)) > 0.95
    unmoved = instances_of(scene, seen.hidden, 0.5, ["particle"], "transparent", 1)
    assert iou(dark, np.any([decode(rle) for rle in unmoved.segmentations], axis=0)) < 0.9, "nothing has moved"
    assert found.truths[0]["true_equivalent_diameter_nm"] == pytest.approx(36, rel=1e-3)


def test_masks_of_pictures_follow_too(disc: Disc) -> None:
    scene = plates(disc)
    sharp = MassThickness()(scene, (400, 400), rng())
    drawn = instances_of(scene, np.zeros((400, 400), bool), 0.5, ["particle"], "transparent", 1)
    seen = Exposure(sharp, np.zeros((400, 400), bool), None)
    distortion(**STRONG)(seen, rng(1))
    found = without_hidden(drawn, seen.hidden, 1, seen.warp)
    dark = seen.pixels < np.sqrt(np.exp(-0.05 * 36))
    assert iou(dark, np.any([decode(rle) for rle in found.segmentations], axis=0)) > 0.95
    assert seen.pixel_size_nm is None and len(found.full_segmentations) == len(found)


def test_no_particles_no_masks() -> None:
    seen = exposure(np.zeros((50, 50)))
    distortion(**STRONG)(seen, rng())
    empty = Instances((50, 50), np.zeros(0, np.int64), [])
    assert len(without_hidden(empty, seen.hidden, 1, seen.warp)) == 0
    assert len(instances_of(Scene((), (25.0, 25.0)), seen.hidden, 0.5, ["particle"], "opaque", 1, seen.warp)) == 0


def test_a_mask_that_leaves_the_picture_is_dropped() -> None:
    seen = exposure(np.zeros((100, 100)))
    distortion(flyback=(0.6, 0.6), flyback_width=(0.1, 0.1))(seen, rng())
    mask = np.zeros((100, 100), bool)
    mask[40:60, 0:3] = True  # the lag is 6 px: what lay there is not scanned
    drawn = Instances((100, 100), np.zeros(1, np.int64), [encode(mask)])
    assert len(without_hidden(drawn, seen.hidden, 1, seen.warp)) == 0


@pytest.mark.parametrize("step", [distortion(**STRONG), ScanJitter(1.0, (1, 1), (0, 0))])
def test_steps_that_move_content_come_before_labels_and_sub_sampling(step: Any) -> None:
    for late in ("occupied", "hidden", "sampled"):
        seen = exposure(np.zeros((50, 50)))
        if late == "occupied":
            seen.occupied.append((0, 0, 5, 5))
        elif late == "hidden":
            seen.hidden[3:5] = True
        else:
            seen.sampled = np.ones((50, 50), bool)
        with pytest.raises(UserError, match="moves the image, so it must stand before SubSampling, bars and labels"):
            step(seen, rng())


def test_line_noise_has_its_standard_deviations() -> None:
    seen = exposure(np.full((4000, 20), 2.0))
    LineNoise(1.0, (0.1, 0.1), (0, 0), (0, 0))(seen, rng())
    assert seen.pixels[:, 0].std() == pytest.approx(0.2, rel=0.05)
    assert (seen.pixels == seen.pixels[:, :1]).all(), "whole lines"
    seen = exposure(np.full((4000, 20), 2.0))
    LineNoise(1.0, (0, 0), (0.1, 0.1), (2, 2))(seen, rng())
    assert seen.pixels[:, 0].std() == pytest.approx(0.2, rel=0.08)
    assert np.corrcoef(seen.pixels[:-1, 0], seen.pixels[1:, 0])[0, 1] == pytest.approx(np.exp(-1 / 16), abs=0.03)


@pytest.mark.parametrize(
    "step",
    [
        ScanJitter(0.0, (2, 2), (0, 0)),
        distortion(**STRONG | {"probability": 0.0}),
        LineNoise(0.0, (0.1, 0.1), (0.1, 0.1), (0, 0)),
    ],
)
def test_probability_zero_changes_nothing(step: Any) -> None:
    before = rng().random((30, 30)).astype(np.float32)
    seen = exposure(before.copy())
    step(seen, rng())
    np.testing.assert_array_equal(seen.pixels, before)
    assert seen.warp is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ScanJitter(1.0, (-1, 1), (0, 0)), "ScanJitter.sd_px must lie between 0 and 10, got -1"),
        (lambda: ScanJitter(1.5, (0, 1), (0, 0)), "ScanJitter.probability must lie between 0 and 1, got 1.5"),
        (lambda: distortion(flyback=(0, 0.9)), "ScanDistortion.flyback must lie between 0 and 0.6, got 0.9"),
        (lambda: distortion(drift=(0.2, 0.1)), "ScanDistortion.drift: min 0.2 is greater than max 0.1"),
        (lambda: LineNoise(1.0, (0, 2), (0, 0), (0, 0)), "LineNoise.flicker must lie between 0 and 1, got 2"),
    ],
)
def test_bad_parameters_are_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()

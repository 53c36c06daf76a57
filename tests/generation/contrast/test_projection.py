from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from tem_seg.core.types import Particle
from tem_seg.generation import raster
from tem_seg.generation.contrast.projection import add_particles, stamps
from tem_seg.generation.scenes.shapes import POINTS, area, ellipse, stadium

Disc = Callable[..., Particle]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def signal_of(*particles: Particle, size: tuple[int, int] = (100, 100), pixel_nm: float = 0.5) -> np.ndarray:
    signal = np.zeros(size, np.float32)
    add_particles(signal, particles, pixel_nm, rng())
    return signal


def small(x: float, y: float, diameter: float, corners: int = POINTS, **contrast: float) -> Particle:
    angle = np.linspace(0.0, 2.0 * np.pi, corners, endpoint=False)
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * diameter / 2.0 + [x, y]
    return Particle(outline, diameter, "sphere", "particle", {"signal_per_nm": 1.0} | contrast)


@pytest.mark.parametrize("diameter_px", [4.0, 7.0, 12.0, 22.0, 60.0])
def test_signal_adds_up_to_the_volume_of_a_sphere(diameter_px: float) -> None:
    """Σ thickness × pixel area = π d³ / 6, for stamps and for what raster.thickness_nm draws."""
    signal = signal_of(small(25.2, 24.6, diameter_px * 0.5, signal_per_nm=3.0))
    volume = np.pi / 6.0 * (diameter_px * 0.5) ** 3
    assert signal.sum() * 0.25 == pytest.approx(3.0 * volume, rel=0.03 if diameter_px > 5 else 0.06)


def test_particles_add_where_they_overlap(disc: Disc) -> None:
    first, second = (disc(x, 25, 20, signal_per_nm=2.0) for x in (20, 30))
    both = signal_of(first, second)
    np.testing.assert_allclose(both, signal_of(first) + signal_of(second), rtol=1e-5)
    assert both[50, 50] == pytest.approx(2 * 2.0 * 20.0 * np.sqrt(1 - (5 / 10) ** 2), rel=0.02)  # chords of both


@pytest.mark.parametrize("outline", [ellipse(1.5) * 9.0, stadium(2.0) * 6.0])
def test_stamps_are_what_the_raster_draws(outline: np.ndarray) -> None:
    particle = Particle(outline + np.array([20.3, 19.8]), 6.0, "any", "particle", {"signal_per_nm": 1.0})
    (stamp,) = stamps(particle.outline_nm[None], [particle], 1.0)
    exact = raster.thickness_nm(particle, particle.outline_nm)
    images = []
    for crop in (stamp, exact):
        image = np.zeros((40, 40), np.float32)
        image[crop.window] = crop.values
        images.append(cv2.GaussianBlur(image, (0, 0), 0.7))
    assert np.abs(images[0] - images[1]).max() < 0.2 * images[1].max()
    mask = raster.fill(particle.outline_nm, (0, 0, 40, 40))
    assert (stamp.values > 0).sum() == pytest.approx(mask.sum(), rel=0.5)
    assert np.argwhere(images[0] > 0).mean(axis=0) == pytest.approx([19.3, 19.8], abs=0.5)


def test_a_bent_particle_is_not_a_stamp_but_is_drawn() -> None:
    angle = np.linspace(0.0, 1.5 * np.pi, 20)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outline = np.vstack([9.0 * arc, 6.0 * arc[::-1]]) + 20.0  # three quarters of a ring
    particle = Particle(outline, 3.0, "ring", "particle", {"signal_per_nm": 1.0})
    (crop,) = stamps(outline[None], [particle], 1.0)
    image = np.zeros((40, 40), np.float32)
    image[crop.window] = crop.values
    assert image[20, 20] == 0 and image[20, 27] > 1.0
    assert (image > 0).sum() == pytest.approx(area(outline), rel=0.3)


def test_out_of_focus_keeps_the_signal_and_lowers_the_peak() -> None:
    sharp, soft = signal_of(small(25, 25, 4)), signal_of(small(25, 25, 4, blur_nm=2.0))
    assert soft.sum() == pytest.approx(sharp.sum(), rel=0.01) and soft.max() < 0.5 * sharp.max()
    large = signal_of(small(25, 25, 20, blur_nm=2.0))
    assert large.sum() == pytest.approx(signal_of(small(25, 25, 20)).sum(), rel=0.01)


def test_outlines_with_different_numbers_of_corners_and_bevels_go_together() -> None:
    several = (small(10, 10, 4, 24), small(30, 10, 4, 64), small(10, 30, 4, 32, bevel=0.3, edge_power=1.0))
    parts = sum(signal_of(particle) for particle in several)
    np.testing.assert_allclose(signal_of(*several), parts, rtol=1e-5, atol=1e-6)


def test_order_of_particles_does_not_matter() -> None:
    several = [small(8.0 * i + 6, 20 + i, 3 + i) for i in range(5)]
    np.testing.assert_allclose(signal_of(*several), signal_of(*several[::-1]), rtol=1e-5, atol=1e-6)


def test_particles_at_and_beyond_the_border() -> None:
    assert (signal_of(small(-20, 25, 6), small(25, 200, 30)) == 0).all()
    assert signal_of(small(0, 25, 6)).sum() == pytest.approx(signal_of(small(25, 25, 6)).sum() / 2, rel=0.05)


def stadium_at(angle: float, x: float = 60.0, y: float = 60.0, **contrast: float) -> Particle:
    cosine, sine = np.cos(angle), np.sin(angle)
    outline = stadium(6.0) * 12.0 @ np.array([[cosine, sine], [-sine, cosine]]) + np.array([x, y])
    return Particle(outline, 12.0, "rod", "particle", {"signal_per_nm": 1.0} | contrast)


@pytest.mark.parametrize("angle", [0.0, 0.5, np.pi / 4, 2.0])
def test_rods_are_cylinders_with_round_ends(angle: float) -> None:
    image = signal_of(stadium_at(angle), size=(120, 120), pixel_nm=1.0)
    y, x = (np.indices((480, 480)) + 0.5) / 4.0 - 60.0
    along = np.abs(x * np.cos(angle) + y * np.sin(angle)) - 30.0
    squared = np.square(y * np.cos(angle) - x * np.sin(angle)) + np.square(np.maximum(along, 0.0))
    chords = 2.0 * np.sqrt(np.maximum(36.0 - squared, 0.0))
    exact = chords.reshape(120, 4, 120, 4).mean(axis=(1, 3)).astype(np.float32)
    assert image.sum() == pytest.approx(60 * np.pi * 36 + np.pi / 6 * 12**3, rel=0.03)  # cylinder and two half balls
    difference = cv2.GaussianBlur(image - exact, (0, 0), 1.0)
    assert np.abs(difference).max() < 0.1 * 12.0
    y, x = np.indices(image.shape) + 0.5
    assert [(image * v).sum() / image.sum() for v in (x, y)] == pytest.approx([60.0, 60.0], abs=0.15)


def test_turned_rods_are_cut_at_the_border_and_may_lie_outside() -> None:
    whole = signal_of(stadium_at(0.8), size=(120, 120), pixel_nm=1.0)
    half = signal_of(stadium_at(0.8, x=0.0), size=(120, 120), pixel_nm=1.0)
    assert np.abs(cv2.GaussianBlur(half[:, :60] - whole[:, 60:], (0, 0), 1.0)).max() < 0.05 * 12.0
    assert not signal_of(stadium_at(0.8, x=-200.0), size=(120, 120), pixel_nm=1.0).any()
    soft = signal_of(stadium_at(0.8, blur_nm=3.0), size=(120, 120), pixel_nm=1.0)
    assert soft.sum() == pytest.approx(whole.sum(), rel=0.01) and soft.max() < whole.max()


def test_a_thousand_tiny_particles_take_no_longer_than_the_imaging(disc: Disc) -> None:
    source = rng()
    many = [small(*source.uniform(0, 100, 2), float(source.uniform(1, 4)), 24) for _ in range(1000)]
    began = time.process_time()
    signal_of(*many, size=(512, 512), pixel_nm=100 / 512)
    assert time.process_time() - began < 1.5  # 0.1 s on an idle machine

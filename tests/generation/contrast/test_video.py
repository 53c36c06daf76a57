"""What stays and what changes from frame to frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Particle
from tem_seg.generation.contrast.mass_thickness import MassThickness
from tem_seg.generation.contrast.video import FilmedMassThickness, FrameScene, VideoCamera, drifted
from tem_seg.generation.microscope.noise import film_grain
from tem_seg.generation.render import image_at

CONF = Path(__file__).resolve().parents[3] / "conf"

Disc = Callable[..., Particle]
SHARP: dict[str, Any] = {
    "fresnel_px": (1, 1), "fringe": (0, 0), "grain": (0, 0), "unevenness": (0, 0), "blur_px": (0.05, 0.05)
}  # fmt: skip
PLAIN: dict[str, Any] = {
    "electrons_per_px": (4, 4), "blur_px": (0, 0), "gamma": (1, 1), "black": (0.2, 0.2), "white": (1.5, 1.5),
    "noise_sd": (1, 1),
}  # fmt: skip


def build(group: str, name: str, **changes: Any) -> Any:
    return instantiate(OmegaConf.merge(OmegaConf.load(CONF / group / f"{name}.yaml"), changes))


class Shot:
    """The part of an exposure that a camera needs."""

    def __init__(self, pixels: np.ndarray, frame_rng: np.random.Generator | None = None) -> None:
        self.pixels, self.frame_rng = np.asarray(pixels, np.float32), frame_rng


def test_without_film_and_optics_it_is_mass_thickness(disc: Disc) -> None:
    scene = FrameScene((disc(30, 30, 20), disc(40, 35, 25)), (64.0, 64.0))
    expected = MassThickness()(scene, (64, 64), child_rng(0, "a"))
    np.testing.assert_allclose(FilmedMassThickness(**SHARP)(scene, (64, 64), child_rng(0, "a")), expected, atol=1e-5)


def test_the_film_drifts_with_the_scene() -> None:
    filmed = FilmedMassThickness(**SHARP | {"grain": (0.1, 0.1), "fresnel_px": (2, 2), "blur_px": (0.5, 0.5)})
    still, moved, between = (
        filmed(FrameScene((), (64.0, 96.0), drift_nm=drift), (64, 96), child_rng(0, "film"))
        for drift in ((0.0, 0.0), (5.0, -3.0), (2.5, 0.25))
    )
    np.testing.assert_allclose(np.roll(still, (-3, 5), axis=(0, 1))[8:-8, 8:-8], moved[8:-8, 8:-8], atol=1e-5)
    assert between.std() == pytest.approx(still.std(), rel=0.08), "half a pixel does not wash it out"


def test_drift_by_a_fraction_is_the_shift_of_the_fourier_spectrum() -> None:
    film = film_grain((64, 80), 4.0, 1.0, child_rng(0, "film"))
    moved = drifted(film, (7.3, -4.6))
    rows, columns = np.fft.fftfreq(64)[:, None], np.fft.fftfreq(80)[None, :]
    exact = np.fft.ifft2(np.fft.fft2(film) * np.exp(-2j * np.pi * (7.3 * columns - 4.6 * rows))).real
    assert np.corrcoef(exact.ravel(), moved.ravel())[0, 1] > 0.995


def test_texture_stays_with_its_particle_and_turns_with_it(disc: Disc) -> None:
    def picture(turn: float, texture: float = 7.0, others: int = 0) -> np.ndarray:
        particle = disc(32, 32, 40, mottle=1.0, turn=turn, texture=texture)
        extra = tuple(disc(5 * i, 60, 4) for i in range(others))
        return FilmedMassThickness(**SHARP)(FrameScene((*extra, particle), (64.0, 64.0)), (64, 64), child_rng(0, "t"))

    upright = picture(0.0)
    np.testing.assert_array_equal(upright[8:50], picture(0.0, others=5)[8:50])
    assert np.abs(upright - picture(0.0, texture=8.0)).max() > 0.05
    # x towards y is clockwise as displayed; np.rot90 turns the other way
    np.testing.assert_allclose(np.rot90(upright, -1), picture(np.pi / 2), atol=0.02)


def test_camera_counts_electrons_and_keeps_black_and_white() -> None:
    camera, background = VideoCamera(**PLAIN), np.ones((200, 200))
    shot = Shot(background)
    camera(shot, child_rng(0, "camera"))  # type: ignore[arg-type]
    levels = np.unique(shot.pixels)
    # black 0.2 − 0.5 → 0, white 1.5 + 0.5 = 2: n of 4 electrons a pixel become 255 · n / 4 / 2
    np.testing.assert_array_equal(levels, np.rint(np.minimum(np.arange(len(levels)) / 8, 1.0) * 255))
    assert shot.pixels.mean() == pytest.approx(255 / 2, rel=0.02)


def test_camera_does_not_change_when_a_large_particle_comes() -> None:
    camera, empty = VideoCamera(**PLAIN | {"electrons_per_px": (100, 100)}), np.ones((128, 128), np.float32)
    full = empty.copy()
    full[:, :64] = 0.1
    shots = [Shot(pixels, child_rng(1, "frame")) for pixels in (empty, full)]
    for shot in shots:
        camera(shot, child_rng(0, "camera"))  # type: ignore[arg-type]
    assert shots[0].pixels[:, 70:].mean() == pytest.approx(shots[1].pixels[:, 70:].mean(), abs=0.5)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_video_does_not_flicker(seed: int) -> None:
    """No particles, no drift: frames differ in their noise only, and their means in no more than it allows."""
    recipe = build("recipe", "insitu_video", empty_fraction=1.0, frames=4)
    imaging = build("imaging", "insitu", steps={"jpeg": None})
    frames = np.stack([image_at(recipe, imaging, (128, 128), seed, "train", k).micrograph.pixels for k in range(4)])
    noise = frames.std(axis=0, ddof=1).mean()
    assert noise > 0
    assert np.ptp(frames.mean(axis=(1, 2))) < max(6 * noise * 2 / 128, 0.3)
    first, second = (frames[i] - frames.mean(axis=0) for i in (0, 1))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < -0.2, "independent noise less its mean: −1/3"


def test_noise_differs_between_frames_and_the_scale_bar_does_not() -> None:
    recipe = build("recipe", "insitu_video", frames=3)
    imaging = build("imaging", "insitu", steps={"scale_bar": {"probability": 1.0}, "info_bar": None, "jpeg": None})
    frames = [image_at(recipe, imaging, (256, 256), 0, "train", k).micrograph.pixels for k in range(3)]
    same = np.logical_and(frames[0] == frames[1], frames[1] == frames[2])
    box = same & np.isin(frames[0], [0.0, 255.0])
    rows = np.nonzero(box)[0]
    assert len(rows) > 200 and not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"electrons_per_px": (0, 5)}, "VideoCamera.electrons_per_px must lie between"),
        ({"white": (0.9, 2)}, "VideoCamera.white must lie between"),
        ({"black": (0.5, 0.1)}, "VideoCamera.black: min 0.5 is greater than max 0.1"),
    ],
)
def test_bad_camera_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        VideoCamera(**PLAIN | changes)


def test_bad_film_settings_are_named() -> None:
    with pytest.raises(UserError, match="FilmedMassThickness.grain must lie between"):
        FilmedMassThickness(**SHARP | {"grain": (0, 2)})

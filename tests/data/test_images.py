from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data import images
from tem_seg.data.images import count_frames, normalise, read_micrograph, write_png


def picture(shape: tuple[int, ...] = (20, 30), top: int = 256, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


# ------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(("top", "dtype"), [(256, "uint8"), (65536, "uint16")])
def test_write_png_then_read(tmp_path: Path, top: int, dtype: str) -> None:
    pixels = picture(top=top, dtype=dtype)
    write_png(tmp_path / "a.png", pixels)
    found = read_micrograph(tmp_path / "a.png")
    assert found.pixels.dtype == np.float32 and (found.pixels == pixels).all()
    assert (found.pixel_size_nm, found.pixel_size_source) == (None, None)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"] and count_frames(tmp_path / "a.png") == 1


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_become_luminance(tmp_path: Path, channels: int) -> None:
    bgr = picture((20, 30, channels))
    cv2.imwrite(str(tmp_path / "a.png"), bgr)
    blue, green, red = (bgr[..., k].astype(float) for k in range(3))
    expected = 0.299 * red + 0.587 * green + 0.114 * blue  # Rec. 601
    assert read_micrograph(tmp_path / "a.png").pixels == pytest.approx(expected, abs=1e-3)


def test_grey_stored_as_colour_keeps_its_exact_values(tmp_path: Path) -> None:
    grey = picture(top=65536, dtype="uint16")
    cv2.imwrite(str(tmp_path / "a.png"), np.repeat(grey[..., None], 3, axis=2))
    assert (read_micrograph(tmp_path / "a.png").pixels == grey).all()


def test_a_red_overlay_on_grey_is_not_read_as_its_red_channel(tmp_path: Path) -> None:
    bgr = np.full((4, 5, 3), 100, np.uint8)
    bgr[1, 2] = (0, 0, 255)
    cv2.imwrite(str(tmp_path / "a.png"), bgr)
    found = read_micrograph(tmp_path / "a.png").pixels
    assert found[0, 0] == 100 and found[1, 2] == pytest.approx(0.299 * 255)


def test_jpeg(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(picture(), (0, 0), 5)
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth)
    assert read_micrograph(tmp_path / "a.jpg").pixels == pytest.approx(smooth.astype(float), abs=6)


def test_override(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", picture())
    found = read_micrograph(tmp_path / "a.png", pixel_size_nm=0.5)
    assert (found.pixel_size_nm, found.pixel_size_source) == (0.5, "override")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_override(tmp_path: Path, value: float) -> None:
    write_png(tmp_path / "a.png", picture())
    with pytest.raises(UserError, match="pixel_size_nm must be a positive number"):
        read_micrograph(tmp_path / "a.png", pixel_size_nm=value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.98])
def test_truncated(tmp_path: Path, name: str, kept: float) -> None:
    cv2.imwrite(str(tmp_path / name), picture((120, 150)))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match=f"{name} is truncated or damaged: copy it again"):
        read_micrograph(tmp_path / name)


def test_empty_missing_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a.png is empty \(0 bytes\)"):
        read_micrograph(tmp_path / "a.png")
    with pytest.raises(UserError, match="no micrograph at .*b.png"):
        read_micrograph(tmp_path / "b.png")
    with pytest.raises(UserError, match="no micrograph at"):
        count_frames(tmp_path)
    (tmp_path / "c.png").write_text("Dear reviewer,")
    with pytest.raises(UserError, match="c.png is no micrograph that can be read: expected one of .png"):
        read_micrograph(tmp_path / "c.png")


def test_a_misnamed_file_is_read_by_its_content(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", picture())
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    assert (read_micrograph(tmp_path / "a.tif").pixels == picture()).all()


@pytest.mark.parametrize("frame", [-1, 1])
def test_a_frame_that_is_not_there(tmp_path: Path, frame: int) -> None:
    write_png(tmp_path / "a.png", picture())
    with pytest.raises(UserError, match=f"has no frame {frame}: it holds 1"):
        read_micrograph(tmp_path / "a.png", frame=frame)
    assert read_micrograph(tmp_path / "a.png", frame=0).pixels.shape == (20, 30)


# ------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 5)), np.zeros((4, 5, 3), np.uint8), np.zeros((0, 5), np.uint8), np.zeros(4, np.uint8)]
)
def test_write_png_takes_grey_integers_only(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pixels must be \(H, W\) uint8 or uint16"):
        write_png(tmp_path / "a.png", pixels)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------- normalise


def test_normalise_is_the_percentile_stretch() -> None:
    pixels = np.random.default_rng(0).normal(100, 20, (200, 300)).astype(np.float32)
    low, high = np.percentile(pixels, [1, 99])
    found = normalise(pixels)
    assert found.dtype == np.float32
    assert found == pytest.approx(np.clip((pixels - low) / (high - low), 0, 1), abs=1e-5)


def test_headroom_keeps_what_lies_beyond_the_percentiles() -> None:
    pixels = np.random.default_rng(0).normal(100, 20, (200, 300)).astype(np.float32)
    pixels[:4, :4] = 1e4  # hot pixels
    low, high = np.percentile(pixels, [1, 99])
    found = normalise(pixels, 0.75)
    assert found == pytest.approx(np.clip((pixels - low) / (high - low), -0.75, 1.75), abs=1e-5)
    assert found.max() == 1.75 and (found.clip(0, 1) == normalise(pixels)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 17), (200, 300)])
def test_percentiles_of_grey_levels_are_those_of_numpy(size: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, size).astype(np.float32)
    levels.flat[0] = 255
    assert images._percentiles(levels) == pytest.approx(np.percentile(levels, [1, 99]), rel=1e-6)
    assert images._percentiles(levels - 128) == pytest.approx(np.percentile(levels - 128, [1, 99]), rel=1e-6)


def test_normalise_keeps_its_input() -> None:
    pixels = picture((50, 60)).astype(np.float32)
    before = pixels.copy()
    normalise(pixels)
    assert (pixels == before).all()


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (0.01, 7.0), (250.0, -1e4)])
def test_gain_and_offset_of_the_camera_do_not_matter(gain: float, offset: float) -> None:
    pixels = np.random.default_rng(1).normal(100, 20, (90, 70)).astype(np.float32)
    assert normalise(gain * pixels + np.float32(offset)) == pytest.approx(normalise(pixels), abs=2e-4)


def test_turning_and_turning_round_commute() -> None:
    pixels = picture((50, 60)).astype(np.float32)
    assert (normalise(np.rot90(pixels)) == np.rot90(normalise(pixels))).all()


@pytest.mark.parametrize("value", [0.0, 7.0, 65535.0, -3.0])
def test_a_constant_image_becomes_zeros(value: float) -> None:
    assert (normalise(np.full((10, 12), value, np.float32)) == 0).all()
    assert (normalise(np.full((1, 1), value, np.float32)) == 0).all()


def test_a_few_bright_particles_on_a_flat_ground_stay_visible() -> None:
    """Less than 1 % of the pixels: both percentiles are the ground's value."""
    pixels = np.full((100, 100), 5, np.float32)
    pixels[40:44, 40:44] = 90
    assert normalise(pixels)[41, 41] == 1 and normalise(pixels)[0, 0] == 0


def test_a_large_micrograph_is_sampled_on_a_grid() -> None:
    """2^22 px is the limit of the exact percentiles."""
    pixels = 100 + 20 * np.random.default_rng(0).standard_normal((2100, 2100), np.float32)
    found = normalise(pixels)
    low, high = np.percentile(pixels[::2, ::2], [1, 99])
    assert found[:64] == pytest.approx(np.clip((pixels[:64] - low) / (high - low), 0, 1), abs=1e-5)
    assert (low, high) == pytest.approx(np.percentile(pixels, [1, 99]), abs=0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_normalise_refuses_nan(bad: float) -> None:
    pixels = picture((20, 20)).astype(np.float32)
    pixels[:10] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        normalise(pixels)
